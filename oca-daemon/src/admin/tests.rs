//! The admin API over real sockets, with a real store in a temporary folder.

mod changes;
mod doors;
mod reads;
mod verdict;

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
        let (access_log, _senders) = AccessLog::start(None, 2, ByteCount::kib(16)).unwrap();
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
