// Debian's Chromium with a profile of its own, and the demo's page in it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';

// Pictures keep time with the sound, which goes to a device that is none and leaves out what it was too late for: on a busy machine both are slow
// then. With long buffers it is seldom late.
const SOUND_FRAMES = 16_384;   // a third of a second

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--ignore-certificate-errors', '--autoplay-policy=no-user-gesture-required',
  `--audio-buffer-size=${SOUND_FRAMES}`,
];

// Processors paint every picture: a small page is a cheap one.
const VIEWPORT = { width: 480, height: 360 };

const START = 60_000;      // milliseconds until Chromium runs
const PATIENCE = 60_000;   // milliseconds for which nobody waits on where no picture moves
const LIMIT = 240_000;     // milliseconds of any wait: a minute of a title, at a quarter of its speed
const GLANCE = 100;        // milliseconds between two looks

export class Browser {
  static async start() {
    const profile = await mkdtemp(join(tmpdir(), 'players-'));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS, viewport: VIEWPORT, timeout: START,
    });
    return Object.assign(new Browser(), { profile, context });
  }

  // The page, playing. `choices`: player, title, scheme, viewer, buffer, cmcd.
  async watch(address, choices) {
    const page = await this.context.newPage();
    const viewer = new Viewer(page, choices.player);
    await page.goto(`${address}/?${new URLSearchParams(choices)}`, { timeout: START });
    await viewer.until('the first picture', () => window.demo?.session.startup > 0 && window.demo.playback !== null);
    return viewer;
  }

  async stop() {
    await this.context.close();
    await rm(this.profile, { recursive: true, force: true });
  }
}

// Somebody who watches in a tab.
export class Viewer {
  constructor(page, player) {
    this.page = page;
    this.player = player;
    this.media = { segments: 0, cmcd: 0 };   // requests for segments as the browser sent them, and those with CMCD
    this.asked = [];                         // of whom anything was asked, and when by this program's clock
    page.on('request', request => {
      const url = new URL(request.url());
      this.asked.push({ origin: url.origin, at: Date.now() });
      if (request.method() !== 'GET' || !/\.(m4s|mp4)$/.test(url.pathname)) return;
      this.media.segments++;
      const headers = request.headers();
      if (url.searchParams.has('CMCD') || headers['cmcd-object'] || headers['cmcd-session']) this.media.cmcd++;
    });
    page.on('pageerror', error => { throw new Error(`the page failed: ${error.message}`); });
  }

  // Waits until it is so in the page, as long as the picture moves: how fast it does is the machine's affair. What it was like otherwise is in
  // the error.
  async until(what, isSo, argument) {
    const began = Date.now();
    let [position, moved] = [null, began];
    for (;;) {
      if (await this.page.evaluate(isSo, argument)) return;
      const now = Date.now();
      const found = await this.page.evaluate(() => window.demo?.video.currentTime ?? null);
      if (found !== position) [position, moved] = [found, now];
      if (now - moved > PATIENCE || now - began > LIMIT) {
        const state = await this.state().catch(() => null);
        const still = `the picture has stood still for ${((now - moved) / 1000).toFixed(1)} s`;
        throw new Error(`${this.player}: not within ${((now - began) / 1000).toFixed(1)} s: ${what} (${still}); ${JSON.stringify(state)}`);
      }
      await sleep(GLANCE);
    }
  }

  // What happened so far.
  state() {
    return this.page.evaluate(() => {
      const { session, video, playback } = window.demo;
      const { stalls, lateness, longestStall, longestHang, startup, counts, failures, steering, errors, pictures } = session;
      const newest = session.requests.findLast(request => request.isSegment && request.status);
      return {
        time: video.currentTime, ended: video.ended, ahead: session.bufferedAhead(), now: performance.now(), height: video.videoHeight,
        stalls, lateness, longestStall, longestHang, startup, counts, failures, steering, errors, pictures,
        from: newest?.from ?? null, headers: newest?.headers ?? {}, pathway: playback?.pathway() ?? '',
      };
    });
  }

  // Who sent segments between two moments of the page's clock; up to now without the second.
  sendersSince(moment, end = Number.MAX_VALUE) {
    return this.page.evaluate(([moment, end]) => {
      const senders = {};
      for (const request of window.demo.session.requests) {
        if (request.isSegment && request.status && request.at > moment && request.at <= end) senders[request.from] = (senders[request.from] ?? 0) + 1;
      }
      return senders;
    }, [moment, end]);
  }

  // How often the browser asked these origins for anything since a moment of this program's clock, whatever the player made of it.
  askedOf(origins, moment) { return this.asked.filter(({ origin, at }) => at > moment && origins.includes(origin)).length; }

  // Counts stalls anew: what a seek took is not what comes after it.
  forgetStalls() { return this.page.evaluate(() => { Object.assign(window.demo.session, { stalls: 0, longestStall: 0 }); }); }

  choose(quality) { return this.page.evaluate(quality => window.demo.playback.choose(quality), quality); }

  seek(seconds) { return this.page.evaluate(seconds => { window.demo.video.currentTime = seconds; }, seconds); }

  reached(seconds) {
    return this.until(`${seconds} s are reached`, seconds => window.demo.video.currentTime >= seconds || window.demo.video.ended, seconds);
  }

  close() { return this.page.close(); }
}
