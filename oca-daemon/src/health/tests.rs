use super::*;
use cache_store::VolumeIndex;

fn volume(state: VolumeState) -> ObservedVolume {
    ObservedVolume {
        status: VolumeStatus {
            index: VolumeIndex(0),
            path: "/srv/oca/volume0".into(),
            id: None,
            state,
            read_errors: 0,
            bundles: 1,
            bundle_bytes: 1,
            free_bytes: 1,
            total_bytes: 2,
            returning_bytes: 0,
            journal_bytes: 0,
            is_direct: true,
            openings_waiting: 0,
            callers_waiting: 0,
            busy: Duration::ZERO,
            quarantined: Vec::new(),
            reconciled: None,
        },
        read_timeout_age: None,
    }
}

fn certificate(left: Duration) -> ObservedCertificate {
    ObservedCertificate { chain: "/etc/oca/tls/a.pem".into(), left }
}

fn failed() -> ObservedVolume {
    volume(VolumeState::Failed { reason: "it smokes".into() })
}

fn healthy() -> Observed {
    Observed {
        appliance: Some("oca-1".into()),
        readiness: Readiness::Serving,
        is_stopping: false,
        uptime: Duration::from_millis(61_500),
        workers: vec![ObservedWorker { heartbeat_age: Duration::from_millis(900), accept_paused: None }; 2],
        volumes: vec![volume(VolumeState::Serving), volume(VolumeState::Serving)],
        certificates: vec![certificate(CERTIFICATE_LEFT_MIN)],
        requests_in_flight: 7,
        quarantined: 0,
        inventories_rebuilt: 0,
        headroom: Headroom {
            connections_free: 100,
            descriptors_free: 1000,
            memory_available_bytes: 1 << 30,
            read_buffers_free_bytes: 0,
            footer_cache_free_bytes: 0,
        },
    }
}

fn verdict_after(change: impl FnOnce(&mut Observed)) -> (Verdict, Vec<String>) {
    let mut observed = healthy();
    change(&mut observed);
    let report = judge(&observed);
    (report.verdict, report.reasons.into_iter().map(|reason| reason.code).collect())
}

#[test]
fn an_appliance_that_lacks_nothing_is_healthy_without_a_reason() {
    let report = judge(&healthy());
    assert_eq!((report.verdict, report.reasons.len()), (Verdict::Healthy, 0));
    assert_eq!((report.uptime_seconds, report.appliance.as_deref()), (61, Some("oca-1")));
    assert_eq!(report.volumes.len(), 2);
}

#[test]
fn each_cause_turns_the_verdict_and_names_itself() {
    type Change = fn(&mut Observed);
    let table: [(&str, Change); 12] = [
        ("starting", |observed| observed.readiness = Readiness::Starting),
        ("recovering", |observed| observed.readiness = Readiness::Recovering),
        ("draining", |observed| observed.readiness = Readiness::Draining),
        ("drained", |observed| observed.readiness = Readiness::Drained),
        ("stopping", |observed| observed.is_stopping = true),
        ("worker_stalled", |observed| observed.workers[1].heartbeat_age = Duration::from_millis(5001)),
        ("accept_paused", |observed| {
            observed.workers[0].accept_paused = Some(Duration::from_secs(6));
        }),
        ("no_volume", |observed| observed.volumes.clear()),
        ("memory_short", |observed| {
            observed.headroom.memory_available_bytes = MEMORY_AVAILABLE_MIN_BYTES - 1;
        }),
        ("memory_short", |observed| observed.headroom.memory_available_bytes = 0),
        ("descriptors_short", |observed| observed.headroom.descriptors_free = DESCRIPTORS_FREE_MIN - 1),
        ("descriptors_short", |observed| observed.headroom.descriptors_free = 0),
    ];
    for (code, change) in table {
        assert_eq!(verdict_after(change), (Verdict::Unhealthy, vec![code.to_owned()]));
    }
}

#[test]
fn what_only_an_operator_should_know_leaves_the_verdict_alone() {
    type Change = fn(&mut Observed);
    let table: [(&str, Change); 12] = [
        ("volume_failed", |observed| observed.volumes[0] = failed()),
        ("volume_opening", |observed| observed.volumes[1].status.state = VolumeState::Opening),
        ("volume_recovering", |observed| {
            observed.volumes[0].status.state = VolumeState::Recovering { reason: "torn".into() };
        }),
        ("volume_errors", |observed| observed.volumes[0].status.read_errors = 1),
        ("volume_slow", |observed| observed.volumes[0].status.busy = Duration::from_millis(5001)),
        ("volume_slow", |observed| {
            observed.volumes[0].read_timeout_age = Some(READ_TIMEOUT_REMEMBERED);
        }),
        ("certificate_expired", |observed| observed.certificates[0] = certificate(Duration::ZERO)),
        ("certificate_expires", |observed| {
            observed.certificates.push(certificate(CERTIFICATE_LEFT_MIN - Duration::from_secs(1)));
        }),
        ("bundles_quarantined", |observed| observed.quarantined = 1),
        ("inventory_rebuilt", |observed| observed.inventories_rebuilt = 1),
        ("connections_full", |observed| observed.headroom.connections_free = 0),
        ("memory_low", |observed| observed.headroom.memory_available_bytes = MEMORY_AVAILABLE_MIN_BYTES),
    ];
    for (code, change) in table {
        assert_eq!(verdict_after(change), (Verdict::Healthy, vec![code.to_owned()]));
    }
}

#[test]
fn what_is_at_its_threshold_is_still_well() {
    assert_eq!(
        verdict_after(|observed| {
            observed.workers[0].heartbeat_age = HEARTBEAT_AGE_MAX;
            observed.workers[0].accept_paused = Some(ACCEPT_PAUSE_MAX);
            observed.headroom.descriptors_free = DESCRIPTORS_FREE_MIN;
            observed.headroom.memory_available_bytes = MEMORY_AVAILABLE_LOW_BYTES;
            observed.volumes[0].read_timeout_age = Some(READ_TIMEOUT_REMEMBERED + Duration::from_nanos(1));
            observed.volumes[0].status.busy = VOLUME_BUSY_MAX;
        }),
        (Verdict::Healthy, vec![])
    );
}

#[test]
fn when_every_volume_is_gone_the_verdict_turns_and_each_volume_says_why() {
    let (verdict, codes) = verdict_after(|observed| {
        observed.volumes = vec![failed(), volume(VolumeState::Opening)];
    });
    assert_eq!(verdict, Verdict::Unhealthy);
    assert_eq!(codes, ["no_volume", "volume_failed", "volume_opening"]);
}

#[test]
fn only_a_stalled_worker_is_cured_by_a_restart() {
    let mut observed = healthy();
    observed.readiness = Readiness::Drained;
    observed.volumes.clear();
    observed.headroom = Headroom::default();
    assert!(!is_cured_by_restart(&judge(&observed)));
    observed.workers[0].heartbeat_age = Duration::from_secs(60);
    assert!(is_cured_by_restart(&judge(&observed)));
}

#[test]
fn a_report_that_is_too_old_turns_its_own_verdict() {
    let report = outdated(&judge(&healthy()), Duration::from_secs(9));
    assert_eq!((report.verdict, report.reasons[0].code.as_str()), (Verdict::Unhealthy, "health_outdated"));
}

#[test]
fn every_reason_says_what_to_do_in_one_line() {
    let mut observed = healthy();
    observed.workers[0] =
        ObservedWorker { heartbeat_age: Duration::from_secs(9), accept_paused: Some(Duration::from_secs(9)) };
    observed.volumes = vec![failed(), volume(VolumeState::Opening)];
    observed.volumes[0].read_timeout_age = Some(Duration::ZERO);
    observed.quarantined = 3;
    observed.certificates = vec![certificate(Duration::ZERO), certificate(Duration::from_secs(1))];
    observed.headroom = Headroom::default();
    for readiness in crate::readiness::STATES {
        observed.readiness = readiness;
        for Reason { code, text } in judge(&observed).reasons {
            assert!(
                text.contains([';', ':']) && !text.contains('\n') && !text.ends_with('.'),
                "{code}: {text}"
            );
        }
    }
}
