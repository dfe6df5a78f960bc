//! A worker in this process, over a store in a temporary folder, whose pull service is a script.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cache_store::limits::OPENERS_PER_VOLUME;
use cache_store::{Store, StoreOptions, VolumeOptions};
use control_client::config::{CertificateConfig, Config};
use control_client::units::ByteCount;
use http::{HeaderMap, HeaderName, HeaderValue};
use oca_daemon::access_log::AccessLog;
use oca_daemon::connection_bound::ConnectionBound;
use oca_daemon::listener::{SocketSettings, bind_for_workers};
use oca_daemon::mailbox::{Mailbox, Message, mailbox};
use oca_daemon::outcome::Outcome;
use oca_daemon::pull::pipe::Writer;
use oca_daemon::pull::{AnswerHead, CacheStatus, Forwarded, PullRequest, Question, questions};
use oca_daemon::serve::{MissRules, Policy};
use oca_daemon::service::{PlayerService, Service, Timeouts};
use oca_daemon::stats::{Totals, Transport, WorkerStats};
use oca_daemon::tier::SampleSender;
use oca_daemon::tls::{TicketKeys, Tls};
use oca_daemon::worker::{self, WorkerSettings};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::support::{eventually, publish, tls::write_certificate};

/// The path of the one object that a bundle holds.
pub(crate) const HELD: &str = "/held/1.m4s";

/// Its bytes.
pub(crate) const HELD_BYTES: &[u8] = b"of a bundle";

/// More bundles, one for each thread that opens bundles.
fn more() -> impl Iterator<Item = String> {
    (0..OPENERS_PER_VOLUME).map(|number| format!("/more-{number}"))
}

/// A worker, and how often its script was asked.
pub(crate) struct ScriptedWorker {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) asked: Arc<AtomicUsize>,
    stats: Arc<WorkerStats>,
    mailbox: Mailbox,
    thread: Option<JoinHandle<()>>,
    store: Arc<Store>,
    _folder: TempDir,
}

impl ScriptedWorker {
    /// A worker that pulls everything that `pull`, the lines of `[pull]`, says, and has the script answer.
    pub(crate) fn start<F>(pull: &str, script: fn(PullRequest, Writer) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume");
        let more: Vec<_> = more().map(|directory| format!("{directory}/1.m4s")).collect();
        let paths = more.iter().map(String::as_str).chain([HELD]);
        let objects: Vec<_> = paths.map(|path| (path, HELD_BYTES)).collect();
        publish(&objects, &folder.path().join("objects"), &volume);
        let text = format!(
            "[serve]\nheader_timeout = \"5 s\"\nsend_stall_timeout = \"20 s\"\n[pull]\nupstreams = [{{ name = \"scripted\", url = \"http://unused\" }}]\n{pull}"
        );
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.check(), []);
        let store = Store::open(store_options(&volume)).unwrap();
        store.start_reconciling();
        let certificate = write_certificate(folder.path(), Duration::from_secs(86_400));
        let tls = tls(folder.path());

        let settings = SocketSettings { notsent_lowat_bytes: 131_072, user_timeout: Duration::from_secs(60) };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (http, mut listeners) = bind_for_workers(any, 1, Transport::Cleartext, settings).unwrap();
        let (https, more) = bind_for_workers(any, 1, Transport::Tls, settings).unwrap();
        listeners.extend(more);

        let (handle, mut questions) = questions(config.pull.requests as usize);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while let Some(question) = questions.next().await {
                    if let Question::Answer(request, writer) = question {
                        count.fetch_add(1, Ordering::Relaxed);
                        tokio::spawn(script(*request, writer));
                    }
                }
            });
        });

        let (mailbox, letters) = mailbox().unwrap();
        let stats = Arc::new(WorkerStats::new(1));
        let (_, mut senders) = AccessLog::start(None, 1, ByteCount::kib(16)).unwrap();
        let day = Duration::from_secs(86_400);
        let policy = Policy::new("oca-1", "*", day, day, Duration::from_secs(5)).unwrap();
        let service = Service {
            worker: 0,
            store: Arc::clone(&store),
            residency: None,
            policy: policy.with_misses(MissRules::new(&config.pull)),
            players: PlayerService::new(&config.serve, "oca-1", Arc::default()),
            timeouts: Timeouts::new(&config.serve, &config.pull),
            stats: Arc::clone(&stats),
            mailbox: mailbox.clone(),
            tls: Some(tls.settings),
            kernel_tls: None,
            connection_bound: ConnectionBound::new(16_000, std::slice::from_ref(&stats)),
            at_capacity: config.serve.at_capacity,
            pull: Some(handle),
            notsent_lowat_bytes: 131_072,
        };
        let log = senders.remove(0);
        let thread = worker::spawn(WorkerSettings {
            service,
            letters,
            listeners,
            read_buffer_bytes: 8 << 20,
            volume_count: 1,
            log,
            samples: SampleSender::off(),
        })
        .unwrap();
        let thread = Some(thread);
        Self { http, https, certificate, asked, stats, mailbox, thread, store, _folder: folder }
    }

    /// How often the script was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Holds up the opening of bundles until what is returned is dropped.
    pub(crate) fn hold_openings(&self) -> Vec<mpsc::Sender<()>> {
        let hold = |directory: String| {
            eventually("it is adopted", || self.store.lookup(&directory).is_some());
            let (holder, held) = mpsc::channel();
            let bundle = self.store.lookup(&directory).unwrap();
            self.store.open_bundle(&bundle, Box::new(move |_| _ = held.recv())).unwrap();
            holder
        };
        more().map(hold).collect()
    }

    /// Whether the bundle is served.
    pub(crate) fn is_adopted(&self, directory: &str) -> bool {
        self.store.lookup(directory).is_some()
    }

    /// How many requests ended so.
    pub(crate) fn ended(&self, outcome: Outcome) -> u64 {
        Totals::of([&*self.stats]).outcomes[outcome as usize]
    }

    /// How many requests are under way.
    pub(crate) fn in_flight(&self) -> u64 {
        Totals::of([&*self.stats]).requests_in_flight
    }

    /// So many requests end so; they are counted a moment after their last byte is sent.
    pub(crate) fn counts(&self, outcome: Outcome, requests: u64) {
        eventually(outcome.as_str(), || self.ended(outcome) >= requests);
        assert_eq!(self.ended(outcome), requests, "{}", outcome.as_str());
    }

    /// Tells it to stop, within so long.
    pub(crate) fn tell_to_stop(&self, within: Duration) {
        self.mailbox.send(Message::Stop { deadline: Instant::now() + within });
    }

    /// Waits until it has stopped.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for ScriptedWorker {
    fn drop(&mut self) {
        self.tell_to_stop(Duration::ZERO);
        if !std::thread::panicking() {
            self.join();
        }
        self.store.close();
    }
}

/// The head of an answer that was just fetched, with one field of upstream's.
pub(crate) fn head(status: u16, content_length: Option<u64>) -> AnswerHead {
    let mut fields = HeaderMap::new();
    fields.append(HeaderName::from_static("x-upstream"), HeaderValue::from_static("yes"));
    let cache_status = CacheStatus { forwarded: Some(Forwarded::UriMiss), ..CacheStatus::default() };
    AnswerHead { status, fields, content_length, source: Outcome::DemandMiss, cache_status }
}

fn store_options(volume: &Path) -> StoreOptions {
    let store = Config::default().store;
    StoreOptions {
        volumes: vec![VolumeOptions { path: volume.to_owned(), mount_required: false }],
        footer_cache: store.footer_cache,
        open_bundles: store.open_bundles as usize,
        open_queue: store.open_queue as usize,
        volume_errors: store.volume_errors,
    }
}

fn tls(folder: &Path) -> Tls {
    let certificate = CertificateConfig { chain: folder.join("chain.pem"), key: folder.join("key.pem") };
    assert!(fs::exists(&certificate.chain).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Tls::load(&[certificate], TicketKeys::load(None, now).0).unwrap()
}
