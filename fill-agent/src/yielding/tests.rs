use control_client::wire::DocumentVersion;

use super::*;

const FULL: BitRate = BitRate::new(1_200_000_000);
const LATENCY: Duration = Duration::from_millis(50);

fn load(reads_per_second: u64, p99_millis: u64) -> Load {
    Load {
        version: DocumentVersion,
        interval_millis: 5000,
        egress_bits_per_second: 0,
        requests_per_second: 0,
        connections: 0,
        reads_per_second,
        read_latency_p50_micros: 0,
        read_latency_p99_micros: p99_millis * 1000,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn slow_reads_halve_the_rate_once_per_measurement_and_never_to_nothing() {
    let mut yielding = Yielding::new(FULL, LATENCY);
    let slow = load(100, 80);
    let rates: Vec<u64> = (0..60)
        .map(|second| yielding.observe(Some(&slow), yielding.rate(), seconds(second)).bits_per_second())
        .collect();
    assert_eq!(rates[0], 600_000_000);
    assert_eq!(rates[4], 600_000_000);
    assert_eq!(rates[5], 300_000_000);
    assert_eq!(rates[59], 10_000_000);
}

#[test]
fn it_comes_back_by_a_quarter_at_a_time_and_only_when_reads_are_clearly_fast() {
    let mut yielding = Yielding::new(FULL, LATENCY);
    yielding.observe(Some(&load(100, 80)), FULL, seconds(0));
    // Just below the threshold nothing changes.
    assert_eq!(yielding.observe(Some(&load(100, 45)), FULL, seconds(10)), BitRate::new(600_000_000));
    assert_eq!(yielding.observe(Some(&load(100, 10)), FULL, seconds(11)), BitRate::new(750_000_000));
    assert_eq!(yielding.observe(Some(&load(100, 10)), FULL, seconds(16)), BitRate::new(937_500_000));
    assert_eq!(yielding.observe(Some(&load(100, 10)), FULL, seconds(21)), BitRate::new(1_171_875_000));
    assert_eq!(yielding.observe(Some(&load(100, 10)), FULL, seconds(26)), FULL);
    assert_eq!(yielding.observe(Some(&load(100, 10)), FULL, seconds(31)), FULL);
}

#[test]
fn a_cap_far_above_the_links_speed_is_felt_too() {
    let mut yielding = Yielding::new(BitRate::new(1_000_000_000_000), LATENCY);
    let rate = yielding.observe(Some(&load(100, 80)), FULL, seconds(0));
    assert_eq!(rate, BitRate::new(600_000_000));
}

#[test]
fn a_handful_of_reads_or_a_silent_daemon_says_nothing() {
    let mut yielding = Yielding::new(FULL, LATENCY);
    assert_eq!(yielding.observe(Some(&load(1, 500)), FULL, seconds(0)), FULL);
    assert_eq!(yielding.observe(None, FULL, seconds(1)), FULL);
    yielding.observe(Some(&load(100, 80)), FULL, seconds(2));
    assert_eq!(yielding.observe(None, FULL, seconds(60)), BitRate::new(600_000_000));
}

#[test]
fn reads_that_are_slow_while_nothing_comes_are_not_fills_fault() {
    let mut yielding = Yielding::new(FULL, LATENCY);
    assert_eq!(yielding.observe(Some(&load(100, 80)), BitRate::new(0), seconds(0)), FULL);
    assert_eq!(yielding.observe(Some(&load(100, 80)), FULL, seconds(1)), BitRate::new(600_000_000));
}
