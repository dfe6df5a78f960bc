//! What a worker's connections share and change: the ring, the read buffers and the lines for them, the timers, the clock,
//! the log. One thread owns it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cache_store::{OpenBundle, VolumeIndex};

use crate::access_log::LogSender;
use crate::body::{PieceBuffers, PieceRead};
use crate::disk_reads::DiskReads;
use crate::limits::LINE_SLACK;
use crate::read_buffers::ReadBuffers;
use crate::ring::{Ring, RingError};
use crate::timer_wheel::TimerWheel;
use crate::token::ConnectionId;

/// The shared, changing things of one worker.
pub struct Reactor {
    /// Operations in flight.
    pub ring: Ring,
    /// Reads in flight.
    pub reads: DiskReads,
    /// Buffers that are free, and those that responses hold.
    pub buffers: ReadBuffers,
    /// Deadlines.
    pub timers: TimerWheel,
    /// The access log.
    pub log: LogSender,
    /// The time of this turn of the loop.
    pub now: Instant,
    /// The same, in nanoseconds since the Unix epoch.
    pub unix_nanos: u64,
    date: [u8; 29],
    date_seconds: u64,
    last_ticket: u64,
    /// Connections that wait for a buffer, first come first served, a line per volume.
    lines: Box<[VecDeque<ConnectionId>]>,
}

impl Reactor {
    /// The reactor of the calling thread, with `read_buffer_bytes` for reads of `volume_count` volumes.
    pub fn new(read_buffer_bytes: u64, volume_count: usize, log: LogSender) -> Result<Self, RingError> {
        let buffers = ReadBuffers::new(read_buffer_bytes).map_err(RingError::Buffers)?;
        let ring = Ring::new(buffers.region())?;
        let now = Instant::now();
        let mut reactor = Self {
            ring,
            reads: DiskReads::new(buffers.count(), volume_count),
            buffers,
            timers: TimerWheel::new(now),
            log,
            now,
            unix_nanos: 0,
            date: [b' '; 29],
            date_seconds: u64::MAX,
            last_ticket: 0,
            lines: vec![VecDeque::new(); volume_count].into(),
        };
        reactor.read_clock();
        Ok(reactor)
    }

    /// Brings the time up to date; once per turn of the loop.
    pub fn read_clock(&mut self) {
        self.now = Instant::now();
        self.unix_nanos =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        if self.unix_seconds() != self.date_seconds {
            self.date_seconds = self.unix_seconds();
            let text =
                httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(self.date_seconds));
            if let Ok(date) = text.as_bytes().try_into() {
                self.date = date;
            }
        }
    }

    /// Whole seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_nanos / 1_000_000_000
    }

    /// The time as the `Date` field has it (RFC 9110 §5.6.7).
    pub fn date(&self) -> &[u8; 29] {
        &self.date
    }

    /// A name for a read, unlike any before on this worker.
    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Starts a disk read; the caller has asked for room.
    pub fn read(&mut self, reader: ConnectionId, piece: PieceRead, bundle: Arc<OpenBundle>) {
        self.reads.start(reader, piece, bundle, self.now, &mut self.buffers, &mut self.ring);
    }

    /// Takes buffers back that nobody waits for any more.
    pub fn take_back(&mut self, buffers: PieceBuffers) {
        buffers.into_iter().for_each(|buffer| self.buffers.give(buffer));
    }

    /// Queues a connection for buffers of a volume.
    pub fn stand_in_line(&mut self, id: ConnectionId, volume: VolumeIndex) {
        self.lines[volume.as_usize()].push_back(id);
    }

    /// The next connection whose turn it is for a buffer of `volume`, if one can be had now.
    pub fn next_in_line(&mut self, volume: usize) -> Option<ConnectionId> {
        if self.reads.room(volume, 1, &self.buffers) == 0 { None } else { self.lines[volume].pop_front() }
    }

    /// How many volumes there are lines for.
    pub fn volume_count(&self) -> usize {
        self.lines.len()
    }

    /// Forgets those in line who are not there any more, where they have become many.
    pub fn tidy_lines(&mut self, connection_count: usize, is_there: impl Fn(ConnectionId) -> bool) {
        for line in &mut self.lines {
            if line.len() > 2 * connection_count + LINE_SLACK {
                line.retain(|id| is_there(*id));
            }
        }
    }

    /// Whether connections wait because the pool is empty.
    pub fn is_short_of_buffers(&self) -> bool {
        self.buffers.free_count() == 0 && self.lines.iter().any(|line| !line.is_empty())
    }

    /// Whether nothing that the kernel may still write to would be freed with the reactor.
    pub fn may_be_dropped(&self) -> bool {
        self.reads.is_empty()
    }

    /// Waits for completions; see [`Ring::wait`].
    pub fn wait(
        &mut self,
        timeout: std::time::Duration,
        batch: &mut Vec<crate::ring::Completion>,
    ) -> io::Result<()> {
        self.ring.wait(timeout, batch)
    }
}
