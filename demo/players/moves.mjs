// How players come from one appliance to another. Each scene gives rows of the table, or throws.

import { setTimeout as sleep } from 'node:timers/promises';
import { demand } from './demo.mjs';
import { BUFFER, FAR, IN_FLIGHT, NEAR, SEGMENT, VISIBLE_STALL, all, askAgain, failed, goOn, kill, statesOf, together } from './party.mjs';

// Who goes back holds that much more than players want, and asks for no segment as long. Behind the picture dash.js keeps 20 seconds, of which a
// browser keeps what follows the next key frame: 16 at least.
const BACK = 14;                // seconds

// The next document does not come sooner where an appliance is killed: by then the control plane has missed it, which takes it 1 to 2.
const SOONEST = 4;              // seconds
const SPARE = 2;                // seconds between a document and what it has to come before
const DUE_PATIENCE = 60_000;    // milliseconds until that is so of all players: a few documents

const LEFT = 2;                 // seconds that are left to play of what is held, where it is to run out

const lasted = milliseconds => `${(milliseconds / 1000).toFixed(1)} s`;

// The appliance that both are at is killed: whoever notices goes to the next of its own manifest.
export function fallback(browser, demo, scheme) {
  return together(browser, demo, scheme, NEAR, async party => {
    const then = await kill(party);
    return goOn(party, then, 0, 'is killed: fallback', (_, state) => `${failed(state, party.at)} requests failed`);
  });
}

// The same of players that ask again soon: once the control plane has missed it too, what they are told leads nobody back.
export function killed(browser, demo, scheme) {
  return together(browser, demo, scheme, FAR, async party => {
    const { viewers, at, other } = party;
    await all(viewers, viewer => viewer.until(
      `it is steered to ${at}`, at => window.demo.session.steering.at(-1)?.priority[0] === at, at));
    // So that they want a segment before they are told.
    await documentsAreDue(viewers);
    const began = Date.now();
    const then = await kill(party);
    await demo.steeredTo(other);
    const missed = Date.now() - began;
    const told = await askAgain(viewers, await statesOf(viewers));
    // dash.js keeps away from who failed for one TTL after it has seen it, and would come back with a segment after that.
    const { ttl } = told[0].steering.at(-1);
    return goOn(party, then, BUFFER + ttl + 2 * SEGMENT, 'is killed: steering', (player, state, index) => {
      const newest = told[index].steering.at(-1);
      demand(newest.priority[0] === other && !newest.priority.includes(at), `${player} was told ${JSON.stringify(newest)}`);
      const [early, late] = [failed(told[index], at), failed(state, at)];
      demand(late === early, `${player} came back: ${late - early} requests failed after it was told of ${other}`);
      return `${early} requests failed; steered elsewhere after ${lasted(missed)}, told after ${lasted(newest.at - then[index].now)}`;
    });
  });
}

// The appliance is killed under viewers who went back: the next document comes before they want a segment, and is all that moves them.
// Both pathways are the manifest's own: of a clone hls.js takes the host without its port.
export function forewarned(browser, demo, scheme) {
  return together(browser, demo, scheme, FAR, async party => {
    const { viewers, at, origins, other } = party;
    await all(viewers, viewer => viewer.reached(BACK + 2));
    await documentsAreDue(viewers, BACK);
    await all(viewers, goBack);
    const began = Date.now();
    const then = await kill(party);
    viewers.forEach(({ player }, index) => holdsEnough(player, then[index], at));
    await demo.steeredTo(other);
    const missed = Date.now() - began;
    const told = (await askAgain(viewers, then)).map((state, index) => state.steering[then[index].steering.length]);
    await all(viewers, async (viewer, index) => {
      const { priority, at: when } = told[index];
      demand(priority[0] === other && !priority.includes(at), `${viewer.player} was told of ${priority}`);
      const early = Object.keys(await viewer.sendersSince(then[index].now, when));
      demand(early.length === 0, `${viewer.player} had segments from ${early} before it was told`);
    });
    return goOn(party, then, 0, 'is killed: steering alone', (player, state, index) => {
      const asked = viewers[index].askedOf(origins, began + IN_FLIGHT);
      demand(asked === 0, `${player} asked ${at} ${asked} times after it was killed`);
      demand(Object.keys(state.failures).length === 0, `${player}: failed: ${JSON.stringify(state.failures)}`);
      demand(state.stalls === 0, `${player}: "waiting" ${state.stalls} times after the kill`);
      demand(state.pathway === other, `${player} is at ${state.pathway}, not at ${other}`);
      const { ahead, now } = then[index];
      return `no request failed; ${ahead.toFixed(1)} s held, steered elsewhere after ${lasted(missed)}, told after ${lasted(told[index].at - now)}`;
    });
  });
}

// Waits until the next documents come neither too soon nor so late that what players hold is less than they want.
async function documentsAreDue(viewers, back = Infinity) {
  const deadline = Date.now() + DUE_PATIENCE;
  for (;;) {
    const states = await statesOf(viewers);
    const due = states.map(({ steering, now }) => (steering.length ? steering.at(-1).ttl - (now - steering.at(-1).at) / 1000 : 0));
    if (due.every((seconds, index) => seconds > SOONEST && seconds < states[index].ahead + back - BUFFER - SPARE)) return;
    demand(Date.now() < deadline, `documents come at times too different: in ${due.map(seconds => seconds.toFixed(1)).join(' and ')} s`);
    await sleep(100);
  }
}

// Watches the last scene again.
async function goBack(viewer) {
  const to = (await viewer.state()).time - BACK;
  await viewer.seek(to);
  await viewer.until('it plays what it held', to => !window.demo.video.seeking && window.demo.video.currentTime > to + 0.5, to);
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
    await demo.steeredTo(other);
    await all(viewers, viewer => viewer.until(
      `segments come from ${other}`, other => window.demo.session.counts[other] > 0, other));
    // Requests that were under way have ended by then.
    await sleep(2 * IN_FLIGHT);
    const then = await kill(party);
    const rows = await goOn(party, then, 0, 'drains, then is killed: steering', (player, state) => {
      demand(Object.keys(state.failures).length === 0, `${player}: failed: ${JSON.stringify(state.failures)}`);
      demand(state.steering.at(-1)?.priority[0] === other, `${player} was told ${JSON.stringify(state.steering)}`);
      return 'no request failed';
    });
    await stallsAreSeen(party);
    return rows;
  });
}

// That a stall would have been seen: with the last appliance gone too, and no origin over HTTPS, the picture stands still when what is
// held is played, most of which is passed over.
async function stallsAreSeen({ demo, viewers, other }) {
  await demo.act(other, 'kill');
  await all(viewers, async viewer => {
    const { time, ahead } = await viewer.state();
    await viewer.seek(time + Math.max(ahead - LEFT, 0));
    await viewer.until(
      'a stall is seen', stall => window.demo.session.longestStall >= stall && window.demo.session.stalls > 0, VISIBLE_STALL);
  });
}
