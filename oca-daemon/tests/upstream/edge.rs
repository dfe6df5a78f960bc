//! The pull service over a store in a temporary folder, asked as a worker asks it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::{Store, StoreOptions, Volume, VolumeOptions};
use control_client::config::{PullConfig, ServeConfig, UpstreamConfig};
use control_client::units::ByteCount;
use http::{HeaderMap, HeaderName, Method};
use oca_daemon::mailbox::mailbox;
use oca_daemon::pull::pipe::{Piece, Reader};
use oca_daemon::pull::{
    AnswerHead, PullFailure, PullHandle, PullRequest, PullService, PullStats, PurgeSelector, questions,
};
use oca_daemon::request::Scheme;
use oca_daemon::token::ConnectionId;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Edge {
    service: Option<PullService>,
    handle: PullHandle,
    store: Arc<Store>,
    pub stats: Arc<PullStats>,
    folder: Arc<tempfile::TempDir>,
    config: PullConfig,
}

/// An answer that has come to its end.
#[derive(Debug)]
pub struct Answer {
    pub head: Option<AnswerHead>,
    pub body: Vec<u8>,
    pub failure: Option<PullFailure>,
}

/// An answer that is under way.
pub struct Coming {
    reader: Reader,
    answer: Answer,
}

pub fn upstreams(urls: &[String]) -> PullConfig {
    let upstream = |(place, url): (usize, &String)| UpstreamConfig {
        name: format!("u{place}"),
        url: Some(url.clone()),
        host: None,
        s3: None,
    };
    PullConfig {
        upstreams: urls.iter().enumerate().map(upstream).collect(),
        connect_timeout: Duration::from_millis(500),
        first_byte_timeout: Duration::from_secs(3),
        stall_timeout: Duration::from_secs(3),
        ..PullConfig::default()
    }
}

impl Edge {
    pub fn of(urls: &[String]) -> Self {
        Self::start(upstreams(urls))
    }

    pub fn start(config: PullConfig) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Volume::init(&folder.path().join("volume")).unwrap();
        Self::open(config, folder)
    }

    /// One that does not wait for an upstream for long.
    pub fn impatient(urls: &[String]) -> Self {
        let timeout = Duration::from_millis(300);
        Self::start(PullConfig { connect_timeout: timeout, first_byte_timeout: timeout, ..upstreams(urls) })
    }

    /// One whose volume can hold no pulled content.
    pub fn without_disk(config: PullConfig) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let volume = folder.path().join("volume");
        Volume::init(&volume).unwrap();
        std::fs::write(volume.join("demand"), "not a directory").unwrap();
        Self::open(config, folder)
    }

    fn open(mut config: PullConfig, folder: Arc<tempfile::TempDir>) -> Self {
        config.missed_purges = Some(folder.path().join("missed-purges"));
        let store = open_store(&folder.path().join("volume"));
        let stats = Arc::new(PullStats::new(&config, 1));
        let (handle, questions) = questions(config.requests as usize);
        let serve = ServeConfig::default();
        let service =
            PullService::start(&config, &serve, "oca", &store, Arc::clone(&stats), questions).unwrap();
        let edge = Self { service: Some(service), handle, store, stats, folder, config };
        edge.wait_for_disk();
        edge
    }

    fn wait_for_disk(&self) {
        let began = Instant::now();
        while !self.service.as_ref().unwrap().is_ready() {
            assert!(began.elapsed() < PATIENCE, "the volume was not opened");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until everything that came is stored: clients have it earlier.
    pub fn settle(&self) {
        let began = Instant::now();
        while self.fetches_under_way() > 0 {
            assert!(began.elapsed() < PATIENCE, "a fetch does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until so many have been given the head of what another has asked for.
    pub fn wait_until_joined(&self, count: u64) {
        let began = Instant::now();
        while self.stats.collapsed.get() < count {
            assert!(began.elapsed() < PATIENCE, "{} of {count}", self.stats.collapsed.get());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What upstream is asked for now, or what waits for that.
    pub fn fetches_under_way(&self) -> u64 {
        self.service.as_ref().unwrap().fetches_under_way()
    }

    /// The daemon ends and starts again.
    pub fn restarted(mut self) -> Self {
        let (config, folder) = (self.config.clone(), Arc::clone(&self.folder));
        self.stop();
        drop(self);
        Self::open(config, folder)
    }

    fn stop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop(Instant::now() + PATIENCE);
            self.store.close();
        }
    }

    pub fn ask(&self, method: Method, target: &str, fields: &[(&str, &str)]) -> Coming {
        self.ask_from("127.0.0.1:1", method, target, fields)
    }

    /// Asks as the client with that address.
    pub fn ask_from(&self, peer: &str, method: Method, target: &str, fields: &[(&str, &str)]) -> Coming {
        let (mailbox, _) = mailbox().unwrap();
        let name = |name: &str| name.parse::<HeaderName>().unwrap();
        let request = PullRequest {
            method,
            target: target.to_owned(),
            fields: fields
                .iter()
                .map(|(key, value)| (name(key), value.parse().unwrap()))
                .collect::<HeaderMap>(),
            scheme: Scheme::Http,
            authority: "edge".to_owned(),
            peer: peer.parse().unwrap(),
            content: bytes::Bytes::new(),
        };
        let connection = ConnectionId { slot: 0, generation: 0 };
        let reader = self.handle.ask(request, mailbox, connection, 1).expect("there is a place");
        Coming { reader, answer: Answer { head: None, body: Vec::new(), failure: None } }
    }

    pub fn begin(&self, target: &str) -> Coming {
        self.ask(Method::GET, target, &[])
    }

    /// The answers to so many who ask at the same time.
    pub fn at_once(&self, count: usize, target: &str, fields: &[(&str, &str)]) -> Vec<Answer> {
        let coming: Vec<_> = (0..count).map(|_| self.ask(Method::GET, target, fields)).collect();
        coming.into_iter().map(Coming::finish).collect()
    }

    /// Asks, takes the answer, and waits until it is stored.
    pub fn get(&self, target: &str) -> Answer {
        self.get_with(target, &[])
    }

    pub fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = self.ask(Method::GET, target, fields).finish();
        self.settle();
        answer
    }

    pub fn get_range(&self, target: &str, range: &str) -> Answer {
        self.get_with(target, &[("range", range)])
    }

    pub fn purge(&self, selector: PurgeSelector) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.handle.purge(vec![selector])).unwrap().objects
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop();
    }
}

fn open_store(path: &Path) -> Arc<Store> {
    let options = StoreOptions {
        volumes: vec![VolumeOptions { path: path.to_owned(), mount_required: false }],
        footer_cache: ByteCount::mib(1),
        open_bundles: 16,
        open_queue: 16,
        volume_errors: 8,
    };
    Store::open(options).unwrap()
}

impl Coming {
    /// Takes what there is; whether that was the end.
    fn take(&mut self) -> bool {
        while let Some(is_end) = self.take_piece() {
            if is_end {
                return true;
            }
        }
        false
    }

    /// Takes a piece, if there is one; whether it was the end.
    fn take_piece(&mut self) -> Option<bool> {
        match self.reader.take()? {
            Piece::Head(head) => self.answer.head = Some(*head),
            Piece::Chunk(bytes) => self.answer.body.extend_from_slice(&bytes),
            Piece::End => return Some(true),
            Piece::Failed(failure) => {
                self.answer.failure = Some(failure);
                return Some(true);
            }
        }
        Some(false)
    }

    /// Takes until so many bytes of the body have come, and not much more.
    pub fn take_until(&mut self, count: usize) {
        let began = Instant::now();
        while self.answer.body.len() < count {
            match self.take_piece() {
                Some(is_end) => assert!(!is_end, "it has ended early: {:?}", self.answer.failure),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(began.elapsed() < PATIENCE, "{} of {count} bytes came", self.answer.body.len());
        }
    }

    pub fn finish(mut self) -> Answer {
        let began = Instant::now();
        while !self.take() {
            assert!(began.elapsed() < PATIENCE, "no end after {} bytes", self.answer.body.len());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.answer
    }
}

/// Takes of each what there is, again and again, and hands over those that have ended.
pub fn finish_together(mut coming: Vec<Coming>, mut see: impl FnMut(Answer)) {
    while !coming.is_empty() {
        coming.extract_if(.., Coming::take).for_each(|ended| see(ended.answer));
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |head| head.status)
    }

    pub fn field(&self, name: &str) -> &str {
        let head = self.head.as_ref().expect("there is a head");
        head.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What Cache-Status says.
    pub fn cache_status(&self) -> String {
        self.head.as_ref().expect("there is a head").cache_status.to_string()
    }

    /// The body of an answer that came whole.
    #[track_caller]
    pub fn whole(self) -> Vec<u8> {
        assert_eq!(self.failure, None);
        let length = self.head.expect("there is a head").content_length;
        assert!(length.is_none_or(|length| length == self.body.len() as u64), "{length:?}");
        self.body
    }
}
