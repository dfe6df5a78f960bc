use proptest::prelude::*;

use super::*;

const MEGABIT: u64 = 1_000_000;

/// Reads as fast as it may, in pieces, and tells when how much was read.
fn read_all(pace: &mut Pace, piece: u64, until: Duration) -> Vec<(Duration, u64)> {
    let mut now = Duration::ZERO;
    let mut reads = Vec::new();
    while now < until {
        match pace.take(piece, now) {
            Grant::Bytes(bytes) => {
                assert!(bytes > 0 && bytes <= piece);
                reads.push((now, bytes));
                now += Duration::from_micros(20);
            }
            Grant::WaitUntil(moment) => {
                assert!(moment > now);
                now = moment;
            }
        }
    }
    reads
}

/// The most that any one second has.
fn worst_second(reads: &[(Duration, u64)]) -> u64 {
    let (mut first, mut sum, mut worst) = (0, 0, 0);
    for (moment, bytes) in reads {
        sum += bytes;
        while reads[first].0 + Duration::from_secs(1) <= *moment {
            sum -= reads[first].1;
            first += 1;
        }
        worst = worst.max(sum);
    }
    worst
}

#[test]
fn over_any_one_second_at_most_the_rate_is_read_and_nearly_all_of_it() {
    let rate = BitRate::new(200 * MEGABIT);
    let mut pace = Pace::new(rate, 0, Duration::ZERO);
    let reads = read_all(&mut pace, 64 << 10, Duration::from_secs(10));
    let all: u64 = reads.iter().map(|(_, bytes)| bytes).sum();
    assert!(worst_second(&reads) <= 25_000_000, "{}", worst_second(&reads));
    assert!(all >= 10 * 25_000_000 * 97 / 100, "{all}");
}

#[test]
fn what_receive_buffers_take_in_counts_as_read() {
    let mut pace = Pace::new(BitRate::new(200 * MEGABIT), 5_000_000, Duration::ZERO);
    let reads = read_all(&mut pace, 64 << 10, Duration::from_secs(3));
    assert!(worst_second(&reads) <= 20_000_000, "{}", worst_second(&reads));
}

#[test]
fn an_idle_hour_saves_nothing_up() {
    let mut pace = Pace::new(BitRate::new(8 * MEGABIT), 0, Duration::ZERO);
    let Grant::Bytes(bytes) = pace.take(u64::MAX, Duration::from_secs(3600)) else {
        panic!("nothing granted")
    };
    assert_eq!(bytes, 20_000);
}

#[test]
fn what_is_given_back_can_be_taken_again_but_no_more() {
    let mut pace = Pace::new(BitRate::new(8 * MEGABIT), 0, Duration::ZERO);
    assert_eq!(pace.take(15_000, Duration::ZERO), Grant::Bytes(15_000));
    pace.give_back(10_000);
    assert_eq!(pace.take(20_000, Duration::ZERO), Grant::Bytes(15_000));
    pace.give_back(1_000_000);
    assert_eq!(pace.take(u64::MAX, Duration::ZERO), Grant::Bytes(20_000));
}

#[test]
fn a_lower_rate_holds_at_once() {
    let mut pace = Pace::new(BitRate::new(800 * MEGABIT), 0, Duration::ZERO);
    pace.set_rate(BitRate::new(8 * MEGABIT), Duration::ZERO);
    let reads = read_all(&mut pace, 1 << 20, Duration::from_secs(2));
    assert!(worst_second(&reads) <= 1_000_000, "{}", worst_second(&reads));
}

#[test]
fn even_a_rate_of_nothing_ends_some_day() {
    let mut pace = Pace::new(BitRate::new(0), 1 << 20, Duration::ZERO);
    assert_eq!(pace.take(1, Duration::ZERO), Grant::Bytes(1));
    assert_eq!(pace.take(1, Duration::ZERO), Grant::WaitUntil(Duration::from_secs(1)));
}

proptest! {
    #[test]
    fn whatever_is_asked_for_whenever_no_second_has_more_than_the_highest_rate_in_it(
        rate in 8 * MEGABIT..100_000 * MEGABIT,
        unread in 0..4_000_000_u64,
        steps in proptest::collection::vec((0..400_u64, 1..100_000_000_u64, 0..100_u64, 1..=4_u64), 1..200),
    ) {
        let mut pace = Pace::new(BitRate::new(rate), unread, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut reads = Vec::new();
        for (millis, wanted, unused_percent, part) in steps {
            now += Duration::from_millis(millis);
            pace.set_rate(BitRate::new(rate / part), now);
            if let Grant::Bytes(bytes) = pace.take(wanted, now) {
                let unused = bytes * unused_percent / 100;
                pace.give_back(unused);
                reads.push((now, bytes - unused));
            }
        }
        let unread = unread.min(rate / 8 / 2);
        prop_assert!(worst_second(&reads) + unread <= rate / 8 + 1, "{} of {}", worst_second(&reads), rate / 8);
    }
}
