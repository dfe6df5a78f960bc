//! How much is measured: in full, or as little as shows that it runs.

use std::time::Duration;

/// Sizes and durations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Bytes of each set of hot objects at most.
    pub(crate) hot_bytes: u64,
    /// One measurement of wrk, in whole seconds, and what comes before the first.
    pub(crate) wrk_seconds: u64,
    /// Objects of 2 MiB on the disk, and how many one cold measurement asks for.
    pub(crate) cold_objects: usize,
    pub(crate) cold_requests: usize,
    /// How long latencies are measured, with a storm and without.
    pub(crate) latency: Duration,
    /// The RAM tier of the working set's scenario, which has eight times as much, and its requests.
    pub(crate) tier_bytes: u64,
    pub(crate) trace_requests: usize,
    pub(crate) idle_connections: usize,
    pub(crate) slow_connections: usize,
    pub(crate) slow: Duration,
    /// Those who ask for one block at once.
    pub(crate) viewers: usize,
    /// The store of the start-up, and what is asked of it.
    pub(crate) start_bundles: u32,
    pub(crate) start_objects: u32,
    pub(crate) start_requests: usize,
}

/// What is quoted.
pub(crate) const FULL: Scale = Scale {
    hot_bytes: 128 << 20,
    wrk_seconds: 1,
    cold_objects: 4096,
    cold_requests: 750,
    latency: Duration::from_secs(2),
    tier_bytes: 1 << 30,
    trace_requests: 20_000,
    idle_connections: 16_000,
    slow_connections: 2_000,
    slow: Duration::from_secs(3),
    viewers: 1_000,
    start_bundles: 40_000,
    start_objects: 500,
    start_requests: 1_000,
};

/// What CI runs.
pub(crate) const QUICK: Scale = Scale {
    hot_bytes: 16 << 20,
    wrk_seconds: 1,
    cold_objects: 128,
    cold_requests: 64,
    latency: Duration::from_millis(500),
    tier_bytes: 32 << 20,
    trace_requests: 400,
    idle_connections: 400,
    slow_connections: 50,
    slow: Duration::from_secs(1),
    viewers: 100,
    start_bundles: 200,
    start_objects: 50,
    start_requests: 50,
};
