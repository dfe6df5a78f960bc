//! The admin API over real sockets, with a real store in a temporary folder.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::{BundleWriter, OpenBundle, PlannedObject, Store, StoreOptions, Volume, VolumeOptions};
use control_client::admin::{Adopt, Adopted, Failure, Purge, Purged, ReadinessChanged, Retire, Retired};
use control_client::config::Config;
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::demand::Demand;
use control_client::health::{HealthReport, Readiness, Verdict};
use control_client::inventory::{BundleState, Inventory};
use control_client::load::Load;
use control_client::status::{ListenerRole, StatusReport};
use control_client::units::ByteCount;
use control_client::wire::DocumentVersion;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Admin, limits};
use crate::access_log::AccessLog;
use crate::appliance::Appliance;
use crate::demand::{Asked, DemandTable, WorkerDemand};
use crate::health::HealthThread;
use crate::mailbox::{Message, mailbox};
use crate::outcome::Outcome;
use crate::stats::{Transport, WorkerStats};

const MEBIBYTE: u64 = 1 << 20;

/// An appliance without workers, and its admin API.
struct Running {
    appliance: Arc<Appliance>,
    admin: Admin,
    health: HealthThread,
    address: SocketAddr,
    socket: PathBuf,
    volume: PathBuf,
    _folder: tempfile::TempDir,
}

/// An answer as it came.
struct Answer {
    status: u16,
    head: String,
    content: Vec<u8>,
}

impl Running {
    fn start() -> Running {
        let folder = tempfile::tempdir().unwrap();
        let (volume, socket) = (folder.path().join("volume0"), folder.path().join("daemon.sock"));
        Volume::init(&volume).unwrap();
        let mut config = Config::default();
        config.admin.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        config.admin.socket.clone_from(&socket);
        config.control.appliance = Some("oca-17".parse().unwrap());
        let store = Store::open(StoreOptions {
            volumes: vec![VolumeOptions { path: volume.clone(), mount_required: false }],
            footer_cache: ByteCount::new(16 * MEBIBYTE),
            open_bundles: 16,
            open_queue: 16,
            volume_errors: 8,
        })
        .unwrap();
        let workers = vec![Arc::new(WorkerStats::new(1)), Arc::new(WorkerStats::new(1))];
        let (access_log, _senders) = AccessLog::start(None, 2, 16).unwrap();
        let appliance = Appliance::new(config, None, store, workers, access_log);
        appliance.begin_recovering().unwrap();
        let health = HealthThread::start(Arc::clone(&appliance)).unwrap();
        let admin = Admin::start(Arc::clone(&appliance)).unwrap();
        let address = appliance.listeners()[0].address.parse().unwrap();
        Running { appliance, admin, health, address, socket, volume, _folder: folder }
    }

    /// The same, once it is steered to.
    fn serving() -> Running {
        let running = Running::start();
        running.appliance.begin_serving().unwrap();
        running.wait_for_health(200);
        running
    }

    fn stop(self) {
        self.admin.stop();
        self.health.stop();
        assert!(!self.socket.exists(), "the socket goes with the daemon");
        self.appliance.store.close();
    }

    fn tcp(&self, method: &str, target: &str) -> Answer {
        exchange(TcpStream::connect(self.address).unwrap(), method, target, b"")
    }

    fn unix(&self, method: &str, target: &str, content: &[u8]) -> Answer {
        exchange(UnixStream::connect(&self.socket).unwrap(), method, target, content)
    }

    fn change(&self, target: &str, document: &impl Serialize) -> Answer {
        self.unix("POST", target, &serde_json::to_vec(document).unwrap())
    }

    /// The workers of these tests have nobody else to say that they are alive.
    fn beat(&self) {
        for worker in &self.appliance.workers {
            worker.heartbeat(crate::stats::monotonic_millis());
        }
    }

    fn wait_for_health(&self, status: u16) -> HealthReport {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            self.beat();
            let answer = self.tcp("GET", "/health");
            if answer.status == status {
                return answer.document();
            }
            assert!(Instant::now() < deadline, "{}", answer.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Publishes a bundle of one small object, and says what to adopt.
    fn publish(&self, path: &str, generation: u64) -> Adopt {
        let volume = Arc::new(Volume::open(&self.volume, false).unwrap());
        let key =
            BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(generation) };
        let object = PlannedObject {
            name: ObjectName::parse("1.m4s").unwrap(),
            length: 5,
            media_type: "video/mp4".into(),
            last_modified: 1_700_000_000,
            sha256: None,
        };
        let mut writer = BundleWriter::create(&volume, key, Sha256::new([0; 32]), vec![object]).unwrap();
        writer.write(b"bytes").unwrap();
        writer.end_object().unwrap();
        let published = writer.finish().unwrap();
        Adopt {
            version: DocumentVersion,
            volume: self.volume.display().to_string(),
            file: published.id.file_name(),
        }
    }

    fn adopt(&self, path: &str, generation: u64) -> Adopted {
        let answer = self.change("/adopt", &self.publish(path, generation));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.document()
    }

    /// A reader that holds a bundle.
    fn open(&self, path: &str) -> Arc<OpenBundle> {
        let bundle = self.appliance.store.lookup(path).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        self.appliance
            .store
            .open_bundle(&bundle, Box::new(move |opened| sender.send(opened).unwrap()))
            .unwrap();
        receiver.recv().unwrap().unwrap()
    }
}

impl Answer {
    fn document<D: DeserializeOwned>(&self) -> D {
        serde_json::from_slice(&self.content).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        format!("{}\n{}", self.head, String::from_utf8_lossy(&self.content))
    }

    fn refused_as(&self, status: u16, error: &str) {
        let failure: Failure = self.document();
        assert_eq!((self.status, failure.error.as_str()), (status, error), "{}", self.text());
        assert!(!failure.detail.is_empty());
    }
}

fn exchange(mut stream: impl Read + Write, method: &str, target: &str, content: &[u8]) -> Answer {
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", content.len());
    stream.write_all(head.as_bytes()).unwrap();
    // The answer to content that is too long comes before all of it was sent.
    let _ = stream.write_all(content);
    read_answer(stream)
}

fn read_answer(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    // What follows a complete answer, a reset among it, is no concern of the tests.
    let _ = stream.read_to_end(&mut bytes);
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_lowercase();
    let mut content = bytes[head_end + 4..].to_vec();
    if head.contains("transfer-encoding: chunked") {
        content = unchunked(&content);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, content }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return content;
        }
        content.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes = &bytes[line + 2 + size + 2..];
    }
}

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
    while running.appliance.readiness() != Readiness::Drained {
        assert!(Instant::now() < deadline);
        running.beat();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(running.wait_for_health(503).reasons[0].code, "drained");
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

#[test]
fn over_tcp_nothing_can_be_changed() {
    let running = Running::serving();
    for path in ["/drain", "/undrain", "/adopt", "/retire", "/purge"] {
        running.tcp("POST", path).refused_as(404, "unix_socket_only");
    }
    assert_eq!(running.appliance.readiness(), Readiness::Serving);
    let refused = running.tcp("PUT", "/health");
    refused.refused_as(405, "method_not_allowed");
    assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    running.tcp("GET", "/secrets").refused_as(404, "unknown_path");
    running.tcp("GET", "/inventory?limit=none").refused_as(400, "malformed_query");
    running.stop();
}

#[test]
fn status_tells_the_addresses_that_were_bound() {
    let running = Running::serving();
    running.appliance.add_listener(ListenerRole::Http, "127.0.0.1:8080");
    for answer in [running.tcp("GET", "/status"), running.unix("GET", "/status", b"")] {
        let status: StatusReport = answer.document();
        assert_eq!(status.addresses(ListenerRole::Admin).collect::<Vec<_>>(), [running.address]);
        assert_eq!(status.addresses(ListenerRole::Http).count(), 1);
        let socket = status.listeners.iter().find(|listener| listener.role == ListenerRole::AdminSocket);
        assert_eq!(socket.unwrap().address, running.socket.display().to_string());
        assert_eq!((status.process.pid, status.process.workers), (std::process::id(), 2));
        assert!(status.configuration.contains_key("serve.connections"));
        assert!(!status.process.kernel.is_empty());
    }
    running.stop();
}

#[test]
fn a_bundle_is_adopted_listed_and_retired_and_its_space_returns() {
    let running = Running::serving();
    let adopted = running.adopt("/titles/a/1080p", 1);
    assert_eq!((adopted.objects, adopted.bundle.generation.number()), (1, 1));

    let inventory: Inventory = running.tcp("GET", "/inventory").document();
    assert_eq!(inventory.bundles.len(), 1);
    assert_eq!(inventory.bundles[0].bytes, adopted.bytes);
    assert_eq!(inventory.bundles[0].state, BundleState::Published);

    let retire = Retire { version: DocumentVersion, path: adopted.bundle.path.clone(), generation: None };
    let retired: Retired = running.change("/retire", &retire).document();
    assert_eq!((retired.bundles, retired.freed_bytes), (vec![adopted.bundle], adopted.bytes));
    let inventory: Inventory = running.tcp("GET", "/inventory").document();
    assert!(inventory.bundles.is_empty());
    running.change("/retire", &retire).refused_as(404, "no_such_bundle");
    running.stop();
}

#[test]
fn a_higher_generation_replaces_a_lower_one_and_a_lower_one_is_refused() {
    let running = Running::serving();
    let (first, second, third) =
        (running.publish("/titles/a", 1), running.publish("/titles/a", 2), running.publish("/titles/a", 3));
    assert_eq!(running.change("/adopt", &second).document::<Adopted>().replaced, None);
    assert_eq!(running.change("/adopt", &third).document::<Adopted>().replaced, Some(Generation::new(2)));
    running.change("/adopt", &first).refused_as(409, "outdated");
    let again: Adopted = running.change("/adopt", &third).document();
    assert_eq!(again.bundle.generation.number(), 3, "to adopt twice is no error");
    running.stop();
}

#[test]
fn a_retire_waits_for_the_last_reader_and_says_so_when_that_takes_too_long() {
    let running = Running::serving();
    let adopted = running.adopt("/titles/a/1080p", 1);
    let reader = running.open("/titles/a/1080p");
    let retire = Retire { version: DocumentVersion, path: adopted.bundle.path.clone(), generation: None };
    running.change("/retire?wait_seconds=0", &retire).refused_as(504, "retire_pending");
    assert!(
        running.appliance.store.lookup("/titles/a/1080p").is_none(),
        "it is out of the inventory all the same"
    );

    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(reader);
    });
    let retired: Retired = running.change("/retire?wait_seconds=20", &retire).document();
    assert_eq!(retired.freed_bytes, adopted.bytes);
    release.join().unwrap();
    assert_eq!(running.appliance.admin.waiting_retires(), 0);
    running.stop();
}

#[test]
fn retires_that_wait_take_no_place_from_other_changes_and_are_bounded() {
    let running = Running::serving();
    let adopted = running.adopt("/titles/held", 1);
    let reader = running.open("/titles/held");
    let retire = Retire { version: DocumentVersion, path: adopted.bundle.path, generation: None };
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..limits::RETIRES_MAX)
            .map(|_| scope.spawn(|| running.change("/retire?wait_seconds=60", &retire).status))
            .collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        while running.appliance.admin.waiting_retires() < limits::RETIRES_MAX as u64 {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
        running.change("/retire", &retire).refused_as(503, "busy");
        assert_eq!(running.adopt("/titles/other", 1).objects, 1);
        drop(reader);
        assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap() == 200));
    });
    running.stop();
}

#[test]
fn a_purge_takes_out_everything_below_a_path_and_nothing_beside_it() {
    let running = Running::serving();
    for path in ["/titles/a/1080p", "/titles/a/720p", "/titles/ab"] {
        running.adopt(path, 1);
    }
    let purge =
        Purge { version: DocumentVersion, path: BundlePath::parse("/titles/a").unwrap(), prefix: true };
    let purged: Purged = running.change("/purge", &purge).document();
    assert_eq!(purged.bundles.len(), 2);
    let inventory: Inventory = running.tcp("GET", "/inventory").document();
    let paths: Vec<_> = inventory.bundles.iter().map(|bundle| bundle.path.as_str()).collect();
    assert_eq!(paths, ["/titles/ab"]);
    running.stop();
}

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
fn what_is_no_document_is_refused_with_the_place_of_the_fault() {
    let running = Running::serving();
    for content in ["", "{", "[]", "{\"path\":\"relative\"}", "{\"version\":2,\"path\":\"/a\"}"] {
        running.unix("POST", "/retire", content.as_bytes()).refused_as(400, "malformed_document");
    }
    running
        .unix("POST", "/retire", &vec![b' '; limits::CONTENT_BYTES_MAX + 1])
        .refused_as(413, "content_too_large");
    let nowhere = Adopt { version: DocumentVersion, volume: "/nowhere".into(), file: "x".into() };
    assert_eq!(running.change("/adopt", &nowhere).status, 400);
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

#[test]
fn who_asks_nothing_is_closed_after_the_header_timeout_and_gives_the_place_to_others() {
    let running = Running::serving();
    let silent: Vec<_> =
        (0..limits::CONNECTIONS_PER_DOOR).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    let begin = Instant::now();
    while running.appliance.admin.open_connections() < silent.len() as u64 {
        assert!(begin.elapsed() < limits::HEADER_TIMEOUT);
        std::thread::sleep(Duration::from_millis(1));
    }
    // It is told while the places are taken that the Unix socket has places of its own.
    assert_eq!(running.unix("GET", "/status", b"").status, 200);
    let answer = running.tcp("GET", "/status");
    assert_eq!(answer.status, 200);
    assert!(begin.elapsed() >= limits::HEADER_TIMEOUT - Duration::from_millis(100), "{:?}", begin.elapsed());
    drop(silent);
    running.stop();
}

#[test]
fn one_connection_carries_one_request() {
    let running = Running::serving();
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .write_all(b"GET /status HTTP/1.1\r\nhost: a\r\n\r\nGET /status HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_answer(stream);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text().matches("http/1.1 ").count(), 1);
    running.stop();
}
