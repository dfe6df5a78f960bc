// The page: chooses by its address what is played and how (?player, title, scheme, viewer, buffer, cmcd), plays it, and shows what is said of it.

import { PLAYERS } from './players.js';
import { Session } from './session.js';

const SHOWN_REQUESTS = 14;
const HEALTH_MILLISECONDS = 1000;

const element = id => document.getElementById(id);
const video = element('video');
const asked = new URLSearchParams(location.search);

function row(table, cells) {
  const row = table.insertRow();
  for (const cell of cells) {
    const at = row.insertCell();
    if (cell instanceof Node) at.append(cell);
    else at.textContent = cell;
    if (typeof cell === 'number') at.className = 'number';
  }
  return row;
}

function list(id, pairs) {
  element(id).replaceChildren(...pairs.flatMap(([name, value]) => {
    const [term, description] = [document.createElement('dt'), document.createElement('dd')];
    term.textContent = name;
    description.textContent = value;
    return [term, description];
  }));
}

function manifests(system, { title, scheme, viewer }) {
  const url = (file, name) => `${system.control_plane}/v1/play/${file}?` + new URLSearchParams({
    path: `${title}/${name}`, scheme, client: system.viewers[viewer],
  });
  return { hls: url('hls.m3u8', 'master.m3u8'), dash: url('dash.mpd', 'manifest.mpd') };
}

// The choices, from the page's address; a change of one loads the page anew.
async function choose(system) {
  const form = element('choices');
  const installed = await fetch('lib/hls.js', { method: 'GET' }).then(answer => answer.ok, () => false);
  for (const [name, { label }] of Object.entries(PLAYERS)) form.player.add(new Option(label, name));
  for (const title of system.titles) form.title.add(new Option(title, title));
  const choices = {
    player: asked.get('player') ?? (installed ? 'hls' : 'browser'),
    title: asked.get('title') ?? system.titles[0],
    scheme: asked.get('scheme') ?? 'http',
    viewer: asked.get('viewer') ?? '0',
  };
  for (const [name, value] of Object.entries(choices)) {
    form[name].value = value;
    form[name].onchange = () => {
      asked.set(name, form[name].value);
      location.search = asked;
    };
  }
  return choices;
}

async function act(name, what) {
  const answer = await fetch(`appliances/${name}/${what}`, { method: 'POST', headers: { 'x-demo': 'meant' } });
  if (!answer.ok) throw new Error(`${name}: ${await answer.text()}`);
}

async function showAppliances(system, session) {
  const rows = await Promise.all(system.appliances.map(async ({ name }) => {
    const answer = await fetch(`appliances/${name}/health`).catch(() => null);
    const health = answer?.headers.get('content-type') === 'application/json' ? await answer.json() : null;
    const verdict = document.createElement('span');
    verdict.className = answer?.ok ? 'good' : 'bad';
    const reasons = (health?.reasons ?? []).map(reason => reason.detail ?? reason.summary ?? reason).map(String);
    verdict.textContent = health ? [`${health.readiness}, ${health.verdict}`, ...reasons].join('; ') : 'no answer';
    const buttons = document.createElement('span');
    for (const what of ['kill', 'start', 'drain', 'serve']) {
      const button = document.createElement('button');
      button.textContent = what;
      button.onclick = () => act(name, what).catch(error => session.error(error.message, false));
      buttons.append(button, ' ');
    }
    return [name, verdict, session.counts[name] ?? 0, buttons];
  }));
  element('appliances').replaceChildren();
  for (const cells of rows) row(element('appliances'), cells);
}

function show(session, playback) {
  const error = session.errors.at(-1);
  list('playback', [
    ['at', `${video.currentTime.toFixed(1)} s, ${session.bufferedAhead().toFixed(1)} s ahead`],
    ['picture', video.videoWidth ? `${video.videoWidth} × ${video.videoHeight}` : '–'],
    ['first picture', session.startup === null ? '–' : `after ${session.startup.toFixed(0)} ms`],
    ['stalls', `${session.stalls}, the longest ${session.longestStall.toFixed(0)} ms`],
    ['pathway', playback?.pathway() || '–'],
    ['segments', Object.entries(session.counts).map(([name, count]) => `${name} ${count}`).join(', ') || '–'],
    ['failed', Object.entries(session.failures).map(([name, count]) => `${name} ${count}`).join(', ') || 'none'],
    ['newest error', error ? error.text : 'none'],
  ]);
  const segment = session.requests.findLast(request => request.isSegment && request.status);
  list('headers', segment ? [['from', segment.from], ...Object.entries(segment.headers)] : []);
  const steering = session.steering.at(-1);
  list('steering', steering ? [
    ['order', steering.priority.join(', ')],
    ['holds', `${steering.ttl} s, asked ${((performance.now() - steering.at) / 1000).toFixed(0)} s ago`],
    ['answers', String(session.steering.length)],
  ] : []);
  element('requests').replaceChildren();
  for (const request of session.requests.slice(-SHOWN_REQUESTS).reverse()) {
    const at = row(element('requests'), [
      request.from, request.path.split('/').slice(-2).join('/'), request.status, request.bytes, Math.round(request.milliseconds),
    ]);
    if (request.status < 200 || request.status >= 400) at.className = 'bad';
  }
}

async function begin() {
  const system = await (await fetch('system.json')).json();
  const choices = await choose(system);
  const session = new Session(video, system.appliances);
  window.demo = { system, session, playback: null, video };
  setInterval(() => show(session, window.demo.playback), 250);
  setInterval(() => showAppliances(system, session).catch(() => {}), HEALTH_MILLISECONDS);
  const playback = await PLAYERS[choices.player].start(video, session, {
    manifests: manifests(system, choices),
    buffer: Number(asked.get('buffer') ?? 12),
    cmcd: asked.get('cmcd') ?? 'query',
    content: choices.title.split('/').at(-1),
  });
  window.demo.playback = playback;
  video.addEventListener('playing', () => {
    if (element('quality').length === 1) {
      playback.qualities().forEach((height, index) => element('quality').add(new Option(`${height} lines`, String(index))));
    }
  });
  element('quality').onchange = () => playback.choose(Number(element('quality').value));
}

begin().catch(error => list('playback', [['cannot play', error.message]]));
