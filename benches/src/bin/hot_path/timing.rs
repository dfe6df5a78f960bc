//! How what is short is timed, by criterion.

use std::time::{Duration, Instant};

use criterion::Criterion;

/// So often something is done without a pause, where there are pauses: fewer than the queues between have room for.
const BURST: u32 = 4000;

/// How somebody beside keeps up: the tier looks at its samples a hundred times a second.
const PAUSE: Duration = Duration::from_millis(30);

/// The clock.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    /// That it runs, and nothing else.
    pub(crate) is_quick: bool,
}

impl Timing {
    /// Times what is done again and again, and told how often it was done before.
    pub(crate) fn measure(self, what: &str, mut once: impl FnMut(u64)) {
        let mut number = 0;
        self.criterion().bench_function(what, |bencher| {
            bencher.iter(|| {
                once(number);
                number += 1;
            });
        });
    }

    /// The same with pauses, which do not count, in which somebody beside keeps up. Criterion looks at the clock on the wall to choose how
    /// often it asks: so what it is told of as one time is a burst's mean.
    pub(crate) fn measure_with_pauses(self, what: &str, mut once: impl FnMut(u64)) {
        let mut number = 0;
        self.criterion().bench_function(what, |bencher| {
            bencher.iter_custom(|bursts| {
                let mut elapsed = Duration::ZERO;
                for _ in 0..bursts {
                    let began = Instant::now();
                    for _ in 0..BURST {
                        once(number);
                        number += 1;
                    }
                    elapsed += began.elapsed();
                    std::thread::sleep(PAUSE);
                }
                elapsed / BURST
            });
        });
    }

    fn criterion(self) -> Criterion {
        let (samples, warm_up, measurement) = match self.is_quick {
            true => (10, Duration::from_millis(1), Duration::from_millis(1)),
            false => (50, Duration::from_millis(200), Duration::from_secs(1)),
        };
        Criterion::default()
            .without_plots()
            .sample_size(samples)
            .warm_up_time(warm_up)
            .measurement_time(measurement)
    }
}
