//! `GET /load`: how much the appliance has to do, over the last seconds.

use serde::{Deserialize, Serialize};

use crate::wire::DocumentVersion;

/// The answer to `GET /load`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Load {
    /// Always 1.
    pub version: DocumentVersion,
    /// The span that rates and latencies are of: the last whole interval, in milliseconds.
    pub interval_millis: u64,
    /// Bits per second sent to clients.
    pub egress_bits_per_second: u64,
    /// Requests that ended, per second.
    pub requests_per_second: u64,
    /// Connections open.
    pub connections: u64,
    /// Reads of the disks for clients, per second.
    pub reads_per_second: u64,
    /// Half of these took at most so long, in microseconds; 0 where there were none.
    pub read_latency_p50_micros: u64,
    /// Of a hundred, 99 took at most so long, in microseconds; 0 where there were none.
    pub read_latency_p99_micros: u64,
}
