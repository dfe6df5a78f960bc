mod rule;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};

use super::optional;
use super::problem::Problems;
use crate::limits;
use crate::units::{ByteCount, duration};

pub use rule::{OnMiss, PullRule};
pub use upstream::{S3Config, UpstreamConfig};

/// `[pull]`: what happens to requests for what no bundle holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PullConfig {
    /// What happens to which paths; the rule with the longest prefix decides.
    pub rules: Vec<PullRule>,
    /// Where content is pulled from, in the order in which to try them.
    pub upstreams: Vec<UpstreamConfig>,
    /// What happens to methods other than GET, HEAD and OPTIONS under a rule that pulls.
    pub unsafe_methods: UnsafeMethods,
    /// Names of fields of clients' requests that go upstream beside those that always do.
    pub request_fields: Vec<String>,
    /// The part of each volume that pulled content may take, in percent.
    pub volume_percent: u32,
    /// Memory for the index of pulled content, per volume.
    pub index_memory: ByteCount,
    /// The file of the purges that volumes have missed; `None`, written `""`, is none.
    #[serde(with = "optional")]
    pub missed_purges: Option<PathBuf>,
    /// Memory for pulled content that is on no disk, and for copies of what is small.
    pub memory: ByteCount,
    /// Requests that may wait for or be answered from pulled content at once.
    pub requests: u32,
    /// Requests to upstreams at once.
    pub fetches: u32,
    /// Memory for content on its way from upstreams, over all fetches.
    pub fetch_memory: ByteCount,
    /// A fetch that nobody waits for any more goes on where no more than this is left of it, and no more than was taken.
    pub finish_below: ByteCount,
    /// For connecting to an upstream.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// From a request to an upstream to the first byte of its answer.
    #[serde(with = "duration")]
    pub first_byte_timeout: Duration,
    /// Without a byte of an answer's body.
    #[serde(with = "duration")]
    pub stall_timeout: Duration,
    /// How long a segment is fresh where upstream does not say.
    #[serde(with = "duration")]
    pub segment_ttl: Duration,
    /// How long a playlist or MPD is fresh where upstream does not say.
    #[serde(with = "duration")]
    pub playlist_ttl: Duration,
    /// How long 404 and 410 are remembered where upstream does not say.
    #[serde(with = "duration")]
    pub negative_ttl: Duration,
    /// How long it is remembered that no upstream could answer.
    #[serde(with = "duration")]
    pub error_ttl: Duration,
    /// How long beyond its freshness an answer may stand in while no upstream can answer, where upstream does not say.
    #[serde(with = "duration")]
    pub stale_if_error: Duration,
}

/// What happens to methods that are not safe, and change what upstream has (RFC 9110 §9.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnsafeMethods {
    /// 405.
    Refuse,
    /// They are passed on to the first upstream, which is a server of HTTP, and what is held of their target is dropped (RFC 9111 §4.4).
    Pass,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            upstreams: Vec::new(),
            unsafe_methods: UnsafeMethods::Refuse,
            request_fields: Vec::new(),
            volume_percent: 10,
            index_memory: ByteCount::mib(64),
            missed_purges: Some(PathBuf::from("/var/lib/oca-daemon/missed-purges")),
            memory: ByteCount::mib(256),
            requests: 8192,
            fetches: 256,
            fetch_memory: ByteCount::mib(256),
            finish_below: ByteCount::mib(8),
            connect_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            segment_ttl: Duration::from_secs(365 * 86_400),
            playlist_ttl: Duration::from_secs(2),
            negative_ttl: Duration::from_secs(1),
            error_ttl: Duration::from_secs(1),
            stale_if_error: Duration::from_secs(3600),
        }
    }
}

impl PullConfig {
    /// Whether any path is pulled.
    pub fn is_on(&self) -> bool {
        self.rules.iter().any(|rule| rule.on_miss == OnMiss::Pull)
    }

    /// Whether no upstream tells targets apart by their query, as to a bucket a query would be another operation.
    pub fn ignores_queries(&self) -> bool {
        !self.upstreams.is_empty() && self.upstreams.iter().all(|upstream| upstream.s3.is_some())
    }

    /// What pulled content may take of a volume of so many bytes; nothing where no path is pulled.
    pub fn share_of(&self, volume_bytes: u64) -> u64 {
        if self.is_on() { volume_bytes / 100 * u64::from(self.volume_percent) } else { 0 }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        rule::check_all(&self.rules, problems);
        upstream::check_all(&self.upstreams, problems);
        if self.is_on() && self.upstreams.is_empty() {
            problems.add(
                "pull.upstreams",
                "a rule pulls, and there is nowhere to pull from".to_owned(),
                "name an upstream, or write on_miss = \"redirect\" or \"reject\"",
            );
        }
        self.check_request_fields(problems);
        let is_bucket_first = self.upstreams.first().is_some_and(|first| first.s3.is_some());
        if self.unsafe_methods == UnsafeMethods::Pass && is_bucket_first {
            problems.add(
                "pull.unsafe_methods",
                "\"pass\" is on to the first upstream, and that is a bucket, which is asked for objects and for nothing else"
                    .to_owned(),
                "write \"refuse\", or name a server of HTTP first",
            );
        }
        problems.check_range(
            "pull.volume_percent",
            self.volume_percent,
            &limits::PULL_VOLUME_PERCENT,
            "the default is 10",
        );
        if let Some(missed_purges) = &self.missed_purges {
            problems.check_path("pull.missed_purges", missed_purges);
        }
        for (key, size, default) in [
            (
                "pull.index_memory",
                self.index_memory,
                "about 200 bytes for each object; the default is 64 MiB",
            ),
            ("pull.memory", self.memory, "the default is 256 MiB"),
            ("pull.fetch_memory", self.fetch_memory, "the default is 256 MiB"),
        ] {
            problems.check_range(key, size, &limits::PULL_MEMORY, default);
        }
        problems.check_range(
            "pull.finish_below",
            self.finish_below,
            &limits::PULL_FINISH_BELOW,
            "the default is 8 MiB",
        );
        problems.check_range("pull.requests", self.requests, &limits::PULL_REQUESTS, "the default is 8192");
        problems.check_range("pull.fetches", self.fetches, &limits::PULL_FETCHES, "the default is 256");
        for (key, timeout) in [
            ("pull.connect_timeout", self.connect_timeout),
            ("pull.first_byte_timeout", self.first_byte_timeout),
            ("pull.stall_timeout", self.stall_timeout),
        ] {
            problems.check_duration(key, timeout, &limits::PULL_TIMEOUT);
        }
        for (key, ttl) in [
            ("pull.segment_ttl", self.segment_ttl),
            ("pull.playlist_ttl", self.playlist_ttl),
            ("pull.negative_ttl", self.negative_ttl),
            ("pull.error_ttl", self.error_ttl),
            ("pull.stale_if_error", self.stale_if_error),
        ] {
            problems.check_whole_seconds(key, ttl, &limits::MAX_AGE);
        }
    }

    fn check_request_fields(&self, problems: &mut Problems) {
        let names = &self.request_fields;
        problems.check_count("pull.request_fields", names.len(), 0..=limits::PULL_REQUEST_FIELDS_MAX);
        for (index, name) in names.iter().enumerate() {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.add(
                    &format!("pull.request_fields[{index}]"),
                    format!("{name:?} is not the name of a field"),
                    "write it as HTTP does, such as \"X-Token\"",
                );
            }
        }
    }
}
