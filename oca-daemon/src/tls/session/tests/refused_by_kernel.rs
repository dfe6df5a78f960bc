//! Connections that the kernel does not take, though it seals: they go on with our own sealer, and are counted.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cache_store::{BundleWriter, PlannedObject, Store, StoreOptions, Volume, VolumeOptions};
use control_client::config::{PullConfig, ServeConfig};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::units::ByteCount;
use rustix::net::{SendFlags, send};
use rustls::StreamOwned;

use super::*;
use crate::access_log::AccessLog;
use crate::connection_bound::ConnectionBound;
use crate::listener::{SocketSettings, bind_for_workers};
use crate::mailbox::{Mailbox, Message, mailbox};
use crate::serve::Policy;
use crate::service::{PlayerService, Service, Timeouts};
use crate::stats::{RecordLayer, Totals, Transport, WorkerStats};
use crate::tier::SampleSender;
use crate::tls::kernel::KernelTls;
use crate::worker::{self, WorkerSettings};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const NOTSENT_LOWAT_BYTES: u32 = 128 << 10;

#[test]
fn a_session_whose_socket_takes_no_key_goes_on_with_our_own_sealer() {
    let body = noise(100_000);
    for suite in all_suites() {
        let mut pair = Pair::connect(suite, 1 << 16);
        assert_eq!(pair.send(&[b"before"], 1 << 16), b"before");
        // A socket that is none of TCP's takes none on any kernel.
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let layer = pair.server.choose_record_layer(Some(KernelTls::pretended()), ours.as_fd());
        assert_eq!(layer, Some(RecordLayer::Refused), "{suite:?}");
        assert!(!pair.server.is_sealed_by_kernel());
        // The client opens what follows: no record's number was used up, and no key was changed.
        assert!(pair.send(&[&body], 1 << 16) == body, "{suite:?}");
        pair.client.writer().write_all(b"GET").unwrap();
        assert_eq!(pair.client_speaks(1 << 16).unwrap(), Received::Open);
        assert_eq!(pair.inbox, b"GET");
    }
}

#[test]
fn a_connection_that_the_kernel_does_not_take_is_served_and_counted_as_refused() {
    let object = noise(300_000);
    let totals = totals_of_a_worker(&object, |address| {
        for suite in [TLS13, TLS12] {
            let answers = ask_twice_and_close(suite, address);
            let head_bytes = answers.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            assert!(answers.starts_with(b"HTTP/1.1 200 "), "{suite:?}");
            assert!(answers[head_bytes..].starts_with(&object), "{suite:?}: wrong bytes");
            assert!(answers.ends_with(&object[..10]), "{suite:?}: wrong bytes of the second answer");
        }
    });
    let of = |layer: RecordLayer| {
        (totals.record_layers[layer as usize], totals.record_layer_bytes[layer as usize])
    };
    assert_eq!((of(RecordLayer::Kernel), of(RecordLayer::User)), ((0, 0), (0, 0)));
    let (connections, bytes) = of(RecordLayer::Refused);
    assert!(connections == 2 && bytes > 2 * object.len() as u64, "{connections} connections, {bytes} bytes");
}

/// Asks for all of the object and for its first bytes, and closes its side with that; returns what comes until the farewell. The kernel
/// takes a key only for a connection that is open in both directions. The end goes in one segment with the requests, so that whoever
/// reads these finds it there.
fn ask_twice_and_close(suite: SupportedCipherSuite, address: SocketAddr) -> Vec<u8> {
    let client = ClientConnection::new(client_settings(suite), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
    stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    let ask = |fields: &str| format!("GET /title/1.m4s HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let requests = ask("") + &ask("Range: bytes=0-9\r\n");
    stream.conn.writer().write_all(requests.as_bytes()).unwrap();
    let mut record = Vec::new();
    stream.conn.write_tls(&mut record).unwrap();
    assert_eq!(send(&stream.sock, &record, SendFlags::MORE).unwrap(), record.len());
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    // Without a farewell this is an error.
    stream.read_to_end(&mut answers).unwrap();
    answers
}

/// What a worker has counted that serves the object over TLS, and that is told that the kernel seals, after `talk` was done.
fn totals_of_a_worker(object: &[u8], talk: impl FnOnce(SocketAddr)) -> Totals {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), object);
    let stats = Arc::new(WorkerStats::new(1));
    let (mailbox, letters) = mailbox().unwrap();
    let settings = SocketSettings { notsent_lowat_bytes: NOTSENT_LOWAT_BYTES, user_timeout: PATIENCE };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (address, listeners) = bind_for_workers(anywhere, 1, Transport::Tls, settings).unwrap();
    let (_no_log, mut senders) = AccessLog::start(None, 1, ByteCount::kib(64)).unwrap();
    let thread = worker::spawn(WorkerSettings {
        service: service(&store, &stats, mailbox.clone()),
        letters,
        listeners,
        read_buffer_bytes: ByteCount::mib(4).bytes(),
        volume_count: 1,
        log: senders.pop().unwrap(),
        samples: SampleSender::off(),
    })
    .unwrap();
    talk(address);
    mailbox.send(Message::Stop { deadline: Instant::now() + PATIENCE });
    thread.join().unwrap();
    store.close();
    Totals::of([&*stats])
}

fn service(store: &Arc<Store>, stats: &Arc<WorkerStats>, mailbox: Mailbox) -> Service {
    let serve = ServeConfig { header_timeout: PATIENCE, ..ServeConfig::default() };
    let (segment, playlist) = (serve.segment_max_age, serve.playlist_max_age);
    Service {
        worker: 0,
        store: Arc::clone(store),
        residency: None,
        policy: Policy::new("oca", "", segment, playlist, serve.retry_after).unwrap(),
        players: PlayerService::new(&serve, "oca", Arc::default()),
        timeouts: Timeouts::new(&serve, &PullConfig::default()),
        stats: Arc::clone(stats),
        mailbox,
        tls: Some(server_settings()),
        kernel_tls: Some(KernelTls::pretended()),
        connection_bound: ConnectionBound::new(serve.connections, std::slice::from_ref(stats)),
        at_capacity: serve.at_capacity,
        pull: None,
        notsent_lowat_bytes: NOTSENT_LOWAT_BYTES,
    }
}

/// A store of one volume, in `folder`, which serves `/title/1.m4s`.
fn store_of(folder: &Path, object: &[u8]) -> Arc<Store> {
    let path = folder.join("volume");
    Volume::init(&path).unwrap();
    let store = Store::open(StoreOptions {
        volumes: vec![VolumeOptions { path: path.clone(), mount_required: false }],
        footer_cache: ByteCount::mib(16),
        open_bundles: 16,
        open_queue: 16,
        volume_errors: 8,
    })
    .unwrap();
    let volume = Arc::new(Volume::open(&path, false).unwrap());
    let planned = PlannedObject {
        name: ObjectName::parse("1.m4s").unwrap(),
        length: object.len() as u64,
        media_type: "video/iso.segment".into(),
        last_modified: 1_700_000_000,
        sha256: None,
    };
    let key = BundleKey { path: BundlePath::parse("/title").unwrap(), generation: Generation::new(1) };
    let mut writer = BundleWriter::create(&volume, key, Sha256::new([0; 32]), vec![planned]).unwrap();
    writer.write(object).unwrap();
    writer.end_object().unwrap();
    let published = writer.finish().unwrap();
    store.adopt(path.to_str().unwrap(), &published.id.file_name()).unwrap();
    store
}
