use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::limits;
use crate::units::{BitRate, ByteCount, DailyWindow, display_duration, duration};

/// `[fill]`: when, how fast and how far the agent fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FillConfig {
    /// When to fill, in the local time of `time_zone`.
    pub window: DailyWindow,
    /// `system`, or a name of the IANA time zone database.
    pub time_zone: String,
    /// The window opens later by a part of this that is always the same for one appliance.
    #[serde(with = "duration")]
    pub jitter: Duration,
    /// The most that is received over any one second.
    pub rate: BitRate,
    /// The most that is received in one window.
    pub night_bytes: ByteCount,
    /// What is left free on each volume.
    pub keep_free: ByteCount,
    /// A bundle replaces others only if within so many days it serves so much more than they do that it pays for the bytes.
    pub churn_days: u32,
    /// Objects that are fetched at once.
    pub concurrency: u32,
    /// For connecting to a source.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Without a byte from a source.
    #[serde(with = "duration")]
    pub stall_timeout: Duration,
    /// The daemon's read latency, of a hundred reads the 99th, at which the rate is halved.
    #[serde(with = "duration")]
    pub yield_latency: Duration,
    /// The folder of the agent's own state: manifest, lock, outbox, history.
    pub state: PathBuf,
    /// The Unix socket on which the agent tells how the fill goes.
    pub socket: PathBuf,
}

impl Default for FillConfig {
    fn default() -> Self {
        Self {
            window: DailyWindow::new(2 * 60, 14 * 60).expect("two o'clock comes before fourteen"),
            time_zone: Self::SYSTEM_TIME_ZONE.to_owned(),
            jitter: Duration::from_secs(600),
            rate: BitRate::new(1_200_000_000),
            // 6.5 TiB: a little more than the rate allows in twelve hours.
            night_bytes: ByteCount::gib(6656),
            keep_free: ByteCount::gib(10),
            churn_days: 7,
            concurrency: 8,
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(15),
            yield_latency: Duration::from_millis(50),
            state: PathBuf::from("/var/lib/oca-fill"),
            socket: PathBuf::from("/run/oca-fill/agent.sock"),
        }
    }
}

impl FillConfig {
    /// The `time_zone` that the system is in.
    pub const SYSTEM_TIME_ZONE: &str = "system";

    pub(super) fn check(&self, problems: &mut Problems) {
        self.check_window(problems);
        problems.check_range("fill.rate", self.rate, &limits::FILL_RATE, "the default is 1.2 Gbit/s");
        problems.check_range(
            "fill.night_bytes",
            self.night_bytes,
            &limits::NIGHT_BYTES,
            "the default is 6656 GiB; to fill nothing, stop the agent",
        );
        problems.check_range(
            "fill.keep_free",
            self.keep_free,
            &limits::KEEP_FREE,
            "it counts for each volume; the default is 10 GiB",
        );
        problems.check_range("fill.churn_days", self.churn_days, &limits::CHURN_DAYS, "the default is 7");
        problems.check_range(
            "fill.concurrency",
            self.concurrency,
            &limits::FILL_CONCURRENCY,
            "each takes a connection and its buffers; the default is 8",
        );
        problems.check_duration("fill.connect_timeout", self.connect_timeout, &limits::FILL_TIMEOUT);
        problems.check_duration("fill.stall_timeout", self.stall_timeout, &limits::FILL_TIMEOUT);
        problems.check_duration("fill.yield_latency", self.yield_latency, &limits::YIELD_LATENCY);
        problems.check_path("fill.state", &self.state);
        problems.check_socket("fill.socket", &self.socket, "/run/oca-fill/agent.sock");
    }

    fn check_window(&self, problems: &mut Problems) {
        if !is_zone_name(&self.time_zone) {
            problems.add(
                "fill.time_zone",
                format!("{:?} is not the name of a time zone", self.time_zone),
                "write \"system\", or a name of the IANA database such as \"Europe/Berlin\" (timedatectl list-timezones)",
            );
        }
        let open = Duration::from_secs(60 * u64::from(self.window.minutes()));
        if self.jitter >= open {
            problems.add(
                "fill.jitter",
                format!(
                    "{} is not shorter than the window, {}",
                    display_duration(self.jitter),
                    display_duration(open)
                ),
                "lower it or widen fill.window: some appliances would never fill",
            );
        }
    }
}

/// Components of letters, digits, `_`, `+` and `-`, as the names of the IANA database have (theory file, "Names of
/// timezones"); none leads out of the database's folder.
fn is_zone_name(name: &str) -> bool {
    name.len() <= limits::TIME_ZONE_BYTES_MAX
        && name.split('/').all(|component| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-');
            !component.is_empty() && component.bytes().all(is_name)
        })
}
