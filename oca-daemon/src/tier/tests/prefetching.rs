//! What players name as their next comes in, and leaves as everything else does.

use super::site::Site;
use super::{MIB, PrefetchEnd, TierTotals};

fn ended(totals: &TierTotals, end: PrefetchEnd) -> u64 {
    totals.prefetches[end as usize]
}

#[test]
fn what_was_brought_ahead_is_there_for_the_first_who_asks_and_stays_with_the_others_then() {
    let mut site = Site::new(16 * MIB);
    site.publish(0, 1);
    let bundle = site.lookup(0).unwrap();
    assert!(site.hint(0));
    site.wait_until("it is in memory", |totals| totals.blocks == 1);
    assert!(site.check(&bundle, 0));
    assert_eq!(site.tier.totals().samples, 0, "nobody has asked for it");
    site.ask(0);
    site.wait_until("it was of use", |totals| ended(totals, PrefetchEnd::Used) == 1);
    assert!(site.hint(0));
    site.wait_until("it is not brought again", |totals| ended(totals, PrefetchEnd::Held) == 1);
    assert_eq!(site.tier.totals().loads.iter().sum::<u64>(), 1);
    assert!(site.check(&bundle, 0));
}

#[test]
fn it_leaves_with_its_bundle_and_a_bundle_that_has_left_does_not_come() {
    let mut site = Site::new(16 * MIB);
    site.publish(0, 1);
    let bundle = site.lookup(0).unwrap();
    assert!(site.hint(0));
    site.wait_until("it is in memory", |totals| totals.blocks == 1);
    assert!(site.store.retire(&super::path(0), None).unwrap().has_returned);
    assert!(!site.check(&bundle, 0));
    site.wait_until("it is gone", |totals| totals.blocks == 0 && ended(totals, PrefetchEnd::Unused) == 1);
    assert!(site.hint_of(&bundle));
    site.wait_until("it does not come", |totals| ended(totals, PrefetchEnd::Busy) == 1);
}

#[test]
fn a_tier_of_one_block_brings_nothing_ahead() {
    let mut site = Site::new(2 * MIB);
    site.publish(0, 1);
    assert!(site.hint(0));
    site.wait_until("it does not come", |totals| ended(totals, PrefetchEnd::Full) == 1);
    assert_eq!(site.tier.totals().blocks, 0);
}
