use std::time::Duration;

use control_client::config::PullConfig;
use http::HeaderName;

/// What the operator decides. Of freshness, each holds only where upstream says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a playlist or MPD is fresh.
    pub playlist_ttl: Duration,
    /// How long a segment is fresh.
    pub segment_ttl: Duration,
    /// How long 404 and 410 are.
    pub negative_ttl: Duration,
    /// How long beyond its lifetime a response may stand in for an upstream that fails.
    pub stale_if_error: Duration,
    /// Fields of clients that go upstream though nothing is known of them here.
    pub request_fields: Vec<HeaderName>,
}

impl From<&PullConfig> for Policy {
    fn from(config: &PullConfig) -> Self {
        Self {
            playlist_ttl: config.playlist_ttl,
            segment_ttl: config.segment_ttl,
            negative_ttl: config.negative_ttl,
            stale_if_error: config.stale_if_error,
            // The configuration was checked: each is a name.
            request_fields: config.request_fields.iter().filter_map(|name| name.parse().ok()).collect(),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::from(&PullConfig::default())
    }
}
