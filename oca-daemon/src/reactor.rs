//! What a worker's connections share and change: the ring, the reads, the timers, the clock, the log, the demand. One
//! thread owns it.

use std::time::{Instant, SystemTime};

use crate::access_log::LogSender;
use crate::block_waiters::BlockWaiters;
use crate::connection::SpareExchanges;
use crate::demand::DemandTable;
use crate::limits::SEAL_BUFFER_BYTES;
use crate::read_queue::ReadQueue;
use crate::ring::{Ring, RingError};
use crate::tier::SampleSender;
use crate::timer_wheel::TimerWheel;
use crate::token::ConnectionId;
use crate::wall_clock::WallClock;

/// The shared, changing things of one worker.
pub struct Reactor {
    /// Operations in flight.
    pub ring: Ring,
    /// Reads in flight, and those who wait to read.
    pub reads: ReadQueue,
    /// Deadlines.
    pub timers: TimerWheel,
    /// Where TLS seals what it sends next. Memory only when it is used.
    pub seal_buffer: Box<[u8]>,
    /// The access log.
    pub log: LogSender,
    /// What the RAM tier is told.
    pub samples: SampleSender,
    /// Who waits for blocks that are on their way into memory.
    pub block_waiters: BlockWaiters,
    /// Exchanges that are over.
    pub spare_exchanges: SpareExchanges,
    /// What was asked for since it was last handed over.
    pub demand: DemandTable,
    /// Whose responses were decided in this turn, and are sent when all that has come is read.
    pub decided: Vec<ConnectionId>,
    /// Whose responses the kernel has, and are counted when all are sent.
    pub sent: Vec<ConnectionId>,
    /// The time of this turn of the loop.
    pub now: Instant,
    /// When the clock was last read: at the beginning of this turn, or since ([`Self::read_clock_again`]).
    pub clock_read_at: Instant,
    /// The time of this turn for people.
    pub wall_clock: WallClock,
}

impl Reactor {
    /// The reactor of the calling thread, with `read_buffer_bytes` for reads of `volume_count` volumes.
    pub fn new(
        read_buffer_bytes: u64,
        volume_count: usize,
        log: LogSender,
        samples: SampleSender,
    ) -> Result<Self, RingError> {
        let reads = ReadQueue::new(read_buffer_bytes, volume_count).map_err(RingError::Buffers)?;
        let ring = Ring::new(reads.buffers.region())?;
        let now = Instant::now();
        let timers = TimerWheel::new(now);
        let mut reactor = Self {
            ring,
            reads,
            timers,
            seal_buffer: vec![0; SEAL_BUFFER_BYTES].into_boxed_slice(),
            log,
            samples,
            block_waiters: BlockWaiters::default(),
            spare_exchanges: SpareExchanges::default(),
            demand: DemandTable::default(),
            decided: Vec::new(),
            sent: Vec::new(),
            now,
            clock_read_at: now,
            wall_clock: WallClock::new(now),
        };
        reactor.read_clock();
        Ok(reactor)
    }

    /// Brings the time up to date; once per turn of the loop. True: the wall clock was read, too, which happens every now and then.
    pub fn read_clock(&mut self) -> bool {
        self.now = Instant::now();
        self.clock_read_at = self.now;
        self.wall_clock.turn(self.now, SystemTime::now)
    }

    /// The present moment, within a turn: of what is told to the microsecond.
    pub fn read_clock_again(&mut self) -> Instant {
        self.clock_read_at = Instant::now();
        self.clock_read_at
    }
}
