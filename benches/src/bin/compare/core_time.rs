//! How long a core was busy, whatever it did: user code, kernel, interrupts and what they leave for later.
//!
//! The kernel counts what is busy by looking once per tick (`CONFIG_TICK_CPU_ACCOUNTING`), but measures what is idle (`NO_HZ`). So the busy
//! time is the time that has passed without what was idle (`idle` and `iowait`) or taken away by the host (`steal`).

use std::fs;
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};

/// `USER_HZ`, which is the same on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A core's clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreTime {
    at: Instant,
    not_busy_seconds: f64,
}

impl CoreTime {
    /// Those of now.
    pub(crate) fn of(core: usize) -> Result<Self, Failure> {
        let stat = fs::read_to_string("/proc/stat").step("reading /proc/stat")?;
        let at = Instant::now();
        let ticks = not_busy_ticks(&stat, core)
            .ok_or_else(|| Failure::new(format!("/proc/stat has no core {core}")))?;
        Ok(Self { at, not_busy_seconds: ticks as f64 / TICKS_PER_SECOND })
    }

    /// How long the core has been busy since then, and how long ago that is.
    pub(crate) fn busy_until(&self, later: &Self) -> (f64, Duration) {
        let passed = later.at - self.at;
        let busy_seconds = passed.as_secs_f64() - (later.not_busy_seconds - self.not_busy_seconds);
        (busy_seconds.max(0.0), passed)
    }
}

/// `idle`, `iowait` and `steal` of a core (`proc_stat(5)`).
fn not_busy_ticks(stat: &str, core: usize) -> Option<u64> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(name.as_str()))?;
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    Some(fields.get(3)? + fields.get(4)? + fields.get(7)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  10 20 30 40 50 60 70 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu10 1 1 1 100 1 1 1 1 0 0\nintr 5 1\n";

    #[test]
    fn idle_waiting_and_taken_away_are_not_busy() {
        assert_eq!(not_busy_ticks(STAT, 0), Some(4 + 5 + 8));
        assert_eq!(not_busy_ticks(STAT, 10), Some(102));
        assert_eq!(not_busy_ticks(STAT, 1), None);
        assert_eq!(not_busy_ticks("cpu0 1 2 x\n", 0), None);
    }

    #[test]
    fn what_was_not_idle_was_busy() {
        let at = Instant::now();
        let before = CoreTime { at, not_busy_seconds: 10.0 };
        let later = CoreTime { at: at + Duration::from_secs(4), not_busy_seconds: 11.0 };
        assert_eq!(before.busy_until(&later), (3.0, Duration::from_secs(4)));
        let idle = CoreTime { at: at + Duration::from_secs(4), not_busy_seconds: 14.01 };
        assert_eq!(before.busy_until(&idle).0, 0.0);
    }
}
