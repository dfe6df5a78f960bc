// What players are put through. Each gives a row of the table: { what, player, scheme, startup, stalls, longest, from, note }, or throws.

import { setTimeout as sleep } from 'node:timers/promises';

const PLAYERS = ['hls', 'dash'];

// A picture that stands still for less is not seen to.
const VISIBLE_STALL = 500;       // milliseconds

const BUFFER = 12;               // seconds that players hold: three segments
const PATIENCE = 60_000;
const IN_FLIGHT = 1_000;         // milliseconds within which pages have heard of what was sent before a kill

// What an appliance says with a segment, and lets pages of other origins see.
const SEEN = ['cache-status', 'server-timing', 'cmsd-dynamic', 'repr-digest'];

function demand(isSo, what) {
  if (!isSo) throw new Error(what);
}

export class Demo {
  constructor(address) { this.address = address; }

  async facts() { return (await fetch(`${this.address}/system.json`)).json(); }

  async act(appliance, what) {
    const answer = await fetch(`${this.address}/appliances/${appliance}/${what}`, { method: 'POST', headers: { 'x-demo': 'meant' } });
    demand(answer.ok, `${what} ${appliance}: ${answer.status} ${await answer.text()}`);
  }

  async metrics(appliance) { return (await fetch(`${this.address}/appliances/${appliance}/metrics`)).text(); }

  // Waits until the control plane steers to these appliances and no others.
  async steeredTo(appliances) {
    const { control_plane: plane, titles } = await this.facts();
    const wanted = [...appliances].sort().join();
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const answer = await (await fetch(`${plane}/v1/steer/hls?client=127.0.0.1&path=${titles[1]}`)).json();
      const steered = answer['PATHWAY-PRIORITY'].filter(one => one !== '.').sort().join();
      if (steered === wanted) return;
      demand(Date.now() < deadline, `players are sent to ${steered}, not to ${wanted}`);
      await sleep(200);
    }
  }
}

// Whatever becomes of a scene, the next one finds all as it was; what went wrong first is what is told.
async function restored(scene, restore) {
  const outcome = await scene().then(rows => ({ rows }), error => ({ error }));
  const undone = await restore().then(() => null, error => error);
  if (outcome.error ?? undone) throw outcome.error ?? undone;
  return outcome.rows;
}

function row(what, player, scheme, state, note) {
  return {
    what, player, scheme, startup: Math.round(state.startup), stalls: state.stalls, longest: Math.round(state.longestStall),
    from: Object.entries(state.counts).map(([name, count]) => `${name} ${count}`).join(', '), note,
  };
}

function undisturbed(player, state) {
  demand(state.errors.every(error => !error.isFatal), `${player}: ${JSON.stringify(state.errors)}`);
  demand(state.longestStall < VISIBLE_STALL, `${player}: the picture stood still for ${state.longestStall} ms`);
}

// Start, both ends of the qualities, seek, end; CMCD goes with every segment.
async function playOne(browser, demo, player, scheme, cmcd, titles) {
  const viewer = await browser.watch(demo.address, { player, scheme, cmcd, title: titles[0], viewer: 0, buffer: BUFFER });
  try {
    await viewer.reached(1);
    for (const [quality, height] of [[0, 180], [2, 720]]) {
      await viewer.choose(quality);
      await viewer.until(`${height} lines`, height => window.demo.video.videoHeight === height, height);
    }
    await viewer.seek(34);
    await viewer.until('the end', () => window.demo.video.ended);
    const state = await viewer.state();
    demand(state.errors.length === 0, `${player} ${scheme}: ${JSON.stringify(state.errors)}`);
    demand(Object.keys(state.failures).length === 0, `${player} ${scheme}: failed: ${JSON.stringify(state.failures)}`);
    demand(Object.keys(state.counts).every(from => from.startsWith('oca-')), `${player}: from ${JSON.stringify(state.counts)}`);
    const unseen = SEEN.filter(name => !state.headers[name]);
    demand(unseen.length === 0, `${player} ${scheme}: the page does not see ${unseen} of a segment, but ${JSON.stringify(state.headers)}`);
    const { segments, cmcd: told } = viewer.media;
    demand(told === segments && segments > 0, `${player} ${scheme}: ${told} of ${segments} requests for segments had CMCD`);
    return { ...row('start, 180p, 720p, seek, end', player, scheme, state, `CMCD in ${cmcd}, ${told} segments`), told };
  } finally {
    await viewer.close();
  }
}

export async function play(browser, demo, scheme) {
  const { titles } = await demo.facts();
  // Both ways of sending it; headers make the browser ask first whether it may.
  const cmcd = scheme === 'http' ? 'query' : 'headers';
  const before = await counted(demo);
  const rows = await Promise.all(PLAYERS.map(player => playOne(browser, demo, player, scheme, cmcd, titles)));
  const [after, told] = [await counted(demo), rows.reduce((sum, row) => sum + row.told, 0)];
  demand(after - before >= told, `${scheme}: players told of ${told} segments, the appliances counted ${after - before} requests with CMCD`);
  for (const row of rows) row.note += `; appliances counted ${after - before} requests of both`;
  return rows;
}

async function begin(browser, demo, scheme, viewer) {
  const { titles } = await demo.facts();
  const viewers = await Promise.all(PLAYERS.map(player =>
    browser.watch(demo.address, { player, scheme, title: titles[1], viewer, buffer: BUFFER, cmcd: 'query' })));
  await Promise.all(viewers.map(viewer => viewer.reached(4)));
  const states = await Promise.all(viewers.map(viewer => viewer.state()));
  const at = states[0].from;
  demand(states.every(state => state.from === at && at.startsWith('oca-')), `they are at ${states.map(state => state.from).join(' and ')}`);
  return { viewers, at };
}

// Plays beyond what was held, then says who sent segments since.
async function goOn(viewers, seconds) {
  const states = await Promise.all(viewers.map(viewer => viewer.state()));
  await Promise.all(viewers.map((viewer, index) => viewer.reached(states[index].time + seconds)));
  return { states: await Promise.all(viewers.map(viewer => viewer.state())), since: states.map(state => state.now + IN_FLIGHT) };
}

// The appliance that both are at is killed: whoever notices goes to the next of its own manifest.
export async function fallback(browser, demo, scheme) {
  const { appliances } = await demo.facts();
  const { viewers, at } = await begin(browser, demo, scheme, 0);
  const other = appliances.map(one => one.name).find(name => name !== at);
  return restored(async () => {
    await demo.act(at, 'kill');
    const { states, since } = await goOn(viewers, 2 * BUFFER);
    const rows = [];
    for (const [index, viewer] of viewers.entries()) {
      const player = PLAYERS[index];
      undisturbed(player, states[index]);
      await only(other, player, viewer, since[index]);
      rows.push(row(`${at} is killed: fallback`, player, scheme, states[index], `${states[index].failures[at] ?? 0} requests failed`));
    }
    return rows;
  }, () => restore(demo, viewers, at, ['start']));
}

// The appliance that both are at drains: the control plane sends players elsewhere when they ask again, and once they have gone it is killed.
export async function steered(browser, demo, scheme) {
  const { appliances } = await demo.facts();
  // Far away, so that they ask again after 30 seconds.
  const { viewers, at } = await begin(browser, demo, scheme, 1);
  const other = appliances.map(one => one.name).find(name => name !== at);
  return restored(async () => {
    await demo.act(at, 'drain');
    await demo.steeredTo([other]);
    await Promise.all(viewers.map(viewer => viewer.until(
      `segments come from ${other}`, other => window.demo.session.counts[other] > 0, other, PATIENCE)));
    // Requests that were under way have ended by then.
    await sleep(2 * IN_FLIGHT);
    await demo.act(at, 'kill');
    const { states, since } = await goOn(viewers, BUFFER + 4);
    const rows = [];
    for (const [index, viewer] of viewers.entries()) {
      const [player, state] = [PLAYERS[index], states[index]];
      undisturbed(player, state);
      demand(Object.keys(state.failures).length === 0, `${player}: failed: ${JSON.stringify(state.failures)}`);
      demand(state.steering.at(-1)?.priority[0] === other, `${player} was told ${JSON.stringify(state.steering)}`);
      await only(other, player, viewer, since[index]);
      rows.push(row(`${at} drains, then is killed: steering`, player, scheme, state, 'no request failed'));
    }
    await stallsAreSeen(demo, viewers, other);
    return rows;
  }, async () => {
    await demo.act(other, 'start');
    await restore(demo, viewers, at, ['start', 'serve']);
  });
}

// That a stall would have been seen: with the last appliance gone too, and no origin over HTTPS, the picture stands still when what is held is played.
async function stallsAreSeen(demo, viewers, last) {
  await demo.act(last, 'kill');
  await Promise.all(viewers.map(viewer => viewer.until(
    'a stall is seen', stall => window.demo.session.longestStall >= stall && window.demo.session.stalls > 0, VISIBLE_STALL)));
}

async function only(appliance, player, viewer, since) {
  const senders = await viewer.sendersSince(since);
  demand(Object.keys(senders).join() === appliance, `${player}: after the kill from ${JSON.stringify(senders)}, not from ${appliance}`);
}

async function restore(demo, viewers, appliance, acts) {
  await Promise.all(viewers.map(viewer => viewer.close()));
  for (const act of acts) await demo.act(appliance, act);
  const { appliances } = await demo.facts();
  await demo.steeredTo(appliances.map(one => one.name));
}

// Requests with CMCD that the appliances counted, all of them since they were started.
async function counted(demo) {
  const { appliances } = await demo.facts();
  const lines = (await Promise.all(appliances.map(one => demo.metrics(one.name)))).join('\n').split('\n');
  const metrics = lines.filter(line => line.startsWith('oca_cmcd_requests_total'));
  demand(metrics.length > 0, 'the appliances have no oca_cmcd_requests_total');
  return metrics.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
