//! Bursts, timed.

use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Bursts {
    pub(crate) count: usize,
    /// Requests, or whatever is done, in one.
    pub(crate) length: u64,
    /// What comes between them, where somebody else has to keep up.
    pub(crate) pause: Duration,
}

impl Bursts {
    /// The same with pauses.
    pub(crate) fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Shorter ones, of what takes longer.
    pub(crate) fn shorter(self, by: u64) -> Self {
        Self { length: (self.length / by).max(1), ..self }
    }

    /// Times them, and prints nanoseconds for each time that it was done.
    pub(crate) fn measure(self, what: &str, mut once: impl FnMut(u64)) {
        let mut nanoseconds: Vec<f64> = (0..self.count)
            .map(|_| {
                let began = Instant::now();
                (0..self.length).for_each(&mut once);
                let elapsed = began.elapsed();
                std::thread::sleep(self.pause);
                elapsed.as_nanos() as f64 / self.length as f64
            })
            .collect();
        nanoseconds.sort_by(f64::total_cmp);
        let at = |part: usize| nanoseconds[(nanoseconds.len() - 1) * part / 10];
        println!("{what:<54} {:>8.1} {:>8.1} {:>8.1}", at(5), at(1), at(9));
    }
}
