//! Fill gives way to viewers: the rate is halved while the daemon's reads are slow, and comes back step by step.

use std::time::Duration;

use control_client::load::Load;
use control_client::units::BitRate;

/// The rate that fill may have beside service. `now` is the time since any fixed moment by a clock that never
/// goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yielding {
    full: BitRate,
    latency: Duration,
    rate: BitRate,
    settled_at: Duration,
}

/// After a change of the rate, latencies of the time before it are still in what the daemon tells: its rates and
/// percentiles are of the last few seconds.
const SETTLE: Duration = Duration::from_secs(5);

/// Fill is never stopped: a sixty-fourth of the rate does no harm to a disk, and a peer's connection stays alive.
const LEAST_PART: u64 = 64;

/// However high the cap is, the rate may go down to this many bits per second.
const LEAST_ALWAYS: u64 = 10_000_000;

/// Percentiles of fewer reads than these per second say nothing about a disk.
const READS_MIN: u64 = 5;

impl Yielding {
    /// With the full rate, and the 99th percentile of read latency at which it is halved.
    pub fn new(full: BitRate, latency: Duration) -> Self {
        Self { full, latency, rate: full, settled_at: Duration::ZERO }
    }

    /// The rate now.
    pub fn rate(&self) -> BitRate {
        self.rate
    }

    /// Takes in what the daemon tells of its load, `None` where it does not answer, and the rate at which
    /// fill received meanwhile; gives the rate from now on. Call about once a second.
    ///
    /// Halved is what was received where that is less than the rate, or a cap far above the link's speed
    /// would never be felt. It comes back by a quarter at a time once reads take less than four fifths of the
    /// latency.
    pub fn observe(&mut self, load: Option<&Load>, received: BitRate, now: Duration) -> BitRate {
        let Some(load) = load else { return self.rate };
        if now < self.settled_at {
            return self.rate;
        }
        let p99 = Duration::from_micros(load.read_latency_p99_micros);
        let told = load.reads_per_second >= READS_MIN;
        if told && p99 > self.latency {
            if received.bits_per_second() < self.least() {
                // Whatever makes them slow, it is not fill.
                return self.rate;
            }
            let felt = self.rate.bits_per_second().min(received.bits_per_second());
            self.change((felt / 2).max(self.least()), now);
        } else if self.rate < self.full && !(told && p99 > self.latency * 4 / 5) {
            let bits = self.rate.bits_per_second();
            self.change(bits.saturating_add(bits.div_ceil(4)), now);
        }
        self.rate
    }

    fn least(&self) -> u64 {
        (self.full.bits_per_second() / LEAST_PART).clamp(8, LEAST_ALWAYS)
    }

    fn change(&mut self, bits_per_second: u64, now: Duration) {
        self.rate = BitRate::new(bits_per_second.min(self.full.bits_per_second()));
        self.settled_at = now.saturating_add(SETTLE);
    }
}

#[cfg(test)]
mod tests;
