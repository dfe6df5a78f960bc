//! What workers have read for those who wait, where memory is full of what is asked for more.

use super::site::{Site, eventually};
use super::{BUDGET_BYTES, Departure, TierTotals};

/// Titles that fill what the policy has. Beside them there is room for one block.
const HOT: usize = 6;
const NEWCOMERS: [usize; 2] = [HOT, HOT + 1];

/// One whose memory is full of what has been asked for often.
fn full_site() -> Site {
    let mut site = Site::new(BUDGET_BYTES);
    for title in 0..HOT {
        site.publish_and_load(title);
    }
    // In turn after turn: what is asked for several times in one of them counts once.
    for _ in 0..20 {
        let before = site.tier.totals().samples;
        (0..HOT).for_each(|title| site.ask(title));
        site.wait_until("they were looked at", |totals| totals.samples >= before + HOT as u64);
    }
    for title in NEWCOMERS {
        site.publish(title, 1);
    }
    site
}

/// The second may be late where this machine stood still: then both ask once more.
fn two_workers_want(site: &Site, title: usize) {
    eventually("it is in memory", || {
        site.wait_for(0, title);
        site.wait_for(1, title)
    });
}

fn is_there(site: &Site, title: usize) -> bool {
    site.check(&site.lookup(title).unwrap(), title)
}

fn loads(totals: &TierTotals) -> u64 {
    totals.loads.iter().sum()
}

#[test]
fn what_two_workers_want_at_once_is_loaded_once_and_what_is_asked_for_more_stays() {
    let site = full_site();
    two_workers_want(&site, HOT);
    assert!((0..=HOT).all(|title| is_there(&site, title)));
    assert!(site.wait_for(0, HOT), "the first has it, too");
    let totals = site.tier.totals();
    assert_eq!((loads(&totals), totals.departures.iter().sum::<u64>()), (HOT as u64 + 1, 0));
    assert_eq!(totals.prefetches.iter().sum::<u64>(), 0, "no player has named it");
}

#[test]
fn what_one_worker_wants_is_not_loaded_however_often_it_asks() {
    let site = full_site();
    assert!((0..4).all(|_| !site.wait_for(0, HOT)));
    assert_eq!(loads(&site.tier.totals()), HOT as u64);
    assert!((0..HOT).all(|title| is_there(&site, title)));
}

#[test]
fn what_is_wanted_at_once_makes_room_for_what_comes_after_it_and_nothing_else_does() {
    let site = full_site();
    for title in NEWCOMERS {
        two_workers_want(&site, title);
    }
    assert_eq!(NEWCOMERS.map(|title| is_there(&site, title)), [false, true]);
    assert!((0..HOT).all(|title| is_there(&site, title)));
    let totals = site.tier.totals();
    assert_eq!(totals.departures[Departure::BroughtAhead as usize], 1);
    assert_eq!(totals.departures.iter().sum::<u64>(), 1);
}
