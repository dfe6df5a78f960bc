//! What can be read at either door: inventory, load, demand, metrics.

use super::*;

#[test]
fn an_inventory_can_be_read_in_pages() {
    let running = Running::serving();
    for number in 0..5 {
        running.adopt(&format!("/titles/{number}"), 1);
    }
    let page: serde_json::Value = running.tcp("GET", "/inventory?limit=2").document();
    assert_eq!(page["next"], "/titles/1");
    let rest: Inventory = running.tcp("GET", "/inventory?after=/titles/1").document();
    assert_eq!(rest.bundles.len(), 3);
    running.stop();
}

#[test]
fn the_load_is_told_at_both_doors_and_by_health_the_appliances_name() {
    let running = Running::serving();
    running.appliance.workers[0].accepted(Transport::Cleartext);
    let deadline = Instant::now() + Duration::from_secs(10);
    let load: Load = loop {
        let load: Load = running.tcp("GET", "/load").document();
        if load.connections == 1 && load.interval_millis >= 1000 {
            break load;
        }
        assert!(Instant::now() < deadline, "{load:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((load.egress_bits_per_second, load.reads_per_second), (0, 0));
    assert_eq!(running.unix("GET", "/load", b"").status, 200);
    running.tcp("POST", "/load").refused_as(405, "method_not_allowed");
    assert_eq!(running.wait_for_health(200).appliance.as_deref(), Some("oca-17"));
    running.stop();
}

/// A worker that does nothing but count one request for `/none`, and hand over what it counted when asked.
fn add_counting_worker(appliance: &Appliance) {
    let (mailbox, letters) = mailbox().unwrap();
    appliance.demand.add_worker(mailbox);
    std::thread::spawn(move || {
        let mut table = DemandTable::default();
        table.count(&Asked::Absent("/none".into()), 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(Message::HandOverDemand { worker, next, answer }) = letters.next() {
                let _ = answer.send(WorkerDemand { worker, table: std::mem::replace(&mut table, next) });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn demand_is_told_at_both_doors_as_totals_that_reading_does_not_change() {
    let running = Running::serving();
    (0..3).for_each(|_| add_counting_worker(&running.appliance));
    for answer in [running.tcp("GET", "/demand"), running.unix("GET", "/demand", b"")] {
        let demand: Demand = answer.document();
        assert_eq!(demand.paths.len(), 1);
        let of = &demand.paths[0];
        assert_eq!((of.path.as_str(), of.requests, of.bytes, of.absent), ("/none", 3, 0, 3));
        assert_eq!((demand.instance.len(), demand.other_absent_requests), (16, 0));
    }
    assert_eq!(running.tcp("HEAD", "/demand").status, 200);
    running.unix("POST", "/demand", b"").refused_as(405, "method_not_allowed");
    running.stop();
}

#[test]
fn a_worker_that_hangs_holds_demand_up_for_a_second_and_too_many_readers_are_told_to_wait() {
    let running = Running::serving();
    add_counting_worker(&running.appliance);
    let (hanging, _letters) = mailbox().unwrap();
    running.appliance.demand.add_worker(hanging);
    let begin = Instant::now();
    let statuses = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..limits::DEMANDS_MAX + 2)
            .map(|_| {
                scope.spawn(|| {
                    let answer = running.tcp("GET", "/demand");
                    if answer.status == 200 {
                        assert_eq!(answer.document::<Demand>().paths[0].requests, 1);
                    }
                    answer.status
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    let busy = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!((statuses.iter().filter(|status| **status == 200).count(), busy), (limits::DEMANDS_MAX, 2));
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert!(running.appliance.demand.figures().late_answers > 0);
    running.stop();
}

#[test]
fn metrics_have_every_row_of_the_table_and_every_cause() {
    let running = Running::serving();
    let stats = &running.appliance.workers[0];
    stats.accepted(Transport::Cleartext);
    stats.began();
    stats.ended(Outcome::HitDisk, 1000, Some(Duration::from_micros(150)), Duration::from_millis(40));
    let answer = running.tcp("GET", "/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let text = String::from_utf8(answer.content).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("oca_"), "{line}");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
    }
    for outcome in Outcome::ALL {
        let name = outcome.as_str();
        assert!(text.contains(&format!("oca_requests_total{{outcome=\"{name}\"}}")), "{name}");
    }
    for line in [
        "# TYPE oca_requests_total counter",
        "oca_requests_total{outcome=\"hit_disk\"} 1",
        "oca_body_bytes_total{outcome=\"hit_disk\"} 1000",
        "oca_connections_open{transport=\"cleartext\"} 1",
        "oca_first_byte_seconds_bucket{le=\"0.0001\"} 0",
        "oca_first_byte_seconds_bucket{le=\"0.0002\"} 1",
        "oca_first_byte_seconds_bucket{le=\"+Inf\"} 1",
        "oca_request_duration_seconds_bucket{le=\"0.03\"} 0",
        "oca_request_duration_seconds_bucket{le=\"0.05\"} 1",
        "oca_request_duration_seconds_count 1",
        "oca_readiness{state=\"serving\"} 1",
        "oca_healthy 1",
        "oca_volume_serving{volume=\"0\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    running.stop();
}
