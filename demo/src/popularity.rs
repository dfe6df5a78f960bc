//! Who is watched how much on which evening: ranks after Zipf, in an order that drifts from night to night.

use crate::random::Random;

/// How much of a title's appeal stays from one night to the next.
const MEMORY: f64 = 0.7;

/// The popularity of titles on one evening.
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    /// Titles by rank, the most watched first.
    order: Vec<usize>,
    /// The part of all requests that goes to the first so many ranks.
    cumulative: Vec<f64>,
}

impl Popularity {
    /// Of so many titles, at least one. The title at rank `r` is asked for in proportion to `r^-zipf`; `night` counts from 0.
    pub fn new(titles: usize, zipf: f64, seed: u64, night: u32) -> Self {
        let appeal: Vec<f64> = (0..titles).map(|title| appeal(seed, title, night)).collect();
        let mut order: Vec<usize> = (0..titles).collect();
        order.sort_by(|a, b| appeal[*b].total_cmp(&appeal[*a]).then(a.cmp(b)));
        let weights: Vec<f64> = (1..=titles).map(|rank| (rank as f64).powf(-zipf)).collect();
        let sum: f64 = weights.iter().sum();
        let mut reached = 0.0;
        let cumulative = weights
            .iter()
            .map(|weight| {
                reached += weight / sum;
                reached
            })
            .collect();
        Self { order, cumulative }
    }

    /// Titles, the most watched first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The title that the next viewer wants.
    pub fn draw(&self, random: &mut Random) -> usize {
        let wanted = random.unit();
        let rank = self.cumulative.partition_point(|reached| *reached <= wanted).min(self.order.len() - 1);
        self.order[rank]
    }
}

/// How a title appeals on a night: what it did the night before, and something new.
fn appeal(seed: u64, title: usize, night: u32) -> f64 {
    let fresh = |night: u32| Random::of(seed, &format!("appeal of {title} in night {night}")).unit();
    (1..=night).fold(fresh(0), |appeal, night| MEMORY * appeal + (1.0 - MEMORY) * fresh(night))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rank_is_drawn_as_often_as_zipf_says() {
        let popularity = Popularity::new(10, 1.0, 3, 0);
        let mut random = Random::new(1);
        let draws = 20_000;
        let mut counts = [0_u32; 10];
        (0..draws).for_each(|_| counts[popularity.draw(&mut random)] += 1);
        let harmonic: f64 = (1..=10).map(|rank| 1.0 / f64::from(rank)).sum();
        for (rank, title) in popularity.order().iter().enumerate() {
            let expected = f64::from(draws) / harmonic / (rank + 1) as f64;
            let drawn = f64::from(counts[*title]);
            assert!((drawn / expected - 1.0).abs() < 0.15, "rank {rank}: {drawn} of {expected}");
        }
    }

    #[test]
    fn the_order_drifts_and_does_not_jump() {
        let orders: Vec<Vec<usize>> =
            (0..4).map(|night| Popularity::new(200, 1.0, 5, night).order().to_vec()).collect();
        for nights in orders.windows(2) {
            assert_ne!(nights[0], nights[1]);
            let top: Vec<usize> = nights[0][..50].to_vec();
            let kept = nights[1][..50].iter().filter(|title| top.contains(title)).count();
            assert!((20..50).contains(&kept), "{kept} of the 50 first stay among them");
        }
    }
}
