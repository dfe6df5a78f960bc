use std::time::Duration;

use control_client::config::PullConfig;

/// What the operator decides about freshness; each holds only where upstream says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a playlist or MPD is fresh.
    pub playlist_ttl: Duration,
    /// How long a segment is fresh.
    pub segment_ttl: Duration,
    /// How long 404 and 410 are.
    pub negative_ttl: Duration,
    /// How long beyond its lifetime a response may stand in for an upstream that fails.
    pub stale_if_error: Duration,
}

impl From<&PullConfig> for Policy {
    fn from(config: &PullConfig) -> Self {
        Self {
            playlist_ttl: config.playlist_ttl,
            segment_ttl: config.segment_ttl,
            negative_ttl: config.negative_ttl,
            stale_if_error: config.stale_if_error,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::from(&PullConfig::default())
    }
}
