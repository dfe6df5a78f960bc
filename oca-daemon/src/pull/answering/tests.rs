//! Clients for whom upstream is not asked, and what they are given of what another has asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use cache_store::{Store, StoreOptions, Volume, VolumeOptions};
use control_client::config::{PullConfig, ServeConfig, UpstreamConfig};
use control_client::units::ByteCount;
use http::header::{CACHE_CONTROL, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tempfile::TempDir;

use super::answer;
use crate::mailbox::mailbox;
use crate::pull::blocks::{BLOCK_BYTES, Part};
use crate::pull::caching::{Selecting, StoredHead};
use crate::pull::flight::{Arrival, ArrivalHead, Boarded, Landing, Sharing, Wish};
use crate::pull::pipe::{Piece, pipe};
use crate::pull::service::Pull;
use crate::pull::stats::PullStats;
use crate::pull::{PullFailure, PullRequest};
use crate::request::Scheme;
use crate::token::ConnectionId;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

const FILM: &str = "/film.mp4";
const SCANNER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What the tasks of the service share, over a volume in a folder.
struct Site {
    pull: Arc<Pull>,
    store: Arc<Store>,
    /// Never says a word.
    upstream: TcpListener,
    _folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume");
        Volume::init(&path).unwrap();
        let options = StoreOptions {
            volumes: vec![VolumeOptions { path, mount_required: false }],
            footer_cache: ByteCount::mib(1),
            open_bundles: 4,
            open_queue: 4,
            volume_errors: 8,
        };
        let store = Store::open(options).unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        upstream.set_nonblocking(true).unwrap();
        let url = format!("http://{}", upstream.local_addr().unwrap());
        let origin = UpstreamConfig { name: "origin".to_owned(), url: Some(url), host: None, s3: None };
        let config = PullConfig {
            upstreams: vec![origin],
            first_byte_timeout: Duration::from_secs(1),
            missed_purges: Some(folder.path().join("missed-purges")),
            ..PullConfig::default()
        };
        let stats = Arc::new(PullStats::new(&config, 1));
        let pull = Pull::new(&config, &ServeConfig::default(), "oca", &store, stats).unwrap();
        Self { pull: Arc::new(pull), store, upstream, _folder: folder }
    }

    /// Another client's flight, which has brought the head and the first bytes of all of the film, and brings no more for now.
    fn begin_film(&self) -> Boarded {
        let variant = self.pull.habits.variant(&HeaderMap::new(), &[]);
        let wish = Wish { part: Part::Whole, place: 0, variant, filling: None, not_before: None };
        let boarded = self.pull.flights.board_if(&FILM.into(), &wish, || true).unwrap();
        let flight = boarded.new_flight.as_ref().unwrap();
        let now = SystemTime::now();
        let head = StoredHead {
            status: StatusCode::OK,
            is_to_credentials: false,
            fields: HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("max-age=600"))]),
            selecting: Selecting::default(),
            request_time: now,
            response_time: now,
            total_length: Some(8 * BLOCK_BYTES),
        };
        let head = ArrivalHead::Storable(Arc::new(head));
        flight.land(Landing::Arrived(Arc::new(Arrival { head, sharing: Sharing::Everyone, start: 0 })));
        flight.push(Bytes::from_static(b"the first bytes"));
        boarded
    }

    /// Has the client asked for too many absent names, again and again: that is forgotten after a while.
    async fn keep_barred(&self, client: IpAddr) {
        loop {
            while !self.pull.absences.are_too_many(client) {
                self.pull.absences.note(client);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Why a client that is barred is given no answer to a request for that part of the film; `None` where it is given one.
    async fn refusal(&self, client: IpAddr, range: &'static str) -> Option<PullFailure> {
        let request = PullRequest {
            method: Method::GET,
            target: FILM.to_owned(),
            fields: HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]),
            scheme: Scheme::Http,
            authority: "edge".to_owned(),
            peer: SocketAddr::new(client, 1),
            content: Bytes::new(),
        };
        let (mailbox, _letters) = mailbox().unwrap();
        let (writer, mut reader) = pipe(mailbox, ConnectionId { slot: 0, generation: 0 }, 1);
        tokio::select! {
            biased;
            () = self.keep_barred(client) => {}
            () = answer(Arc::clone(&self.pull), request, writer) => {}
        }
        match reader.take() {
            Some(Piece::Failed(failure)) => Some(failure),
            _ => None,
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.pull.demand.stop(Instant::now() + PATIENCE);
        self.store.close();
    }
}

/// Found in review: it went to upstream by a request of its own, as those do who may.
#[test]
fn who_is_barred_and_waits_in_vain_for_what_another_has_asked_for_is_refused_and_upstream_is_not_asked() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let site = Site::new();
    let _others = site.begin_film();
    // Near enough to wait for, and far enough not to wait for ever.
    let refused = site.refusal(SCANNER, "bytes=3145728-3145737");
    let refused = runtime.block_on(async { tokio::time::timeout(PATIENCE, refused).await });
    assert_eq!(refused.expect("it ends"), Some(PullFailure::Busy));
    assert!(site.upstream.accept().is_err(), "nobody has connected");
}
