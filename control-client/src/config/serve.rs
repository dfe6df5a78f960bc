mod ram_tier;
mod workers;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use super::{listeners, optional};
use crate::limits;
use crate::units::{BitRate, ByteCount, display_duration, duration};

pub use ram_tier::RamTier;
pub use workers::Workers;

/// `[serve]`: what clients meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Addresses for HTTP in cleartext.
    #[serde(with = "listeners")]
    pub listen: Vec<SocketAddr>,
    /// Addresses for HTTP over TLS.
    #[serde(with = "listeners")]
    pub listen_tls: Vec<SocketAddr>,
    /// Threads that serve, each with its own ring and listeners.
    pub workers: Workers,
    /// Connections at once, over all workers.
    pub connections: u32,
    /// What a client meets beyond `connections`.
    pub at_capacity: AtCapacity,
    /// From the first byte of a request (or the connection) to the end of its head.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Without a byte taken by the client, while a response is sent.
    #[serde(with = "duration")]
    pub send_stall_timeout: Duration,
    /// From accept to close, whatever happens.
    #[serde(with = "duration")]
    pub connection_lifetime: Duration,
    /// For one read of a disk, or the opening of one bundle.
    #[serde(with = "duration")]
    pub disk_timeout: Duration,
    /// For responses in flight, when the daemon is told to stop.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
    /// `Retry-After` of a 503; whole seconds.
    #[serde(with = "duration")]
    pub retry_after: Duration,
    /// Memory for reads of disks, per worker.
    pub read_buffers: ByteCount,
    /// Memory for blocks that are asked for most, locked.
    pub ram_tier: RamTier,
    /// `TCP_NOTSENT_LOWAT`: unsent bytes that a socket holds.
    pub notsent_lowat: ByteCount,
    /// `Access-Control-Allow-Origin`; `None`, written `""`, sends no CORS fields.
    #[serde(with = "optional")]
    pub allow_origin: Option<String>,
    /// `Cache-Control: max-age` of segments; whole seconds.
    #[serde(with = "duration")]
    pub segment_max_age: Duration,
    /// `Cache-Control: max-age` of playlists and MPDs; whole seconds.
    #[serde(with = "duration")]
    pub playlist_max_age: Duration,
    /// Whose responses are paced.
    pub pacing: Pacing,
    /// No response is paced slower than this.
    pub pacing_min: BitRate,
    /// None is paced faster, unless its player needs it.
    pub pacing_max: BitRate,
    /// Who is told how the connection does (CMSD).
    pub cmsd: Cmsd,
    /// Where what players say they will ask for next is brought to.
    pub prefetch: Prefetch,
}

/// Whose responses are paced (`SO_MAX_PACING_RATE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pacing {
    /// Those of players that say what they need (CMCD).
    Players,
    /// None.
    Off,
}

/// Who is told how the connection and the appliance do (`CMSD-Dynamic`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cmsd {
    /// Players that send CMCD.
    Players,
    /// Everybody.
    All,
    /// Nobody.
    Off,
}

/// Where what players say they will ask for next (CMCD `nor`, `nrr`) is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefetch {
    /// Into the RAM tier, where there is leisure and room.
    Ram,
    /// Nowhere.
    Off,
}

/// What a client meets when as many connections are open as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtCapacity {
    /// 503 with `Retry-After`, and the connection is closed: the player tries its next appliance at once.
    Refuse,
    /// The connection waits in the kernel's accept queue.
    Pause,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0; 4], 80)), SocketAddr::from(([0; 16], 80))],
            listen_tls: Vec::new(),
            workers: Workers::PerCore,
            connections: 16_000,
            at_capacity: AtCapacity::Refuse,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            send_stall_timeout: Duration::from_secs(30),
            connection_lifetime: Duration::from_secs(4 * 3600),
            disk_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(30),
            retry_after: Duration::from_secs(5),
            read_buffers: ByteCount::mib(64),
            ram_tier: RamTier::Auto,
            notsent_lowat: ByteCount::kib(128),
            allow_origin: Some("*".to_owned()),
            segment_max_age: Duration::from_secs(365 * 86_400),
            playlist_max_age: Duration::from_secs(60),
            pacing: Pacing::Players,
            pacing_min: BitRate::new(2_000_000),
            pacing_max: BitRate::new(1_000_000_000),
            cmsd: Cmsd::Players,
            prefetch: Prefetch::Ram,
        }
    }
}

impl ServeConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.listen.is_empty() && self.listen_tls.is_empty() {
            problems.add(
                "serve.listen",
                "no address to serve on".to_owned(),
                "name one in serve.listen, or in serve.listen_tls with a certificate in [tls]",
            );
        }
        problems.check_count("serve.listen", self.listen.len(), 0..=limits::LISTENERS_MAX);
        problems.check_count("serve.listen_tls", self.listen_tls.len(), 0..=limits::LISTENERS_MAX);
        if let Workers::Count(count) = self.workers {
            problems.check_range("serve.workers", count, &limits::WORKERS, "\"per-core\" suits most servers");
        }
        problems.check_range(
            "serve.connections",
            self.connections,
            &limits::CONNECTIONS,
            "each takes a file descriptor; the default is 16000",
        );
        self.check_timeouts(problems);
        self.check_ages(problems);
        problems.check_range(
            "serve.read_buffers",
            self.read_buffers,
            &limits::READ_BUFFERS,
            "every worker takes so much; the default is 64 MiB",
        );
        if let RamTier::Size(size) = self.ram_tier {
            problems.check_range("serve.ram_tier", size, &limits::RAM_TIER, "\"auto\" suits most servers");
        }
        problems.check_range(
            "serve.notsent_lowat",
            self.notsent_lowat,
            &limits::NOTSENT_LOWAT,
            "the default is 128 KiB",
        );
        self.check_origin(problems);
        self.check_pacing(problems);
    }

    fn check_timeouts(&self, problems: &mut Problems) {
        let within_lifetime = [
            ("serve.header_timeout", self.header_timeout),
            ("serve.idle_timeout", self.idle_timeout),
            ("serve.send_stall_timeout", self.send_stall_timeout),
            ("serve.disk_timeout", self.disk_timeout),
        ];
        for (key, timeout) in within_lifetime {
            problems.check_duration(key, timeout, &limits::TIMEOUT);
            if timeout > self.connection_lifetime {
                problems.add(
                    key,
                    format!(
                        "{} is longer than serve.connection_lifetime, {}",
                        display_duration(timeout),
                        display_duration(self.connection_lifetime)
                    ),
                    "lower the one or raise the other: the lifetime would always come first",
                );
            }
        }
        problems.check_duration("serve.connection_lifetime", self.connection_lifetime, &limits::TIMEOUT);
        problems.check_duration("serve.shutdown_timeout", self.shutdown_timeout, &limits::TIMEOUT);
    }

    fn check_ages(&self, problems: &mut Problems) {
        problems.check_whole_seconds("serve.retry_after", self.retry_after, &limits::RETRY_AFTER);
        problems.check_whole_seconds("serve.segment_max_age", self.segment_max_age, &limits::MAX_AGE);
        problems.check_whole_seconds("serve.playlist_max_age", self.playlist_max_age, &limits::MAX_AGE);
    }

    fn check_pacing(&self, problems: &mut Problems) {
        for (key, rate, default) in [
            ("serve.pacing_min", self.pacing_min, "the default is 2 Mbit/s"),
            ("serve.pacing_max", self.pacing_max, "the default is 1 Gbit/s"),
        ] {
            problems.check_range(key, rate, &limits::PACING_RATE, default);
        }
        if self.pacing_min > self.pacing_max {
            problems.add(
                "serve.pacing_min",
                format!("{} is more than serve.pacing_max, {}", self.pacing_min, self.pacing_max),
                "lower the one or raise the other; serve.pacing = \"off\" paces nobody",
            );
        }
    }

    fn check_origin(&self, problems: &mut Problems) {
        let Some(origin) = &self.allow_origin else { return };
        let is_url =
            origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).is_some_and(|host| {
                !host.is_empty()
                    && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b',')
            });
        if origin.len() > limits::ALLOW_ORIGIN_BYTES_MAX || (origin != "*" && !is_url) {
            problems.add(
                "serve.allow_origin",
                format!("{origin:?} is not an origin"),
                "write \"*\", one origin without a path such as \"https://play.example\", or \"\" for no CORS fields",
            );
        }
    }
}
