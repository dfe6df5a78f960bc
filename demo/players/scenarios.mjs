// What players are put through. Each gives a row of the table: { what, player, scheme, startup, stalls, longest, from, note }, or throws.

import { setTimeout as sleep } from 'node:timers/promises';

const PLAYERS = ['hls', 'dash'];

// A picture that stands still for less is not seen to.
const VISIBLE_STALL = 500;       // milliseconds
const BUSY_BROWSER = 5_000;      // milliseconds that a browser without a graphics card may stand still although it has media

const BUFFER = 12;               // seconds that players hold: three segments
const PATIENCE = 60_000;
const IN_FLIGHT = 1_000;         // milliseconds within which pages have heard of what was sent before a kill

// Where viewers are, as the page numbers them. Those far away ask where to go every 30 seconds, and dash.js keeps away for as long from who failed.
const [NEAR, FAR] = [0, 1];
const ASK_AGAIN = 30;            // seconds

// Who goes back holds that much more than players want, and asks for no segment as long. Behind the picture dash.js keeps 20 seconds, of which a
// browser keeps what follows the next key frame: 16 at least.
const BACK = 14;                 // seconds
const LEAD = 8;                  // seconds before the next document: by then the control plane has missed an appliance, which takes it 3, and BACK is not over

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
  demand(state.longestHang < BUSY_BROWSER, `${player}: the browser stood still for ${state.longestHang} ms, with media to play`);
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
    await viewer.seek(34);
    await viewer.until('the end', () => window.demo.video.ended);
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

// The players at one appliance, with which `scene` does something; afterwards all serve as before.
async function together(browser, demo, scheme, whence, scene, players = PLAYERS) {
  const { titles, appliances } = await demo.facts();
  const names = appliances.map(one => one.name);
  const viewers = await Promise.all(players.map(player =>
    browser.watch(demo.address, { player, scheme, title: titles[1], viewer: whence, buffer: BUFFER, cmcd: 'query' })));
  return restored(async () => {
    await all(viewers, viewer => viewer.reached(4));
    const senders = (await statesOf(viewers)).map(state => state.from);
    const at = senders[0];
    demand(names.includes(at) && senders.every(from => from === at), `they are at ${senders.join(' and ')}`);
    const { http, https } = appliances.find(one => one.name === at);
    return scene({ demo, scheme, viewers, at, origins: [http, https], other: names.find(name => name !== at) });
  }, () => restore(demo, viewers, names));
}

const all = (viewers, act) => Promise.all(viewers.map(act));

const statesOf = viewers => all(viewers, viewer => viewer.state());

// Kills what they are at, and says what each was like then.
async function kill({ demo, viewers, at }) {
  await demo.act(at, 'kill');
  return statesOf(viewers);
}

// They play on beyond what they held when it was killed, from the other, and nobody sees a stall. `judge` says what else must be so, and notes it.
async function goOn({ scheme, viewers, at, other }, then, seconds, what, judge) {
  await all(viewers, (viewer, index) => viewer.reached(then[index].time + seconds, PATIENCE));
  return all(viewers, async (viewer, index) => {
    const [player, state] = [viewer.player, await viewer.state()];
    undisturbed(player, state);
    await only(other, viewer, then[index].now + IN_FLIGHT);
    return row(`${at} ${what}`, player, scheme, state, judge(player, state, index));
  });
}

// The appliance that both are at is killed: whoever notices goes to the next of its own manifest.
export function fallback(browser, demo, scheme) {
  return together(browser, demo, scheme, NEAR, async party => {
    const then = await kill(party);
    return goOn(party, then, 2 * BUFFER, 'is killed: fallback', (_, state) => `${failed(state, party.at)} requests failed`);
  });
}

// The same of players that ask again soon: once the control plane has missed it too, what they are told leads nobody back.
export function killed(browser, demo, scheme) {
  return together(browser, demo, scheme, FAR, async party => {
    const { viewers, at, other } = party;
    await all(viewers, viewer => viewer.until(
      `it is steered to ${at}`, at => window.demo.session.steering.at(-1)?.priority[0] === at, at));
    const began = Date.now();
    const then = await kill(party);
    await demo.steeredTo([other]);
    const missed = Date.now() - began;
    const told = await askAgain(viewers, await statesOf(viewers));
    return goOn(party, then, ASK_AGAIN + 2 * BUFFER, 'is killed: steering', (player, state, index) => {
      const newest = told[index].steering.at(-1);
      demand(newest.priority[0] === other && !newest.priority.includes(at), `${player} was told ${JSON.stringify(newest)}`);
      const [early, late] = [failed(told[index], at), failed(state, at)];
      demand(late === early, `${player} came back: ${late - early} requests failed after it was told of ${other}`);
      return `${early} requests failed; steered elsewhere after ${lasted(missed)}, told after ${lasted(newest.at - then[index].now)}`;
    });
  });
}

const lasted = milliseconds => `${(milliseconds / 1000).toFixed(1)} s`;

// They are told where to go once more than before; what each is like then.
async function askAgain(viewers, before) {
  return all(viewers, async (viewer, index) => {
    await viewer.until(
      'it has asked again', heard => window.demo.session.steering.length > heard, before[index].steering.length, PATIENCE);
    return viewer.state();
  });
}

// The appliance is killed under a viewer who went back: the next document comes before it wants a segment, and is all that moves it. One player after the
// other, since each has a time of its own for documents. Both pathways are the manifest's own: of a clone hls.js takes the host without its port.
export async function forewarned(browser, demo, scheme) {
  const rows = [];
  for (const player of PLAYERS) rows.push(...await together(browser, demo, scheme, FAR, toldInTime, [player]));
  return rows;
}

async function toldInTime(party) {
  const { demo, viewers, at, origins, other } = party;
  await all(viewers, goBack);
  const began = Date.now();
  const then = await kill(party);
  viewers.forEach(({ player }, index) => holdsEnough(player, then[index], at));
  await demo.steeredTo([other]);
  const missed = Date.now() - began;
  const told = (await askAgain(viewers, then)).map((state, index) => state.steering[then[index].steering.length]);
  await all(viewers, async (viewer, index) => {
    const { priority, at: when } = told[index];
    demand(priority[0] === other && !priority.includes(at), `${viewer.player} was told of ${priority}`);
    const early = Object.keys(await viewer.sendersSince(then[index].now, when));
    demand(early.length === 0, `${viewer.player} had segments from ${early} before it was told`);
  });
  // What was held is played then, and a segment more.
  const held = Math.max(...then.map(state => state.ahead));
  return goOn(party, then, held + 4, 'is killed: steering alone', (player, state, index) => {
    const asked = viewers[index].askedOf(origins, began + IN_FLIGHT);
    demand(asked === 0, `${player} asked ${at} ${asked} times after it was killed`);
    demand(Object.keys(state.failures).length === 0, `${player}: failed: ${JSON.stringify(state.failures)}`);
    demand(state.stalls === 0, `${player}: "waiting" ${state.stalls} times after the kill`);
    demand(state.pathway === other, `${player} is at ${state.pathway}, not at ${other}`);
    const { ahead, now } = then[index];
    return `no request failed; ${ahead.toFixed(1)} s held, steered elsewhere after ${lasted(missed)}, told after ${lasted(told[index].at - now)}`;
  });
}

// Watches the last scene again, shortly before the next document.
async function goBack(viewer) {
  await viewer.until('the next document is near', ([back, lead]) => {
    const { session, video } = window.demo;
    const newest = session.steering.at(-1);
    if (!newest || video.currentTime < back + 2) return false;
    const due = newest.ttl - (performance.now() - newest.at) / 1000;
    return due > lead - 2 && due < lead;
  }, [BACK, LEAD], PATIENCE);
  const to = (await viewer.state()).time - BACK;
  await viewer.seek(to);
  await viewer.until('it plays what it held', to => !window.demo.video.seeking && window.demo.video.currentTime > to + 1, to);
  await viewer.forgetStalls();
}

// All that it holds is of the appliance that it plays from, and more than it wants.
function holdsEnough(player, state, at) {
  const from = Object.keys(state.counts).join();
  demand(from === at && state.pathway === at, `${player}: segments from ${from}, pathway ${state.pathway}, not ${at}`);
  demand(state.ahead > BUFFER, `${player}: only ${state.ahead} s held when ${at} was killed`);
}

// The appliance that both are at drains: the control plane sends players elsewhere when they ask again, and once they have gone it is killed.
export function steered(browser, demo, scheme) {
  return together(browser, demo, scheme, FAR, async party => {
    const { viewers, at, other } = party;
    await demo.act(at, 'drain');
    await demo.steeredTo([other]);
    await all(viewers, viewer => viewer.until(
      `segments come from ${other}`, other => window.demo.session.counts[other] > 0, other, PATIENCE));
    // Requests that were under way have ended by then.
    await sleep(2 * IN_FLIGHT);
    const then = await kill(party);
    const rows = await goOn(party, then, BUFFER + 4, 'drains, then is killed: steering', (player, state) => {
      demand(Object.keys(state.failures).length === 0, `${player}: failed: ${JSON.stringify(state.failures)}`);
      demand(state.steering.at(-1)?.priority[0] === other, `${player} was told ${JSON.stringify(state.steering)}`);
      return 'no request failed';
    });
    await stallsAreSeen(party);
    return rows;
  });
}

// That a stall would have been seen: with the last appliance gone too, and no origin over HTTPS, the picture stands still when what is held is played.
async function stallsAreSeen({ demo, viewers, other }) {
  await demo.act(other, 'kill');
  await all(viewers, viewer => viewer.until(
    'a stall is seen', stall => window.demo.session.longestStall >= stall && window.demo.session.stalls > 0, VISIBLE_STALL));
}

async function only(appliance, viewer, since) {
  const senders = await viewer.sendersSince(since);
  demand(Object.keys(senders).join() === appliance, `${viewer.player}: after the kill from ${JSON.stringify(senders)}, not from ${appliance}`);
}

const failed = (state, appliance) => state.failures[appliance] ?? 0;

async function restore(demo, viewers, appliances) {
  await all(viewers, viewer => viewer.close());
  for (const appliance of appliances) {
    await demo.act(appliance, 'start');
    await demo.act(appliance, 'serve');
  }
  await demo.steeredTo(appliances);
}

// Requests with CMCD that the appliances counted, all of them since they were started.
async function counted(demo) {
  const { appliances } = await demo.facts();
  const lines = (await Promise.all(appliances.map(one => demo.metrics(one.name)))).join('\n').split('\n');
  const metrics = lines.filter(line => line.startsWith('oca_cmcd_requests_total'));
  demand(metrics.length > 0, 'the appliances have no oca_cmcd_requests_total');
  return metrics.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
