//! What happened, told as events, and what the figures say then.

use super::*;

#[test]
fn what_began_and_ended_leaves_no_gauge_behind() {
    let stats = WorkerStats::new(4);
    stats.accepted(Transport::Tls);
    stats.began();
    stats.read_began(3);
    stats.read_ended(3, ReadEnd::Complete, 65536, Duration::from_micros(150));
    stats.ended(Outcome::HitDisk, 65536, Some(Duration::from_micros(200)), Duration::from_millis(2));
    stats.closed(Transport::Tls, CloseCause::IdleTimeout);

    let totals = Totals::of([&stats]);
    assert_eq!(totals.open_connections(), 0);
    assert_eq!(totals.requests_in_flight, 0);
    assert_eq!(totals.volumes[3].in_flight, 0);
    assert_eq!(totals.outcomes[Outcome::HitDisk as usize], 1);
    assert_eq!(totals.body_bytes[Outcome::HitDisk as usize], 65536);
    assert_eq!(totals.volumes[3].bytes, 65536);
}

#[test]
fn a_gauge_never_goes_below_zero() {
    let stats = WorkerStats::new(4);
    stats.closed(Transport::Cleartext, CloseCause::PeerClosed);
    stats.accepted(Transport::Cleartext);
    assert_eq!(Totals::of([&stats]).open_connections(), 1);
}

#[test]
fn a_volume_beyond_the_last_is_counted_with_the_last() {
    let stats = WorkerStats::new(4);
    stats.read_began(255);
    assert_eq!(Totals::of([&stats]).volumes[3].in_flight, 1);
}

#[test]
fn a_second_pause_of_accepting_keeps_the_time_of_the_first() {
    let stats = WorkerStats::new(4);
    assert_eq!(stats.accept_paused_since_millis(), None);
    stats.accept_paused(AcceptPause::Capacity, 500);
    assert_eq!(stats.accept_paused_since_millis(), None, "a bound is not a shortage");
    stats.accept_paused(AcceptPause::Descriptors, 1000);
    stats.accept_paused(AcceptPause::Descriptors, 2000);
    assert_eq!(stats.accept_paused_since_millis(), Some(1000));
    stats.accept_resumed();
    assert_eq!(stats.accept_paused_since_millis(), None);
}

#[test]
fn workers_never_share_a_cache_line() {
    assert_eq!(align_of::<WorkerStats>(), 128);
    assert_eq!(size_of::<WorkerStats>() % 128, 0);
}
