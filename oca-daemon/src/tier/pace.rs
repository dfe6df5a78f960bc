//! How fast a volume's blocks are loaded: as fast as its disk gives them, until the workers' own reads of it take longer for that.
//!
//! What a read takes in the volume's quietest moments of late is the measure. While reads take several times as long, and long
//! enough for a viewer to wait for, loads rest after each block, the longer the longer it lasts. If the reads then get faster, the
//! loads were to blame, and the measure says so the next time. If they do not, the viewers themselves keep the disk busy: the measure
//! creeps up, and loads go on, since a block in memory takes its viewers off the disk. Pure.

use std::time::{Duration, Instant};

/// The pace of one volume's loads.
#[derive(Default)]
pub(super) struct Pace {
    /// What a read takes when the volume has little to do; zero: not known.
    quiet_micros: u64,
    /// After each load, so many times as long as it took, none is begun.
    rest: u32,
    resting_until: Option<Instant>,
}

/// Reads that say something about a disk.
const READS_MIN: u64 = 4;
/// So many times the quiet duration is strain.
const STRAIN: u64 = 3;
/// Reads that take no longer are what a disk is for.
const STRAIN_MIN_MICROS: u64 = 5_000;
/// The longest rest: a ninth of the time is left for loads.
const REST_MAX: u32 = 8;
/// After a load that took very long, too.
const REST_LONGEST: Duration = Duration::from_secs(2);

impl Pace {
    /// Since this was last called, `reads` of the workers ended, which took so long together. To be called at even intervals.
    pub(super) fn look(&mut self, reads: u64, sum_micros: u64) {
        if reads < READS_MIN {
            self.rest /= 2;
            return;
        }
        let mean_micros = sum_micros / reads;
        let is_strained =
            self.quiet_micros > 0 && mean_micros > (STRAIN * self.quiet_micros).max(STRAIN_MIN_MICROS);
        self.rest = if is_strained { (2 * self.rest).clamp(1, REST_MAX) } else { self.rest / 2 };
        let crept = match self.quiet_micros {
            0 => u64::MAX,
            quiet => quiet + quiet / 8 + 1,
        };
        self.quiet_micros = mean_micros.clamp(1, crept);
    }

    /// A load that took so long has ended.
    pub(super) fn rest_after(&mut self, load: Duration, now: Instant) {
        if self.rest > 0 {
            self.resting_until = Some(now + (load * self.rest).min(REST_LONGEST));
        }
    }

    /// How many loads may be under way or wait, of `usual`.
    pub(super) fn loads_max(&self, usual: usize, now: Instant) -> usize {
        match self.rest {
            0 => usual,
            _ if self.resting_until.is_some_and(|until| now < until) => 0,
            // One, so that there is a rest after each.
            _ => usual.min(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: u64 = 1000;

    /// Looks at 100 reads that took so long each; whether loads are to rest then.
    fn look(pace: &mut Pace, micros: u64) -> bool {
        pace.look(100, 100 * micros);
        pace.rest > 0
    }

    #[test]
    fn loads_go_on_beside_reads_that_are_quick_or_as_slow_as_ever() {
        let mut pace = Pace::default();
        assert!(!(0..100).any(|_| look(&mut pace, MILLIS)));
        assert!(!look(&mut pace, 5 * MILLIS), "five milliseconds make nobody wait");
        let mut slow = Pace::default();
        assert!(!(0..100).any(|_| look(&mut slow, 40 * MILLIS)));
        assert_eq!(slow.loads_max(64, Instant::now()), 64);
    }

    #[test]
    fn loads_rest_after_each_block_while_reads_take_longer_than_before() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        look(&mut pace, MILLIS);
        assert!(look(&mut pace, 20 * MILLIS));
        assert_eq!(pace.loads_max(64, now), 1);
        let load = Duration::from_millis(10);
        pace.rest_after(load, now);
        assert_eq!((pace.loads_max(64, now), pace.loads_max(64, now + load)), (0, 1));
        assert!((0..4).all(|_| look(&mut pace, 20 * MILLIS)));
        pace.rest_after(load, now);
        assert_eq!((pace.loads_max(64, now + 7 * load), pace.loads_max(64, now + 8 * load)), (0, 1));
        pace.rest_after(Duration::from_secs(60), now);
        assert_eq!(pace.loads_max(64, now + REST_LONGEST), 1);
    }

    #[test]
    fn where_rest_helps_it_is_taken_again_and_where_it_does_not_loads_go_on() {
        let mut pace = Pace::default();
        look(&mut pace, MILLIS);
        // Reads are slow while blocks are loaded, and quick while they are not.
        let mut rests = false;
        let rested = (0..200).filter(|_| {
            rests = look(&mut pace, if rests { MILLIS } else { 20 * MILLIS });
            rests
        });
        assert!(rested.count() >= 90);
        let mut pace = Pace::default();
        look(&mut pace, MILLIS);
        let rested = (0..200).filter(|_| look(&mut pace, 20 * MILLIS)).count();
        assert!((10..40).contains(&rested), "{rested}");
    }

    #[test]
    fn a_volume_that_nobody_reads_gives_its_loads_way() {
        let mut pace = Pace::default();
        look(&mut pace, MILLIS);
        look(&mut pace, 50 * MILLIS);
        pace.look(0, 0);
        assert_eq!(pace.loads_max(64, Instant::now()), 64);
    }
}
