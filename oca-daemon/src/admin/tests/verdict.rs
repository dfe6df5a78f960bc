//! What readers are told of health, in every step of the daemon's life.

use super::*;

#[test]
fn health_is_503_until_the_appliance_serves_and_while_it_drains() {
    let running = Running::start();
    let recovering = running.wait_for_health(503);
    assert_eq!((recovering.readiness, recovering.verdict), (Readiness::Recovering, Verdict::Unhealthy));

    running.appliance.begin_serving().unwrap();
    let serving = running.wait_for_health(200);
    assert_eq!((serving.readiness, serving.reasons.len()), (Readiness::Serving, 0));
    assert!(serving.headroom.memory_available_bytes > 0 && serving.headroom.descriptors_free > 0);
    assert_eq!(serving.volumes.len(), 1);

    let drained: ReadinessChanged = running.unix("POST", "/drain", b"").document();
    assert_eq!(drained.readiness, Readiness::Draining);
    assert_eq!(running.wait_for_health(503).reasons[0].code, "draining");
    let again: ReadinessChanged = running.unix("POST", "/drain", b"").document();
    assert_eq!(again.readiness, Readiness::Draining, "to drain twice is no error");

    let undrained: ReadinessChanged = running.unix("POST", "/undrain", b"").document();
    assert_eq!(undrained.readiness, Readiness::Serving);
    running.wait_for_health(200);
    running.stop();
}

#[test]
fn whoever_was_told_of_a_step_finds_it_in_the_verdict() {
    let running = Running::serving();
    running.wait_for_health(200);
    for _ in 0..20 {
        running.unix("POST", "/drain", b"");
        assert_eq!(running.tcp("GET", "/health").status, 503);
        running.unix("POST", "/undrain", b"");
        running.beat();
        let health = running.tcp("GET", "/health");
        assert_eq!(health.status, 200, "{:?}", health.document::<HealthReport>().reasons);
    }
    running.stop();
}

#[test]
fn a_worker_without_a_heartbeat_turns_the_verdict() {
    let running = Running::serving();
    let stalled = crate::stats::monotonic_millis() - 6000;
    running.appliance.workers[1].heartbeat(stalled);
    let deadline = Instant::now() + Duration::from_secs(10);
    let report: HealthReport = loop {
        let answer = running.tcp("GET", "/health");
        if answer.status == 503 {
            break answer.document();
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(report.reasons[0].code, "worker_stalled");
    assert!(report.reasons[0].text.starts_with("worker 1 "), "{}", report.reasons[0].text);
    running.stop();
}

#[test]
fn draining_ends_in_drained_when_nobody_asks_for_anything() {
    let running = Running::serving();
    running.unix("POST", "/drain", b"");
    let deadline = Instant::now() + Duration::from_secs(30);
    while running.wait_for_health(503).reasons[0].code != "drained" {
        assert!(Instant::now() < deadline);
        running.beat();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(running.appliance.readiness(), Readiness::Drained);
    let undrained: ReadinessChanged = running.unix("POST", "/undrain", b"").document();
    assert_eq!(undrained.readiness, Readiness::Serving);
    running.stop();
}

#[test]
fn a_daemon_that_stops_cannot_be_called_back() {
    let running = Running::serving();
    running.appliance.begin_stopping();
    assert_eq!(running.wait_for_health(503).reasons[0].code, "stopping");
    running.unix("POST", "/undrain", b"").refused_as(409, "illegal_step");
    running.stop();
}
