//! A fixed trace of requests whose popularity follows Zipf's law: the object of rank `r` is asked for in proportion to `r` to the power of
//! minus the exponent. Which object has which rank is shuffled, so that neighbours on the disk are not neighbours in popularity.

use demo::random::Random;

/// So many requests for objects `0..objects`; the same for the same seed.
pub(crate) fn trace(objects: usize, exponent: f64, requests: usize, seed: u64) -> Vec<u32> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=objects)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let of_rank = shuffled(objects, &mut Random::of(seed, "ranks"));
    let mut random = Random::of(seed, "requests");
    (0..requests)
        .map(|_| {
            let drawn = random.unit() * sum;
            let rank = cumulated.partition_point(|upto| *upto <= drawn).min(objects - 1);
            of_rank[rank]
        })
        .collect()
}

/// The numbers below `count`, in an order that follows from `random` (Fisher and Yates).
pub(crate) fn shuffled(count: usize, random: &mut Random) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        assert_eq!(trace(100, 1.0, 1000, 7), trace(100, 1.0, 1000, 7));
        assert_ne!(trace(100, 1.0, 1000, 7), trace(100, 1.0, 1000, 8));
    }

    #[test]
    fn popularity_falls_as_the_exponent_says() {
        let requests = 200_000;
        let mut counts = [0_u32; 50];
        for object in trace(50, 1.0, requests, 1) {
            counts[object as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let first = f64::from(counts[0]);
        for rank in [2_u32, 5, 10] {
            let expected = first / f64::from(rank);
            let counted = f64::from(counts[rank as usize - 1]);
            assert!((counted / expected - 1.0).abs() < 0.1, "rank {rank}: {counted}, not {expected}");
        }
    }

    #[test]
    fn an_order_has_every_number_once() {
        let mut order = shuffled(1000, &mut Random::new(3));
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
