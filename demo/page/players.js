// hls.js, dash.js and the browser's own player, each started and steered in the same words:
// start(video, session, options) gives { qualities(), choose(index), pathway(), stop() }.
// options: manifests { hls, dash }, buffer (seconds ahead), cmcd ('query', 'headers' or ''), content (its name in CMCD).

import { told } from './session.js';

const SWITCH_RETRIES = 1;       // of an object, at one appliance, before another is asked

function load(file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = file;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${file} is not there: run "npm ci" in demo/players`));
    document.head.append(script);
  });
}

async function hls(video, session, { manifests, buffer, cmcd, content }) {
  await load('lib/hls.js');
  const { Hls } = window;
  const patient = policy => ({
    default: { ...policy.default, errorRetry: { ...policy.default.errorRetry, maxNumRetry: SWITCH_RETRIES, retryDelayMs: 500 } },
  });
  const defaults = Hls.DefaultConfig;
  const player = new Hls({
    maxBufferLength: buffer,
    maxMaxBufferLength: buffer,
    fragLoadPolicy: patient(defaults.fragLoadPolicy),
    playlistLoadPolicy: patient(defaults.playlistLoadPolicy),
    cmcd: cmcd ? { contentId: content, useHeaders: cmcd === 'headers' } : undefined,
  });
  const note = (url, stats, details) => session.request({
    url: details?.responseURL || url,
    status: details?.status ?? 0,
    bytes: stats?.total ?? 0,
    milliseconds: stats ? stats.loading.end - stats.loading.start : 0,
    headers: details?.getResponseHeader ? told(name => details.getResponseHeader(name)) : {},
  });
  for (const event of [Hls.Events.MANIFEST_LOADED, Hls.Events.LEVEL_LOADED, Hls.Events.AUDIO_TRACK_LOADED]) {
    player.on(event, (_, data) => note(data.details?.url ?? data.url, data.stats, data.networkDetails));
  }
  player.on(Hls.Events.FRAG_LOADED, (_, data) => note(data.frag.url, data.frag.stats, data.networkDetails));
  player.on(Hls.Events.STEERING_MANIFEST_LOADED, (_, data) => session.steered({
    ttl: data.steeringManifest.TTL, priority: data.steeringManifest['PATHWAY-PRIORITY'], url: data.url,
  }));
  player.on(Hls.Events.ERROR, (_, data) => {
    // What the player itself gave up: a seek, another quality.
    if (data.details === Hls.ErrorDetails.INTERNAL_ABORTED) return;
    if (data.response || data.type === Hls.ErrorTypes.NETWORK_ERROR) {
      const url = data.url ?? data.frag?.url ?? data.context?.url;
      if (url) session.request({ url, status: data.response?.code ?? 0, bytes: 0, milliseconds: 0, headers: {} });
    }
    session.error(`${data.details}${data.error ? `: ${data.error.message}` : ''}`, data.fatal);
  });
  player.loadSource(manifests.hls);
  player.attachMedia(video);
  video.play().catch(() => {});
  return {
    qualities: () => player.levels.map(level => level.height),
    choose: index => { player.nextLevel = index; },
    pathway: () => player.levels[Math.max(player.loadLevel, 0)]?.pathwayId ?? '',
    stop: () => player.destroy(),
  };
}

async function dash(video, session, { manifests, buffer, cmcd, content }) {
  await load('lib/dash.js');
  const { MediaPlayer } = window.dashjs;
  const player = MediaPlayer().create();
  player.updateSettings({
    streaming: {
      cmcd: { enabled: Boolean(cmcd), mode: cmcd === 'headers' ? 'header' : 'query', cid: content },
      buffer: {
        bufferTimeDefault: buffer, bufferTimeAtTopQuality: buffer, bufferTimeAtTopQualityLongForm: buffer, fastSwitchEnabled: true,
      },
      retryAttempts: { MediaSegment: SWITCH_RETRIES, InitializationSegment: SWITCH_RETRIES },
      retryIntervals: { MediaSegment: 500, InitializationSegment: 500 },
      text: { defaultEnabled: false },
    },
  });
  let pathway = '';
  const { events } = MediaPlayer;
  player.addResponseInterceptor(async response => {
    const headers = response.headers ?? {};
    const timing = response.resourceTiming;
    session.request({
      url: response.request.url,
      status: response.status ?? 0,
      bytes: response.data?.byteLength ?? response.data?.length ?? 0,
      milliseconds: timing?.responseEnd ? timing.responseEnd - timing.startTime : 0,
      headers: told(name => headers[name]),
    });
    return response;
  });
  player.on(events.FRAGMENT_LOADING_STARTED, event => { pathway = event.request.serviceLocation ?? pathway; });
  player.on(events.FRAGMENT_LOADING_COMPLETED, event => {
    if (event.error) {
      session.request({ url: event.request.url, status: event.response?.status ?? 0, bytes: 0, milliseconds: 0, headers: {} });
    }
  });
  player.on(events.CONTENT_STEERING_REQUEST_COMPLETED, event => session.steered({
    ttl: event.currentSteeringResponseData.ttl, priority: event.currentSteeringResponseData.pathwayPriority, url: event.url,
  }));
  // Of an object that one appliance does not give, the next is asked.
  const { DOWNLOAD_ERROR_ID_CONTENT_CODE: passing } = MediaPlayer.errors;
  player.on(events.ERROR, event => session.error(event.error?.message ?? String(event.error), event.error?.code !== passing));
  // It has to begin playing itself: of a video that plays already it sees no beginning, and asks nobody where to go.
  player.initialize(video, manifests.dash, true);
  const qualities = () => player.getRepresentationsByType('video');
  return {
    qualities: () => qualities().map(one => one.height),
    choose: index => {
      player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: index < 0 } } } });
      if (index >= 0) player.setRepresentationForTypeByIndex('video', index, true);
    },
    pathway: () => pathway,
    stop: () => player.destroy(),
  };
}

// It shows no requests, and takes the first pathway that it can play.
async function builtIn(video, session, { manifests }) {
  video.src = manifests.hls;
  video.play().catch(() => {});
  video.addEventListener('error', () => session.error(video.error.message || `code ${video.error.code}`, true));
  return { qualities: () => [], choose: () => {}, pathway: () => '', stop: () => video.removeAttribute('src') };
}

export const PLAYERS = {
  hls: { label: 'hls.js', start: hls },
  dash: { label: 'dash.js', start: dash },
  browser: { label: 'the browser’s own', start: builtIn },
};
