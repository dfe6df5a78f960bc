//! Contestants in turn: A B C, then C B A. A machine that gets slower or faster meanwhile does so for all of them alike: the mean
//! of a contestant's two turns of a round is that of the round's middle. A round of which the host took too much is made again.

use std::time::Instant;

use demo::failure::Failure;

use crate::core_ticks::CoreTicks;

/// A round in which the host of a virtual machine took more of its cores than this says more about the host than about contestants.
const STOLEN_MAX: f64 = 0.03;

/// How often everyone has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// How many rounds.
    pub count: usize,
    /// How many rounds may be made again because the host took too much of the cores. What comes then is kept.
    pub spare: usize,
    /// Whether a round goes back again; if not, everyone has one turn.
    pub and_back: bool,
}

impl Rounds {
    /// Measures; for each contestant, what each round gave. Where the kernel does not tell what the host takes, nothing is taken to be.
    pub fn run<const METRICS: usize>(
        self,
        contestants: usize,
        measure: impl FnMut(usize) -> Result<[f64; METRICS], Failure>,
    ) -> Result<Vec<Vec<[f64; METRICS]>>, Failure> {
        let mut before = CoreTicks::of_all();
        self.run_where(contestants, measure, || {
            let earlier = std::mem::replace(&mut before, CoreTicks::of_all());
            earlier.zip(before).map_or(0.0, |(earlier, now)| earlier.stolen_part_until(now))
        })
    }

    /// Measures; `stolen` says after each round which part of the cores the host has taken in it.
    fn run_where<const METRICS: usize>(
        self,
        contestants: usize,
        mut measure: impl FnMut(usize) -> Result<[f64; METRICS], Failure>,
        mut stolen: impl FnMut() -> f64,
    ) -> Result<Vec<Vec<[f64; METRICS]>>, Failure> {
        let mut of_all = vec![Vec::with_capacity(self.count); contestants];
        let began = Instant::now();
        let (mut round, mut again) = (0, 0);
        while round < self.count {
            let means = self.round(contestants, &mut measure)?;
            let stolen = stolen();
            let is_disturbed = stolen > STOLEN_MAX;
            if is_disturbed {
                println!("  the host took {:.0} % of the cores in this round", stolen * 100.0);
            }
            if is_disturbed && again < self.spare {
                again += 1;
                println!("  it is made again: {again} of {} times at most", self.spare);
                continue;
            }
            round += 1;
            for (of_one, mean) in of_all.iter_mut().zip(means) {
                of_one.push(mean);
            }
            let left = began.elapsed().as_secs_f64() / (round + again) as f64 * (self.count - round) as f64;
            println!("  round {round} of {}, {left:.0} s left of these", self.count);
        }
        Ok(of_all)
    }

    /// One round: what each contestant's turn gave, or the mean of its two.
    fn round<const METRICS: usize>(
        self,
        contestants: usize,
        measure: &mut impl FnMut(usize) -> Result<[f64; METRICS], Failure>,
    ) -> Result<Vec<[f64; METRICS]>, Failure> {
        let mut means: Vec<[f64; METRICS]> = (0..contestants).map(&mut *measure).collect::<Result<_, _>>()?;
        if self.and_back {
            for contestant in (0..contestants).rev() {
                let back = measure(contestant)?;
                for (mean, back) in means[contestant].iter_mut().zip(back) {
                    *mean = f64::midpoint(*mean, back);
                }
            }
        }
        Ok(means)
    }

    /// Fewer rounds, for what takes long and varies little.
    pub fn at_most(self, count: usize) -> Self {
        let count = self.count.min(count);
        Self { count, spare: self.spare * count / self.count.max(1), ..self }
    }

    /// No round is made again, for what stays the same whatever the host takes: memory, reads, hits.
    pub fn none_again(self) -> Self {
        Self { spare: 0, ..self }
    }

    /// One turn in each round, for what does not depend on what the machine does meanwhile.
    pub fn only_forth(self) -> Self {
        Self { and_back: false, ..self }
    }
}

/// One metric of one contestant, round by round.
pub fn metric<const METRICS: usize>(rounds: &[[f64; METRICS]], metric: usize) -> Vec<f64> {
    rounds.iter().map(|values| values[metric]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_forth_and_back() {
        let mut order = Vec::new();
        let rounds = Rounds { count: 2, spare: 0, and_back: true };
        let measured = rounds.run(3, |contestant| {
            order.push(contestant);
            Ok([order.len() as f64])
        });
        let measured = measured.unwrap();
        assert_eq!(order, [0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0]);
        // What grows steadily is the same for all.
        assert_eq!(measured, [[[3.5], [9.5]]; 3].map(|rounds| rounds.to_vec()));
        assert_eq!(metric(&measured[0], 0), [3.5, 9.5]);
    }

    #[test]
    fn without_the_way_back_everyone_has_one_turn() {
        let mut turns = 0;
        let rounds = Rounds { count: 1, spare: 0, and_back: false };
        let measured = rounds.run(2, |_| {
            turns += 1;
            Ok([1.0])
        });
        assert_eq!((measured.unwrap().len(), turns), (2, 2));
    }

    #[test]
    fn a_round_that_the_host_disturbed_is_made_again_as_often_as_may_be() {
        let rounds = Rounds { count: 2, spare: 2, and_back: false };
        let mut turns = 0.0;
        let mut stolen = [0.5, 0.0, 0.04, 0.9].into_iter();
        let measure = |_| {
            turns += 1.0;
            Ok([turns])
        };
        let measured = rounds.run_where(1, measure, || stolen.next().unwrap());
        assert_eq!(measured.unwrap(), [[[2.0], [4.0]]], "the last is kept, since none is spare any more");
    }

    #[test]
    fn of_fewer_rounds_fewer_are_made_again() {
        let rounds = Rounds { count: 9, spare: 18, and_back: true };
        assert_eq!((rounds.at_most(3).count, rounds.at_most(3).spare), (3, 6));
        assert_eq!(rounds.at_most(20), rounds);
    }

    #[test]
    fn the_first_failure_ends_it() {
        let rounds = Rounds { count: 9, spare: 9, and_back: true };
        let mut turns = 0;
        let measured = rounds.run::<1>(2, |_| {
            turns += 1;
            Err(Failure::new("no"))
        });
        assert!(measured.is_err());
        assert_eq!(turns, 1);
    }
}
