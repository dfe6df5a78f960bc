// What happened while somebody watched: requests, stalls, steering, errors. The page shows it, the players' test reads it.

const REQUESTS_KEPT = 400;      // of a session; older ones are only counted
const ERRORS_KEPT = 100;
const SAMPLE_MILLISECONDS = 100;
const PLAYABLE = 0.5;           // seconds ahead: with more there is something to play, and a picture that waits waits for the browser

// Response headers that say something of the session, where the appliance sends them and lets a page see them.
export const TOLD = ['server', 'server-timing', 'cache-status', 'age', 'cmsd-dynamic', 'cmsd-static', 'cache-control', 'etag', 'repr-digest', 'content-range'];

export class Session {
  constructor(video, appliances) {
    this.video = video;
    this.appliances = appliances;
    this.requests = [];
    this.counts = {};             // segments by who sent them
    this.failures = {};           // failed requests by whom they were asked of
    this.steering = [];           // documents, with when they came
    this.errors = [];
    this.stalls = 0;              // "waiting" where there was nothing to play, though nobody had paused or sought
    this.lateness = 0;            // the same where there was: the browser was late
    this.longestStall = 0;        // in milliseconds, by the picture's own time, where there was nothing to play
    this.longestHang = 0;         // the same where there was
    this.pictures = [];           // heights, as they changed
    this.startup = null;          // milliseconds to the first picture
    this.began = performance.now();
    this.moved = null;            // when currentTime last advanced
    this.position = 0;
    video.addEventListener('waiting', () => { if (this.isWatched()) this[this.isDry() ? 'stalls' : 'lateness']++; });
    video.addEventListener('seeking', () => { this.moved = null; });
    video.addEventListener('pause', () => { this.moved = null; });
    video.addEventListener('resize', () => this.pictures.push(video.videoHeight));
    video.addEventListener('playing', () => { this.startup ??= performance.now() - this.began; });
    this.timer = setInterval(() => this.sample(), SAMPLE_MILLISECONDS);
  }

  stop() { clearInterval(this.timer); }

  isWatched() { return this.startup !== null && !this.video.seeking && !this.video.paused && !this.video.ended; }

  isDry() { return this.bufferedAhead() < PLAYABLE; }

  // Whoever stands still for long is seen here, whatever events the browser sends.
  sample() {
    const now = performance.now();
    if (!this.isWatched() || this.video.currentTime !== this.position || this.moved === null) {
      this.moved = now;
    } else if (this.isDry()) {
      this.longestStall = Math.max(this.longestStall, now - this.moved);
    } else {
      this.longestHang = Math.max(this.longestHang, now - this.moved);
    }
    this.position = this.video.currentTime;
  }

  // Whose URL it is: an appliance's name, or its host.
  whose(url) {
    const { origin, host } = new URL(url);
    return this.appliances.find(one => one.http === origin || one.https === origin)?.name ?? host;
  }

  // { url, status, bytes, milliseconds, headers: { name: value } }; status 0 where nothing came.
  request(request) {
    const from = this.whose(request.url);
    const path = new URL(request.url).pathname;
    const isSegment = /\.(m4s|mp4)$/.test(path);
    if (request.status < 200 || request.status >= 400) this.failures[from] = (this.failures[from] ?? 0) + 1;
    else if (isSegment) this.counts[from] = (this.counts[from] ?? 0) + 1;
    this.requests.push({ ...request, from, path, isSegment, at: performance.now() });
    if (this.requests.length > REQUESTS_KEPT) this.requests.shift();
  }

  steered(document) { this.steering.push({ at: performance.now(), ...document }); }

  error(text, isFatal) {
    this.errors.push({ at: performance.now(), text, isFatal });
    if (this.errors.length > ERRORS_KEPT) this.errors.shift();
  }

  bufferedAhead() {
    const { buffered, currentTime } = this.video;
    for (let i = 0; i < buffered.length; i++) {
      if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
    }
    return 0;
  }
}

// The headers that a session is told, of anything with a `get`.
export function told(get) {
  return Object.fromEntries(TOLD.map(name => [name, get(name)]).filter(([, value]) => value));
}
