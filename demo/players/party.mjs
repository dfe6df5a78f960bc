// Players at one appliance, with which something is done; what each saw of it.

import { demand } from './demo.mjs';

export const PLAYERS = ['hls', 'dash'];

// A picture that stands still for less is not seen to.
export const VISIBLE_STALL = 500;   // milliseconds
const BUSY_BROWSER = 5_000;         // milliseconds that a browser without a graphics card may stand still although it has media

export const BUFFER = 12;           // seconds that players hold: three segments
export const SEGMENT = 4;           // seconds
export const IN_FLIGHT = 1_000;     // milliseconds within which pages have heard of what was sent before a kill

// Where viewers are, as the page numbers them. Those far away ask soon again where to go.
export const [NEAR, FAR] = [0, 1];

export const all = (viewers, act) => Promise.all(viewers.map(act));

export const statesOf = viewers => all(viewers, viewer => viewer.state());

export const failed = (state, appliance) => state.failures[appliance] ?? 0;

// A line of the table: what happened to whom, in milliseconds and segments.
export function row(what, player, scheme, state, note) {
  return {
    what, player, scheme, startup: Math.round(state.startup), stalls: state.stalls, longest: Math.round(state.longestStall),
    from: Object.entries(state.counts).map(([name, count]) => `${name} ${count}`).join(', '), note,
  };
}

// The players at one appliance, with which `scene` does something; afterwards all serve as before.
export async function together(browser, demo, scheme, whence, scene) {
  const { titles, appliances } = await demo.facts();
  const names = appliances.map(one => one.name);
  const orders = await demo.orders();
  const viewers = await Promise.all(PLAYERS.map(player =>
    browser.watch(demo.address, { player, scheme, title: titles[1], viewer: whence, buffer: BUFFER, cmcd: 'query' })));
  return restored(async () => {
    await all(viewers, viewer => viewer.reached(SEGMENT));
    const senders = (await statesOf(viewers)).map(state => state.from);
    const at = senders[0];
    demand(names.includes(at) && senders.every(from => from === at), `they are at ${senders.join(' and ')}`);
    const { http, https } = appliances.find(one => one.name === at);
    return scene({ demo, scheme, viewers, at, origins: [http, https], other: names.find(name => name !== at) });
  }, async () => {
    await all(viewers, viewer => viewer.close());
    await demo.restore(names, orders);
  });
}

// Whatever becomes of a scene, the next one finds all as it was; what went wrong first is what is told.
async function restored(scene, restore) {
  const outcome = await scene().then(rows => ({ rows }), error => ({ error }));
  const undone = await restore().then(() => null, error => error);
  if (outcome.error ?? undone) throw outcome.error ?? undone;
  return outcome.rows;
}

// Kills what they are at, and says what each was like then.
export async function kill({ demo, viewers, at }) {
  await demo.act(at, 'kill');
  return statesOf(viewers);
}

// They are told where to go once more than before; what each is like then.
export function askAgain(viewers, before) {
  return all(viewers, async (viewer, index) => {
    await viewer.until('it has asked again', heard => window.demo.session.steering.length > heard, before[index].steering.length);
    return viewer.state();
  });
}

// They play on beyond what they held when it was killed, and for `seconds` at least, from the other, and nobody sees a stall. `judge` says what else
// must be so, and notes it.
export async function goOn({ scheme, viewers, at, other }, then, seconds, what, judge) {
  await all(viewers, (viewer, index) => viewer.reached(then[index].time + Math.max(then[index].ahead + SEGMENT, seconds)));
  return all(viewers, async (viewer, index) => {
    const [player, state] = [viewer.player, await viewer.state()];
    undisturbed(player, state);
    await only(other, viewer, then[index].now + IN_FLIGHT);
    return row(`${at} ${what}`, player, scheme, state, judge(player, state, index));
  });
}

function undisturbed(player, state) {
  demand(state.errors.every(error => !error.isFatal), `${player}: ${JSON.stringify(state.errors)}`);
  demand(state.longestStall < VISIBLE_STALL, `${player}: the picture stood still for ${state.longestStall} ms`);
  demand(state.longestHang < BUSY_BROWSER, `${player}: the browser stood still for ${state.longestHang} ms, with media to play`);
}

async function only(appliance, viewer, since) {
  const senders = await viewer.sendersSince(since);
  demand(Object.keys(senders).join() === appliance, `${viewer.player}: after the kill from ${JSON.stringify(senders)}, not from ${appliance}`);
}
