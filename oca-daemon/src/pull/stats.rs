//! What is counted of pull-through, for the metrics. Counters only rise; gauges are set by whoever knows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use control_client::config::PullConfig;

/// A number that several threads count up, or one sets.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// As it stands.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct PullStats {
    /// Requests that joined another's fetch.
    pub collapsed: Count,
    /// Answers held that upstream said were still right (304).
    pub revalidated: Count,
    /// Answers that were stale, and sent because no upstream could answer, or while one was asked.
    pub stale_served: Count,
    /// Requests answered from what is remembered of absent names and of failures.
    pub negative_hits: Count,
    /// Places of `pull.fetches` that are held; a gauge.
    pub fetches: Count,
    /// Bytes of content on its way from upstreams, in memory; a gauge.
    pub fetch_bytes: Count,
    /// Bytes of bodies that were sent from memory, without asking upstream.
    pub memory_bytes_sent: Count,
    /// Bytes of bodies that were sent from the disks.
    pub disk_bytes_sent: Count,
    /// Bytes that the memory store holds; a gauge.
    pub memory_bytes: Count,
    /// Answers that the memory store holds; a gauge.
    pub memory_objects: Count,
    /// Objects that were dropped because somebody said so.
    pub purged: Count,
    /// Each upstream, in the order of the configuration.
    pub upstreams: Box<[UpstreamStats]>,
    /// What each volume holds, in the order of the configuration.
    pub volumes: Box<[PullVolumeStats]>,
}

/// One upstream.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    /// Its name in the configuration.
    pub name: String,
    /// Requests that ended, by result.
    pub results: [Count; UpstreamResult::COUNT],
    /// Bytes of bodies received.
    pub received_bytes: Count,
    /// Whether it is left alone because it failed too often.
    is_open: AtomicBool,
}

/// The pulled content on one volume; all of it as the log says it.
#[derive(Debug, Default)]
pub struct PullVolumeStats {
    /// Bytes that its files take; a gauge.
    pub bytes: Count,
    /// Records in it; a gauge.
    pub records: Count,
    /// Bytes of its index in memory; a gauge.
    pub index_bytes: Count,
    /// Records that left to make room.
    pub evicted: Count,
    /// Records that were written again because they are asked for.
    pub rewritten: Count,
    /// Records whose checksum did not match; none of them was sent.
    pub corrupt: Count,
    /// Whether all of it was dropped when it was opened, as it was not known any more what had been purged.
    pub purges_lost: Count,
    /// What could not be written, or was not because too much waited to be.
    pub write_failures: Count,
}

macro_rules! results {
    ($($variant:ident $name:literal $help:literal)*) => {
        /// How a request to an upstream ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum UpstreamResult {
            $(#[doc = $help] $variant,)*
        }

        impl UpstreamResult {
            /// Every result; `result as usize` is its place.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant,)*];

            /// How many there are.
            pub const COUNT: usize = [$($name),*].len();

            /// Its name in the metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line for the operator.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

results! {
    Answered "answered" "It answered, whole, with neither 404 nor 5xx"
    NotModified "not_modified" "304: what is held is still right"
    Absent "absent" "404 or 410"
    ServerError "server_error" "5xx; the next upstream was asked, or the answer passed on"
    Unreachable "unreachable" "It could not be connected to within pull.connect_timeout"
    TimedOut "timed_out" "No answer within pull.first_byte_timeout, no byte within pull.stall_timeout, or next to none within three times as long"
    Invalid "invalid" "It broke off, or its answer breaks HTTP, has another length than it said, or changed on the way"
    Abandoned "abandoned" "Nobody waited for it any more, and too much of it was left"
}

impl PullStats {
    /// For the upstreams and so many volumes.
    pub fn new(config: &PullConfig, volume_count: usize) -> Self {
        let upstream = |name: &String| UpstreamStats { name: name.clone(), ..UpstreamStats::default() };
        Self {
            upstreams: config.upstreams.iter().map(|known| upstream(&known.name)).collect(),
            volumes: (0..volume_count).map(|_| PullVolumeStats::default()).collect(),
            ..Self::default()
        }
    }
}

impl UpstreamStats {
    /// A request has ended so.
    pub fn ended(&self, result: UpstreamResult) {
        self.results[result as usize].add(1);
    }

    /// Whether it is left alone.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    /// It is left alone from now on, or asked again.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Relaxed);
    }
}
