//! The client of the control plane against a real server on a real socket: as it should be, slow, talking nonsense, endless,
//! refusing, gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use control_client::content::{BundleKey, BundlePath, Generation, Sha256};
use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneError, ControlPlaneTimeouts};
use control_client::fill_manifest::SignedManifest;
use control_client::fleet::ApplianceName;
use control_client::limits;
use control_client::report::{Enrolment, Report};
use control_client::sources::{SourcesAnswer, SourcesRequest};
use control_client::token::Token;
use control_client::wire::DocumentVersion;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Sleep;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const MANIFEST: &str = include_str!("golden/signed_manifest.json");
const REPORT: &str = include_str!("golden/report.json");
const REPORT_ANSWER: &str = include_str!("golden/report_answer.json");

/// What the server saw of a request.
#[derive(Debug)]
struct Seen {
    method: String,
    path: String,
    fields: Vec<(String, String)>,
    content: Vec<u8>,
}

impl Seen {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A body of many pieces with a pause before each; it may break off at the end.
struct Drip {
    piece: Bytes,
    left: u64,
    pause: Duration,
    breaks_off: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Body for Drip {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let pause = self.pause;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        if self.left == 0 {
            let end = self.breaks_off.then(|| Err(std::io::Error::other("breaks off")));
            return Poll::Ready(end);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}

fn drip(piece: &'static [u8], count: u64, pause: Duration) -> Drip {
    Drip { piece: Bytes::from_static(piece), left: count, pause, breaks_off: false, sleep: None }
}

type Answer = Response<Either<Full<Bytes>, Drip>>;

fn answer(status: u16, fields: &[(&str, &str)], content: impl Into<Bytes>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(Either::Left(Full::new(content.into()))).expect("a response")
}

fn dripping(status: u16, body: Drip) -> Answer {
    Response::builder().status(status).body(Either::Right(body)).expect("a response")
}

/// A server that gives every request what `answer` makes of it, and tells what it saw.
struct Server {
    url: String,
    seen: Receiver<Seen>,
}

impl Server {
    async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Seen) -> Answer + Clone + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (sender, seen) = mpsc::channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, sender) = (answer.clone(), sender.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, sender) = (answer.clone(), sender.clone());
                    async move {
                        let seen = see(request).await;
                        let response = answer(&seen);
                        // A test that has seen enough may be over.
                        let _ = sender.send(seen);
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(async move {
                    // A client that has enough may hang up.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { url, seen }
    }

    fn client(&self) -> ControlPlaneClient {
        client_of(&self.url)
    }

    fn seen(&self) -> Seen {
        self.seen.try_recv().expect("a request")
    }
}

async fn see(request: Request<Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    Seen {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        fields: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        content: body.collect().await.expect("readable").to_bytes().into(),
    }
}

/// Long enough for a busy machine, short enough for a test.
const TIMEOUTS: ControlPlaneTimeouts = ControlPlaneTimeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_millis(500),
    exchange: Duration::from_millis(1500),
};

fn client_of(url: &str) -> ControlPlaneClient {
    let appliance = ApplianceName::parse("oca-1").expect("a name");
    ControlPlaneClient::new(url, appliance, &Token::parse(TOKEN).expect("a token"), TIMEOUTS).expect("usable")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn report() -> Report {
    serde_json::from_str(REPORT).expect("readable")
}

fn bundles(count: u64) -> SourcesRequest {
    let key = |number| BundleKey {
        path: BundlePath::parse(&format!("/titles/t{number}")).expect("a path"),
        generation: Generation::new(1),
    };
    SourcesRequest { version: DocumentVersion, bundles: (0..count).map(key).collect() }
}

/// One origin for every bundle that was asked for.
fn sources_of(content: &[u8]) -> serde_json::Value {
    let request: SourcesRequest = serde_json::from_slice(content).expect("readable");
    let source = json!({ "kind": "origin", "name": "origin", "url": "http://192.0.2.1", "after_seconds": 0 });
    let bundles: Vec<_> =
        request.bundles.iter().map(|bundle| json!({ "bundle": bundle, "sources": [source] })).collect();
    json!({ "version": 1, "bundles": bundles })
}

#[test]
fn every_call_goes_where_it_should_with_the_token_and_its_document() {
    block_on(async {
        let server = Server::start(|seen| match (seen.method.as_str(), seen.path.as_str()) {
            ("PUT", "/v1/appliances/oca-1") => answer(204, &[], ""),
            ("POST", "/v1/appliances/oca-1/reports") => answer(200, &[], REPORT_ANSWER),
            ("GET", "/v1/appliances/oca-1/manifest") => answer(200, &[("etag", "\"812\"")], MANIFEST),
            ("POST", "/v1/appliances/oca-1/sources") => {
                answer(200, &[], sources_of(&seen.content).to_string())
            }
            ("GET", path) if path.starts_with("/v1/descriptors/") => answer(200, &[], &b"\x00the bytes"[..]),
            _ => answer(404, &[], ""),
        })
        .await;
        let client = server.client();

        let enrolment: Enrolment =
            serde_json::from_str(include_str!("golden/enrolment.json")).expect("readable");
        client.enrol(&enrolment).await.expect("enrolled");
        let seen = server.seen();
        assert_eq!(seen.field("authorization"), Some("Bearer 0123456789abcdef0123456789abcdef"));
        assert_eq!(seen.field("content-type"), Some("application/json"));
        assert_eq!(serde_json::from_slice::<Enrolment>(&seen.content).expect("readable"), enrolment);

        let report_answer = client.report(&report()).await.expect("answered");
        assert_eq!((report_answer.sequence, report_answer.directives.len()), (1207, 4));
        assert_eq!(serde_json::from_slice::<Report>(&server.seen().content).expect("readable"), report());

        let manifest = client.manifest(None).await.expect("answered").expect("there is one");
        assert_eq!(manifest, serde_json::from_str::<SignedManifest>(MANIFEST).expect("readable"));
        assert_eq!(server.seen().field("if-none-match"), None);

        let sources = client.sources(&bundles(2)).await.expect("answered");
        assert_eq!(sources.check(&bundles(2)), Ok(()));
        server.seen();

        let digest = Sha256::new([10; 32]);
        assert_eq!(client.descriptor(&digest).await.expect("answered"), b"\x00the bytes");
        let seen = server.seen();
        assert_eq!(seen.path, format!("/v1/descriptors/{}", "0a".repeat(32)));
        assert_eq!(seen.field("authorization"), Some("Bearer 0123456789abcdef0123456789abcdef"));
    });
}

#[test]
fn a_path_in_the_url_goes_before_the_calls() {
    block_on(async {
        let server = Server::start(|_| answer(200, &[], MANIFEST)).await;
        client_of(&format!("{}/edge/", server.url)).manifest(None).await.expect("answered");
        assert_eq!(server.seen().path, "/edge/v1/appliances/oca-1/manifest");
    });
}

#[test]
fn a_manifest_that_is_known_or_not_made_yet_is_none() {
    block_on(async {
        let server = Server::start(|seen| match seen.field("if-none-match") {
            Some("\"812\"") => answer(304, &[("etag", "\"812\"")], ""),
            Some(_) => answer(200, &[], MANIFEST),
            None => answer(404, &[], r#"{"error": "no_manifest", "detail": "none yet"}"#),
        })
        .await;
        let client = server.client();
        assert_eq!(client.manifest(Some(812)).await, Ok(None));
        assert!(client.manifest(Some(811)).await.expect("answered").is_some());
        assert_eq!(client.manifest(None).await, Ok(None));

        let server = Server::start(|_| answer(304, &[], "")).await;
        let unasked = server.client().manifest(None).await.expect_err("nothing was said to be known");
        assert!(matches!(unasked, ControlPlaneError::Refused { status: 304, .. }), "{unasked:?}");
    });
}

#[test]
fn a_token_that_is_not_accepted_is_the_appliances_operators_to_mend() {
    block_on(async {
        for status in [401, 403] {
            let server = Server::start(move |_| {
                answer(status, &[], r#"{"error": "unknown_token", "detail": "no appliance has this token"}"#)
            })
            .await;
            let error = server.client().report(&report()).await.expect_err("refused");
            assert!(matches!(error, ControlPlaneError::Unauthorised { .. }) && !error.is_temporary());
            let text = error.to_string();
            assert!(text.contains("no appliance has this token (unknown_token, status 40"), "{text}");
            assert!(text.contains("do control.appliance and control.token_file belong together?"), "{text}");
        }
    });
}

#[test]
fn a_redirect_is_not_followed_and_the_token_stays_here() {
    block_on(async {
        let elsewhere = Server::start(|_| answer(200, &[], MANIFEST)).await;
        let target = format!("{}/v1/appliances/oca-1/manifest", elsewhere.url);
        let server = Server::start(move |_| answer(302, &[("location", &target)], "")).await;
        let error = server.client().manifest(None).await.expect_err("refused");
        assert!(matches!(error, ControlPlaneError::Refused { status: 302, .. }), "{error:?}");
        assert!(elsewhere.seen.try_recv().is_err(), "nobody came here");
    });
}

#[test]
fn a_control_plane_that_cannot_answer_now_may_say_when_it_can() {
    block_on(async {
        for (field, expected) in [
            ("7", Some(Duration::from_secs(7))),
            ("99999999", Some(limits::RETRY_AFTER_MAX)),
            ("Sat, 21 Nov 2026 05:00:00 GMT", None),
            ("-1", None),
        ] {
            let server = Server::start(move |_| answer(503, &[("retry-after", field)], "busy")).await;
            let error = server.client().report(&report()).await.expect_err("busy");
            assert!(
                error.is_temporary() && error.to_string().contains("busy (unexpected_answer, status 503)")
            );
            assert_eq!(error.retry_after(), expected, "{field}");
        }
        for status in [408, 429, 500, 502, 599] {
            let server = Server::start(move |_| answer(status, &[], "")).await;
            let error = server.client().report(&report()).await.expect_err("busy");
            assert!(matches!(error, ControlPlaneError::Unavailable { .. }), "{status}: {error:?}");
        }
    });
}

#[test]
fn what_is_gone_is_told_from_what_is_refused() {
    block_on(async {
        for status in [404, 410] {
            let server = Server::start(move |_| {
                answer(status, &[], r#"{"error": "no_such_descriptor", "detail": "it was replaced"}"#)
            })
            .await;
            let error = server.client().descriptor(&Sha256::new([0; 32])).await.expect_err("gone");
            assert!(matches!(error, ControlPlaneError::Absent { .. }) && error.is_temporary());
            assert!(error.to_string().contains("it was replaced (no_such_descriptor)"), "{error}");
        }
        let server = Server::start(|_| answer(422, &[], "")).await;
        let error = server.client().report(&report()).await.expect_err("refused");
        assert!(matches!(error, ControlPlaneError::Refused { status: 422, .. }) && !error.is_temporary());
    });
}

#[test]
fn nonsense_is_not_taken_for_an_answer() {
    block_on(async {
        let other_version = REPORT_ANSWER.replace("\"version\": 1", "\"version\": 2");
        let other_report = REPORT_ANSWER.replace("\"sequence\": 1207", "\"sequence\": 1206");
        let nonsense: [(Vec<u8>, &str); 6] = [
            (b"<html>Welcome to the hotel</html>".to_vec(), "the answer cannot be read"),
            (Vec::new(), "the answer cannot be read"),
            (b"\xff\xfe".to_vec(), "the answer cannot be read"),
            (b"{}".to_vec(), "missing field"),
            (other_version.into_bytes(), "the document has version 2"),
            (other_report.into_bytes(), "report 1207 was sent, and report 1206 is acknowledged"),
        ];
        for (content, what) in nonsense {
            let server = Server::start(move |_| answer(200, &[], content.clone())).await;
            let error = server.client().report(&report()).await.expect_err("nonsense");
            assert!(matches!(error, ControlPlaneError::Unintelligible(_)) && error.is_temporary());
            assert!(error.to_string().contains(what), "{error}");
        }
        let server = Server::start(|_| answer(204, &[], "")).await;
        assert!(matches!(server.client().report(&report()).await, Err(ControlPlaneError::Unintelligible(_))));
    });
}

#[test]
fn sources_that_were_not_asked_for_or_cannot_be_used_are_refused() {
    block_on(async {
        let asked = json!({ "path": "/titles/t0", "generation": 1 });
        let of = |bundle: &serde_json::Value, url: &str, name: &str| {
            let source = json!({ "kind": "peer", "name": name, "url": url, "after_seconds": 0 });
            json!({ "bundle": bundle, "sources": [source] })
        };
        let many = json!({ "bundle": asked, "sources": vec![of(&asked, "http://a", "a")["sources"][0].clone(); 65] });
        let never = json!({ "kind": "origin", "name": "o", "url": "http://a", "after_seconds": 86_401 });
        let never = json!({ "bundle": asked, "sources": [never] });
        let not_asked = json!({ "path": "/titles/t9", "generation": 1 });
        for (bundles, what) in [
            (vec![of(&not_asked, "http://a", "a")], "/titles/t9 (generation 1), which was not asked for"),
            (vec![of(&asked, "http://a", "a"), of(&asked, "http://a", "a")], "or twice"),
            (vec![of(&asked, "file:///etc/passwd", "a")], "a URL is http://HOST"),
            (vec![of(&asked, "http://a/?b", "a")], "a URL is http://HOST"),
            (vec![of(&asked, "http://a", "")], "its name is empty"),
            (vec![of(&asked, "http://a", "a\u{1b}[2J")], "not printable"),
            (vec![many], "65 sources of"),
            (vec![never], "due after 86401 s"),
        ] {
            let content = json!({ "version": 1, "bundles": bundles }).to_string();
            let server = Server::start(move |_| answer(200, &[], content.clone())).await;
            let one = self::bundles(1);
            let error = server.client().sources(&one).await.expect_err("refused");
            assert!(
                matches!(&error, ControlPlaneError::Unintelligible(found) if found.contains(what)),
                "{error}"
            );
        }
    });
}

#[test]
fn more_bundles_than_one_question_takes_are_asked_for_in_several() {
    block_on(async {
        let server = Server::start(|seen| answer(200, &[], sources_of(&seen.content).to_string())).await;
        let request = bundles(limits::SOURCES_BUNDLES_MAX as u64 + 1);
        let sources: SourcesAnswer = server.client().sources(&request).await.expect("answered");
        assert_eq!(sources.bundles.len(), request.bundles.len());
        assert_eq!(sources.check(&request), Ok(()));
        let asked = |seen: Seen| -> usize {
            serde_json::from_slice::<SourcesRequest>(&seen.content).expect("readable").bundles.len()
        };
        assert_eq!((asked(server.seen()), asked(server.seen())), (limits::SOURCES_BUNDLES_MAX, 1));
        assert!(server.seen.try_recv().is_err());
    });
}

#[test]
fn an_answer_longer_than_any_is_given_up_early_whether_it_says_its_length_or_not() {
    block_on(async {
        static BLOCK: [u8; 1 << 20] = [b' '; 1 << 20];
        let server = Server::start(|_| dripping(200, drip(&BLOCK, u64::MAX, Duration::ZERO))).await;
        let error = server.client().report(&report()).await.expect_err("endless");
        assert_eq!(error, ControlPlaneError::TooLarge { bytes_max: limits::REPORT_ANSWER_BYTES_MAX });
        assert!(error.to_string().contains("longer than 4 MiB"), "{error}");

        let said = (limits::REPORT_ANSWER_BYTES_MAX + 1).to_string();
        let server = Server::start(move |_| {
            let mut response = dripping(200, drip(b" ", u64::MAX, Duration::from_secs(60)));
            response.headers_mut().insert("content-length", said.parse().expect("a field"));
            response
        })
        .await;
        let error = server.client().report(&report()).await.expect_err("too long");
        assert!(matches!(error, ControlPlaneError::TooLarge { .. }), "{error:?}");

        let server = Server::start(|_| dripping(500, drip(&BLOCK, u64::MAX, Duration::ZERO))).await;
        let error = server.client().report(&report()).await.expect_err("endless");
        assert!(matches!(error, ControlPlaneError::Unavailable { status: 500, .. }), "{error:?}");
        assert!(error.to_string().len() < 1000);
    });
}

#[test]
fn an_answer_that_stalls_or_drips_is_given_up_in_time() {
    block_on(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = client_of(&format!("http://{}", silent.local_addr().expect("bound")));
        let started = Instant::now();
        let error = client.report(&report()).await.expect_err("silent");
        assert!(
            matches!(error, ControlPlaneError::TimedOut { after, .. } if after == TIMEOUTS.read),
            "{error:?}"
        );
        assert!(
            error.is_temporary() && error.to_string().contains("no whole answer within 500 ms"),
            "{error}"
        );

        let server = Server::start(|_| dripping(200, drip(b" ", 2, Duration::from_secs(60)))).await;
        let error = server.client().report(&report()).await.expect_err("stalled");
        assert!(
            matches!(error, ControlPlaneError::TimedOut { after, .. } if after == TIMEOUTS.read),
            "{error:?}"
        );

        let server = Server::start(|_| dripping(200, drip(b" ", u64::MAX, Duration::from_millis(50)))).await;
        let error = server.client().report(&report()).await.expect_err("dripping");
        assert!(
            matches!(error, ControlPlaneError::TimedOut { after, .. } if after == TIMEOUTS.exchange),
            "{error:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn a_control_plane_that_is_gone_or_breaks_off_is_unreachable() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let error = client_of(&url).report(&report()).await.expect_err("gone");
        assert!(matches!(error, ControlPlaneError::Unreachable { .. }) && error.is_temporary());
        let text = error.to_string();
        assert!(
            text.contains(&url) && text.contains("Connection refused") && !text.contains(TOKEN),
            "{text}"
        );

        let server = Server::start(|_| {
            dripping(200, Drip { breaks_off: true, ..drip(b"{", 3, Duration::from_millis(1)) })
        })
        .await;
        let error = server.client().report(&report()).await.expect_err("broken");
        assert!(matches!(error, ControlPlaneError::Unreachable { .. }), "{error:?}");

        let stranger = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", stranger.local_addr().expect("bound"));
        tokio::spawn(async move {
            let (mut stream, _) = stranger.accept().await.expect("accepted");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH\r\n").await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        });
        let error = client_of(&url).report(&report()).await.expect_err("no HTTP");
        assert!(matches!(error, ControlPlaneError::Unreachable { .. }), "{error:?}");
    });
}

#[test]
fn a_url_that_cannot_be_used_is_refused_before_anything_is_sent() {
    let appliance = ApplianceName::parse("oca-1").expect("a name");
    let token = Token::parse(TOKEN).expect("a token");
    for url in ["", "control.example.net", "ftp://a", "http://a/?b", "http://user:password@a"] {
        let error = ControlPlaneClient::new(url, appliance.clone(), &token, TIMEOUTS).expect_err("refused");
        assert!(matches!(error, ControlPlaneError::Unusable(_)) && !error.is_temporary());
        assert!(error.to_string().contains("mend it in the configuration's [control]"), "{error}");
    }
}

#[test]
fn the_token_is_in_no_debug_output() {
    let shown = format!("{:?}", client_of("http://192.0.2.1"));
    assert!(shown.contains("oca-1") && !shown.contains(TOKEN), "{shown}");
}
