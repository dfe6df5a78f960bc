//! The pull service: its threads, what its tasks share, and its end.
//!
//! It runs on threads of its own, so that a worker never waits for an upstream or for what is asked of it. Each request is a task
//! (`answering`), each flight is one (`leading`).

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cache_store::Store;
use control_client::config::{PullConfig, ServeConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::MutexGuard;

use super::absences::Absences;
use super::caching::Policy;
use super::clients::{Client, Clients};
use super::demand_store::DemandStore;
use super::failure::PullFailure;
use super::flight::{Boarded, Flight, Flights, Passenger, Wish};
use super::habits::Habits;
use super::leading::{Mission, lead};
use super::memory_store::MemoryStore;
use super::stats::PullStats;
use super::upstream::{LoopGuard, UpstreamError, Upstreams};
use super::{PurgeSelector, Purged, Question, Questions, answering};
use crate::limits::{
    BOARDING_INTERVAL, FLIGHT_WINDOW_BYTES_MAX, FLIGHT_WINDOW_BYTES_MIN, PULL_STATS_INTERVAL, PULL_THREADS,
};

/// What the tasks of the service share.
pub(super) struct Pull {
    pub(super) config: PullConfig,
    pub(super) policy: Policy,
    pub(super) upstreams: Upstreams,
    pub(super) loop_guard: LoopGuard,
    pub(super) habits: Habits,
    pub(super) absences: Absences,
    pub(super) clients: Arc<Clients>,
    pub(super) flights: Flights,
    pub(super) memory: MemoryStore,
    pub(super) demand: DemandStore,
    pub(super) stats: Arc<PullStats>,
    flights_under_way: AtomicU64,
}

/// The running service.
pub struct PullService {
    runtime: Runtime,
    pull: Arc<Pull>,
}

/// Why the service does not start.
#[derive(Debug)]
pub enum PullError {
    /// An upstream cannot be used as it is configured.
    Upstream(UpstreamError),
    /// A thread could not be started.
    Thread(io::Error),
}

impl PullService {
    /// Starts the service. `name` is the appliance's, for `Via` and `CDN-Loop`.
    ///
    /// # Errors
    /// For the operator, where an upstream cannot be used; and where the machine has no threads left.
    pub fn start(
        config: &PullConfig,
        serve: &ServeConfig,
        name: &str,
        store: &Arc<Store>,
        stats: Arc<PullStats>,
        questions: Questions,
    ) -> Result<Self, PullError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(PULL_THREADS)
            .thread_name("pull")
            .enable_all()
            .build()
            .map_err(PullError::Thread)?;
        let pull = Arc::new(Pull::new(config, serve, name, store, stats)?);
        runtime.spawn(take_questions(Arc::clone(&pull), questions));
        runtime.spawn(keep_stats(Arc::clone(&pull)));
        Ok(Self { runtime, pull })
    }

    /// Whether it is known what every volume holds. Before, what lies there is not found, and what comes is not stored there.
    pub fn is_ready(&self) -> bool {
        self.pull.demand.is_settled()
    }

    /// Requests to upstream that are under way, until what they bring is stored.
    pub fn fetches_under_way(&self) -> u64 {
        self.pull.flights_under_way.load(Relaxed)
    }

    /// Ends it: what is under way is broken off, and the logs are closed. Waits for disks until `deadline` and no longer.
    pub fn stop(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        self.runtime.shutdown_timeout(left.min(Duration::from_secs(1)));
        self.pull.demand.stop(deadline);
    }
}

async fn take_questions(pull: Arc<Pull>, mut questions: Questions) {
    while let Some(question) = questions.next().await {
        let pull = Arc::clone(&pull);
        match question {
            Question::Answer(request, writer) => {
                tokio::spawn(answering::answer(pull, *request, writer));
            }
            Question::Purge(selectors, answer) => {
                tokio::spawn(async move {
                    let purged = pull.purge(selectors).await;
                    // Whoever asked may have given up.
                    let _ = answer.send(purged);
                });
            }
        }
    }
}

/// Sets the gauges.
async fn keep_stats(pull: Arc<Pull>) {
    let mut interval = tokio::time::interval(PULL_STATS_INTERVAL);
    loop {
        interval.tick().await;
        pull.stats.fetches.set(pull.upstreams.under_way());
        pull.stats.fetch_bytes.set(pull.flights.bytes());
        pull.stats.memory_bytes.set(pull.memory.bytes());
        pull.stats.memory_objects.set(pull.memory.len());
        for (volume, stats) in pull.stats.volumes.iter().zip(pull.demand.stats()) {
            let Some(stats) = stats else { continue };
            volume.bytes.set(stats.bytes);
            volume.records.set(stats.entries + stats.blocks);
            volume.index_bytes.set(stats.index_bytes);
            volume.evicted.set(stats.evicted_entries + stats.evicted_blocks);
            volume.rewritten.set(stats.rewritten);
            volume.corrupt.set(stats.corrupt);
            volume.purges_lost.set(stats.purges_lost);
        }
    }
}

impl Pull {
    /// As configured; the volumes' logs are opened in the background.
    ///
    /// # Errors
    /// As [`PullService::start`].
    pub(super) fn new(
        config: &PullConfig,
        serve: &ServeConfig,
        name: &str,
        store: &Arc<Store>,
        stats: Arc<PullStats>,
    ) -> Result<Self, PullError> {
        let demand = DemandStore::start(Arc::clone(store), config, serve.disk_timeout);
        Ok(Self {
            policy: Policy::from(config),
            upstreams: Upstreams::new(config, &stats).map_err(PullError::Upstream)?,
            loop_guard: LoopGuard::new(name),
            habits: Habits::new(config.error_ttl),
            absences: Absences::new(),
            clients: Arc::new(Clients::new(config)),
            flights: Flights::default(),
            memory: MemoryStore::new(config.memory.bytes()),
            demand: demand.map_err(PullError::Thread)?,
            stats,
            flights_under_way: AtomicU64::new(0),
            config: config.clone(),
        })
    }

    /// A seat in a flight that fits the wish; one that is made for it is one of the client's part, and is led by a task of its own.
    /// `None` where none fits and the client has all of its part ([`Self::wait_to_board`]).
    pub(super) fn board(
        self: &Arc<Self>,
        key: &Arc<str>,
        wish: &Wish,
        client: &mut Client,
        mission: impl FnOnce() -> Mission,
    ) -> Option<Passenger> {
        let mut part = None;
        let boarded = self.flights.board_if(key, wish, || {
            part = client.part_now();
            part.is_some()
        });
        let Boarded { passenger, new_flight } = boarded?;
        if let Some((flight, part)) = new_flight.zip(part) {
            // Counted off by its leader ([`Led`]), which may begin later than whoever waits for all to end looks.
            self.flights_under_way.fetch_add(1, Relaxed);
            tokio::spawn(lead(Arc::clone(self), flight, mission(), part));
        }
        Some(passenger)
    }

    /// Waits until it is worth trying to board again: the client has less than its part, or another has a flight made that fits.
    ///
    /// # Errors
    /// [`PullFailure::Busy`] where that takes too long.
    pub(super) async fn wait_to_board(
        &self,
        key: &str,
        wish: &Wish,
        client: &mut Client,
    ) -> Result<(), PullFailure> {
        let mut part = pin!(client.take_part());
        loop {
            tokio::select! {
                taken = &mut part => return taken,
                // Nobody says when one fits: that can change with every chunk that a flight brings.
                () = tokio::time::sleep(BOARDING_INTERVAL) => {}
            }
            if self.flights.join(key, wish).is_some() {
                return Ok(());
            }
        }
    }

    /// Drops what is held, and what is on its way.
    pub(super) async fn purge(&self, selectors: Vec<PurgeSelector>) -> io::Result<Purged> {
        // Before the flights, so that one that begins after them finds nothing of it to confirm; and after them, for what they
        // have brought until then.
        let in_memory = self.memory.purge(&selectors);
        self.flights.purge(|key| selectors.iter().any(|selector| selector.means(key)));
        let in_memory = in_memory + self.memory.purge(&selectors);
        let on_disk = self.demand.purge(selectors).await;
        let objects = in_memory + on_disk.as_ref().unwrap_or(&0);
        self.stats.purged.add(objects);
        on_disk.map(|_| Purged { objects })
    }

    /// Holds the lock of a key's entries, where they can be on any disk.
    pub(super) async fn lock_entries(&self, key: &str) -> Option<MutexGuard<'_, ()>> {
        self.demand.lock_entries(key).await
    }

    /// Bytes that one flight may keep in memory now: they share what there is.
    pub(super) fn window_bytes(&self) -> u64 {
        let share = self.config.fetch_memory.bytes() / self.flights_under_way.load(Relaxed).max(1);
        share.clamp(FLIGHT_WINDOW_BYTES_MIN, FLIGHT_WINDOW_BYTES_MAX)
    }
}

/// While it lives a flight can be boarded, and has a leader.
pub(super) struct Led<'a> {
    pull: &'a Pull,
    flight: &'a Arc<Flight>,
    key: &'a str,
}

impl<'a> Led<'a> {
    pub(super) fn new(pull: &'a Pull, flight: &'a Arc<Flight>, key: &'a str) -> Self {
        Self { pull, flight, key }
    }
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        self.pull.flights_under_way.fetch_sub(1, Relaxed);
        self.pull.flights.remove(self.key, self.flight);
        self.flight.abandon();
    }
}

impl std::fmt::Display for PullError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upstream(error) => error.fmt(formatter),
            Self::Thread(error) => {
                write!(formatter, "a thread of the pull service cannot be started: {error}")
            }
        }
    }
}

impl std::error::Error for PullError {}
