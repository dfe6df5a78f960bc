//! Contestants in turn: A B C, then C B A. A machine that gets slower or faster meanwhile does so for all of them alike: the mean
//! of a contestant's two turns of a round is that of the round's middle.

use std::time::Instant;

use demo::failure::Failure;

/// How often everyone has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// How many rounds.
    pub count: usize,
    /// Whether a round goes back again; if not, everyone has one turn.
    pub and_back: bool,
}

impl Rounds {
    /// Measures; for each contestant, what each round gave.
    pub fn run<const METRICS: usize>(
        self,
        contestants: usize,
        mut measure: impl FnMut(usize) -> Result<[f64; METRICS], Failure>,
    ) -> Result<Vec<Vec<[f64; METRICS]>>, Failure> {
        let mut of_all = vec![Vec::with_capacity(self.count); contestants];
        let began = Instant::now();
        for round in 1..=self.count {
            let forth: Vec<[f64; METRICS]> = (0..contestants).map(&mut measure).collect::<Result<_, _>>()?;
            let mut means = forth;
            if self.and_back {
                for contestant in (0..contestants).rev() {
                    let back = measure(contestant)?;
                    for (mean, back) in means[contestant].iter_mut().zip(back) {
                        *mean = f64::midpoint(*mean, back);
                    }
                }
            }
            for (of_one, mean) in of_all.iter_mut().zip(means) {
                of_one.push(mean);
            }
            let left = began.elapsed().as_secs_f64() / round as f64 * (self.count - round) as f64;
            println!("  round {round} of {}, {left:.0} s left of these", self.count);
        }
        Ok(of_all)
    }

    /// Fewer rounds, for what takes long and varies little.
    pub fn at_most(self, count: usize) -> Self {
        Self { count: self.count.min(count), ..self }
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
        let rounds = Rounds { count: 2, and_back: true };
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
        let rounds = Rounds { count: 1, and_back: false };
        let measured = rounds.run(2, |_| {
            turns += 1;
            Ok([1.0])
        });
        assert_eq!((measured.unwrap().len(), turns), (2, 2));
    }

    #[test]
    fn the_first_failure_ends_it() {
        let rounds = Rounds { count: 9, and_back: true };
        let mut turns = 0;
        let measured = rounds.run::<1>(2, |_| {
            turns += 1;
            Err(Failure::new("no"))
        });
        assert!(measured.is_err());
        assert_eq!(turns, 1);
    }
}
