//! What each worker counts: one [`WorkerStats`] per worker, written by that worker alone and read by whoever
//! scrapes.
//!
//! A counter is a relaxed load, an addition and a relaxed store: three plain instructions, with no locked one
//! among them, because there is one writer. The price is a rule: **only the worker that owns a `WorkerStats`
//! calls its event methods**. Readers may see the counters of one event at slightly different moments, never
//! a torn value. Each worker's block starts on its own pair of cache lines, so that workers never pull a line
//! from each other.
//!
//! Methods are named for events, so that the worker says what happened and this file decides what it means
//! for the figures.

mod causes;
mod counter;
mod histogram;
mod totals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cache_store::VolumeIndex;
use rustix::time::{ClockId, clock_gettime};

pub(crate) use self::causes::causes;
pub use self::causes::{AcceptPause, CloseCause, ReadEnd, RecordLayer, TlsVersion, Transport};
pub(crate) use self::counter::{Counter, counters};
pub use self::histogram::{BOUNDS_MICROS, Histogram, HistogramTotal};
pub(crate) use self::totals::add_each;
pub use self::totals::{Totals, VolumeTotals};
use crate::media::PlayerStats;
use crate::outcome::Outcome;
use crate::tls::SealedBytes;

/// The clock of heartbeats: `CLOCK_MONOTONIC` in milliseconds.
pub fn monotonic_millis() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The kernel's monotonic clock starts near zero at boot, so neither part is ever negative.
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// The counters and gauges of one worker.
#[repr(align(128))]
pub struct WorkerStats {
    heartbeat_millis: AtomicU64,

    accepted: [Counter; Transport::COUNT],
    closed: [Counter; CloseCause::COUNT],
    open: [Counter; Transport::COUNT],
    handshakes: [Counter; TlsVersion::COUNT],
    handshakes_resumed: Counter,
    record_layers: [Counter; RecordLayer::COUNT],
    record_layer_bytes: [Counter; RecordLayer::COUNT],

    accept_pauses: [Counter; AcceptPause::COUNT],
    accept_paused_since_millis: AtomicU64,

    requests_in_flight: Counter,
    outcomes: [Counter; Outcome::COUNT],
    body_bytes: [Counter; Outcome::COUNT],
    egress_bytes: Counter,
    first_byte: Histogram,
    duration: Histogram,
    demand_uncounted: Counter,
    samples_dropped: Counter,

    /// What players say of themselves.
    pub players: PlayerStats,

    openings_in_flight: Counter,
    buffers_total_bytes: AtomicU64,
    buffers_in_use_bytes: AtomicU64,
    buffer_waits: Counter,
    sealed_bytes: Arc<SealedBytes>,
    volumes: Box<[VolumeStats]>,
}

/// The read counters of one volume, as one worker saw it.
struct VolumeStats {
    in_flight: Counter,
    ended: [Counter; ReadEnd::COUNT],
    bytes: Counter,
    timeouts: Counter,
    duration: Histogram,
}

impl WorkerStats {
    /// All at zero, for a store of `volume_count` volumes (at least one is counted), with a heartbeat of now,
    /// so that a worker that is still starting does not count as stalled.
    pub fn new(volume_count: usize) -> Self {
        WorkerStats {
            heartbeat_millis: AtomicU64::new(monotonic_millis()),
            accepted: counters(),
            closed: counters(),
            open: counters(),
            handshakes: counters(),
            handshakes_resumed: Counter::new(),
            record_layers: counters(),
            record_layer_bytes: counters(),
            accept_pauses: counters(),
            accept_paused_since_millis: AtomicU64::new(0),
            requests_in_flight: Counter::new(),
            outcomes: counters(),
            body_bytes: counters(),
            egress_bytes: Counter::new(),
            first_byte: Histogram::new(),
            duration: Histogram::new(),
            demand_uncounted: Counter::new(),
            samples_dropped: Counter::new(),
            players: PlayerStats::new(),
            openings_in_flight: Counter::new(),
            buffers_total_bytes: AtomicU64::new(0),
            buffers_in_use_bytes: AtomicU64::new(0),
            buffer_waits: Counter::new(),
            sealed_bytes: Arc::default(),
            volumes: (0..volume_count.max(1)).map(|_| VolumeStats::new()).collect(),
        }
    }

    /// The worker is alive. To be called every [`WALL_CLOCK_INTERVAL`](crate::limits::WALL_CLOCK_INTERVAL) while its loop turns, and at
    /// least once a second when there is nothing to do. `now_millis` is [`monotonic_millis`].
    pub fn heartbeat(&self, now_millis: u64) {
        self.heartbeat_millis.store(now_millis, Relaxed);
    }

    /// A connection was accepted. Answered by one [`closed`](Self::closed).
    pub fn accepted(&self, transport: Transport) {
        self.accepted[transport as usize].add(1);
        self.open[transport as usize].add(1);
    }

    /// A connection ended, for this reason.
    pub fn closed(&self, transport: Transport, cause: CloseCause) {
        self.closed[cause as usize].add(1);
        self.open[transport as usize].subtract(1);
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> u64 {
        self.open.iter().map(Counter::value).sum()
    }

    /// A TLS handshake was completed.
    pub fn handshake_completed(&self, version: TlsVersion, resumed: bool) {
        self.handshakes[version as usize].add(1);
        self.handshakes_resumed.add(u64::from(resumed));
    }

    /// It was settled who seals what is sent over a TLS connection.
    pub fn record_layer_chosen(&self, layer: RecordLayer) {
        self.record_layers[layer as usize].add(1);
    }

    /// The kernel took these bytes of a response over TLS: records, or what it makes records of.
    pub fn sent_over_tls(&self, layer: RecordLayer, bytes: u64) {
        self.record_layer_bytes[layer as usize].add(bytes);
    }

    /// Accepting stopped. Answered by one [`accept_resumed`](Self::accept_resumed); a second pause in between
    /// is counted, and keeps the first one's time. Only a shortage is timed: a pause at the bound that the
    /// operator chose is how it should be.
    pub fn accept_paused(&self, cause: AcceptPause, now_millis: u64) {
        self.accept_pauses[cause as usize].add(1);
        if cause.is_shortage() && self.accept_paused_since_millis.load(Relaxed) == 0 {
            self.accept_paused_since_millis.store(now_millis.max(1), Relaxed);
        }
    }

    /// Accepting goes on.
    pub fn accept_resumed(&self) {
        self.accept_paused_since_millis.store(0, Relaxed);
    }

    /// A request began: its first byte arrived. Answered by exactly one [`ended`](Self::ended).
    pub fn began(&self) {
        self.requests_in_flight.add(1);
    }

    /// A request ended: how, with how many bytes of body sent, how long after it began its first byte was
    /// sent (`None`: none was), and how long it took altogether.
    pub fn ended(&self, outcome: Outcome, body_bytes: u64, first_byte: Option<Duration>, duration: Duration) {
        self.requests_in_flight.subtract(1);
        self.outcomes[outcome as usize].add(1);
        self.body_bytes[outcome as usize].add(body_bytes);
        if let Some(first_byte) = first_byte {
            self.first_byte.record(first_byte);
        }
        self.duration.record(duration);
    }

    /// A request that ended was not counted as demand, because the table of bundles is full.
    pub fn demand_uncounted(&self) {
        self.demand_uncounted.add(1);
    }

    /// The RAM tier is behind, and was not told of a request.
    pub fn sample_dropped(&self) {
        self.samples_dropped.add(1);
    }

    /// The kernel took these bytes for a client: heads and bodies, and with TLS the records that the daemon has sealed.
    pub fn sent(&self, bytes: u64) {
        self.egress_bytes.add(bytes);
    }

    /// A request waits for its bundle to be opened. Answered by one [`opening_ended`](Self::opening_ended).
    pub fn opening_began(&self) {
        self.openings_in_flight.add(1);
    }

    /// The bundle is open, or could not be opened.
    pub fn opening_ended(&self) {
        self.openings_in_flight.subtract(1);
    }

    /// The worker's pool of read buffers has this size. Told once, at start.
    pub fn buffers_total(&self, bytes: u64) {
        self.buffers_total_bytes.store(bytes, Relaxed);
    }

    /// This much of the pool is taken now.
    pub fn buffers_in_use(&self, bytes: u64) {
        self.buffers_in_use_bytes.store(bytes, Relaxed);
    }

    /// A response had to wait for a read buffer, because all were taken.
    pub fn buffer_waited(&self) {
        self.buffer_waits.add(1);
    }

    /// Where the worker's TLS connections count what they have sealed and could not send.
    pub fn sealed_bytes(&self) -> Arc<SealedBytes> {
        Arc::clone(&self.sealed_bytes)
    }

    /// A read was given to the kernel. Answered by one [`read_ended`](Self::read_ended), even after a
    /// timeout.
    pub fn read_began(&self, volume: u8) {
        self.volume(volume).in_flight.add(1);
    }

    /// The kernel gave a read back: how it ended, the bytes that are good, and how long it took.
    pub fn read_ended(&self, volume: u8, end: ReadEnd, bytes: u64, duration: Duration) {
        let volume = self.volume(volume);
        volume.in_flight.subtract(1);
        volume.ended[end as usize].add(1);
        volume.bytes.add(bytes);
        volume.duration.record(duration);
    }

    /// A response gave up waiting for a read, which is still in flight.
    pub fn read_timed_out(&self, volume: u8) {
        self.volume(volume).timeouts.add(1);
    }

    /// Adds how long its reads of a volume took to `total`.
    pub fn add_read_durations(&self, volume: VolumeIndex, total: &mut HistogramTotal) {
        total.add(&self.volume(volume.0).duration);
    }

    /// When the worker last said that it is alive, by [`monotonic_millis`].
    pub fn last_heartbeat_millis(&self) -> u64 {
        self.heartbeat_millis.load(Relaxed)
    }

    /// Since when accepting is paused for a shortage, by [`monotonic_millis`].
    pub fn accept_paused_since_millis(&self) -> Option<u64> {
        Some(self.accept_paused_since_millis.load(Relaxed)).filter(|&millis| millis != 0)
    }

    fn volume(&self, volume: u8) -> &VolumeStats {
        // A number that the store never gave is counted with the last volume.
        &self.volumes[usize::from(volume).min(self.volumes.len() - 1)]
    }
}

impl VolumeStats {
    fn new() -> Self {
        VolumeStats {
            in_flight: Counter::new(),
            ended: counters(),
            bytes: Counter::new(),
            timeouts: Counter::new(),
            duration: Histogram::new(),
        }
    }
}

#[cfg(test)]
mod tests;
