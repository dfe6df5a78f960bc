// One title from its start to its end, with all that a person does meanwhile.

import { demand } from './demo.mjs';
import { BUFFER, NEAR, PLAYERS, row } from './party.mjs';

// What an appliance says with a segment, and lets pages of other origins see.
const SEEN = ['cache-status', 'server-timing', 'cmsd-dynamic', 'repr-digest'];

export async function play(browser, demo, scheme) {
  const { titles } = await demo.facts();
  // Both ways of sending it; headers make the browser ask first whether it may.
  const cmcd = scheme === 'http' ? 'query' : 'headers';
  const before = await demo.counted();
  const rows = await Promise.all(PLAYERS.map(player => playOne(browser, demo, player, scheme, cmcd, titles)));
  const [after, told] = [await demo.counted(), rows.reduce((sum, row) => sum + row.told, 0)];
  demand(after - before >= told, `${scheme}: players told of ${told} segments, the appliances counted ${after - before} requests with CMCD`);
  for (const row of rows) row.note += `; appliances counted ${after - before} requests of both`;
  return rows;
}

// Start, both ends of the qualities, seek, end; CMCD goes with every segment.
async function playOne(browser, demo, player, scheme, cmcd, titles) {
  const viewer = await browser.watch(demo.address, { player, scheme, cmcd, title: titles[0], viewer: NEAR, buffer: BUFFER });
  try {
    await viewer.reached(1);
    for (const [quality, height] of [[0, 180], [2, 720]]) {
      await viewer.choose(quality);
      await viewer.until(`${height} lines`, height => window.demo.video.videoHeight === height, height);
    }
    await viewer.seek(36);
    // The last picture: dash.js does not always tell a browser that is late that nothing more comes.
    await viewer.until('the end', () => {
      const { ended, duration, currentTime } = window.demo.video;
      return ended || duration - currentTime < 0.1;
    });
    const state = await viewer.state();
    demand(state.errors.length === 0, `${player} ${scheme}: ${JSON.stringify(state.errors)}`);
    demand(Object.keys(state.failures).length === 0, `${player} ${scheme}: failed: ${JSON.stringify(state.failures)}`);
    demand(Object.keys(state.counts).every(from => from.startsWith('oca-')), `${player}: from ${JSON.stringify(state.counts)}`);
    const unseen = SEEN.filter(name => !state.headers[name]);
    demand(unseen.length === 0, `${player} ${scheme}: the page does not see ${unseen} of a segment, but ${JSON.stringify(state.headers)}`);
    // A person reads there who sent the newest segment, and what it said with it.
    await viewer.until(
      'the page shows what the appliance says', said => said.every(text => document.getElementById('headers').innerText.includes(text)),
      [state.from, ...SEEN.flatMap(name => [name, state.headers[name]])]);
    const { segments, cmcd: told } = viewer.media;
    demand(told === segments && segments > 0, `${player} ${scheme}: ${told} of ${segments} requests for segments had CMCD`);
    return { ...row('start, 180p, 720p, seek, end', player, scheme, state, `CMCD in ${cmcd}, ${told} segments`), told };
  } finally {
    await viewer.close();
  }
}
