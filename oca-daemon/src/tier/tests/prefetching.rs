//! What players name as their next comes in, and leaves as everything else does.

use std::time::Instant;

use super::site::Site;
use super::{BUDGET_BYTES, BlockKey, Departure, MIB, PrefetchEnd, TierTotals};
use crate::limits::TIER_HINT_KEPT;

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

#[test]
fn what_was_brought_ahead_and_becomes_hot_stays_where_something_has_to_go_for_it() {
    let mut site = Site::new(BUDGET_BYTES);
    // As many as the policy has room for, all asked for more often than a newcomer.
    for title in 0..6 {
        site.publish(title, 1);
        site.ask_at_once(title, 3);
        site.wait_until("it is in memory", |totals| totals.blocks == title as u64 + 1);
    }
    for title in 0..6 {
        site.ask_at_once(title, 4);
    }
    site.wait_until("they were asked for", |totals| totals.samples == 6 * 7);
    site.publish(6, 1);
    let bundle = site.lookup(6).unwrap();
    assert!(site.hint(6));
    site.wait_until("it is in memory", |totals| totals.blocks == 7);
    site.ask_at_once(6, 30);
    site.wait_until("another one has gone for it", |totals| {
        totals.departures[Departure::Displaced as usize] > 0 && totals.samples == 6 * 7 + 30
    });
    assert!(site.check(&bundle, 6));
    site.load(6);
    assert_eq!(site.tier.totals().loads.iter().sum::<u64>(), 7, "nothing was loaded twice");
}

#[test]
fn a_hint_that_has_waited_for_too_long_brings_nothing() {
    let mut site = Site::new(16 * MIB);
    site.publish(0, 1);
    let bundle = site.lookup(0).unwrap();
    site.open(&bundle);
    let long_ago = Instant::now().checked_sub(2 * TIER_HINT_KEPT).unwrap();
    assert!(site.hint_since(&bundle, long_ago));
    site.wait_until("it is passed by", |totals| ended(totals, PrefetchEnd::Busy) == 1);
    assert_eq!(site.tier.totals().loads.iter().sum::<u64>(), 0);
    assert!(!site.tier.residency().unwrap().has(BlockKey::at(&bundle, 0)));
}
