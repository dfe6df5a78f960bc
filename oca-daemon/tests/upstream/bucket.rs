//! Buckets of S3.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use control_client::breaker::FAILURES_TO_OPEN;
use control_client::config::{PullConfig, S3Config, UnsafeMethods, UpstreamConfig};
use http::Method;
use oca_daemon::pull::PullFailure;

use crate::edge::{Edge, upstreams};
use crate::origin::{Origin, bytes, send};
use crate::scripts::{FRESH, file};

/// Names that no object has, or that a bucket would answer with a list of its objects.
const NO_OBJECTS: [&str; 8] = ["/", "/a/", "//", "//a", "/a//b", "/%FF", "/a%2Fb", "/a/?list-type=2"];

/// The bucket `films` of a server, and somebody who may read what is below `nightly/` in it.
struct Bucket {
    endpoint: String,
    credentials: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bucket {
    fn at(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        std::fs::write(&credentials, "aws_access_key_id = testing\naws_secret_access_key = testing\n")
            .unwrap();
        Self { endpoint: endpoint.to_owned(), credentials, _folder: folder }
    }

    fn signed(&self) -> UpstreamConfig {
        self.asked_with(Some(self.credentials.clone()))
    }

    fn asked_with(&self, credentials: Option<PathBuf>) -> UpstreamConfig {
        let s3 = S3Config {
            bucket: "films".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(self.endpoint.clone()),
            key_prefix: "nightly/".to_owned(),
            credentials,
        };
        UpstreamConfig { name: "bucket".to_owned(), url: None, host: None, s3: Some(s3) }
    }
}

#[test]
fn a_name_that_no_object_has_is_absent_and_the_bucket_is_not_asked() {
    let origin = file("a", FRESH, bytes(22, 1000));
    let bucket = Bucket::at(&origin.url());
    for (number, upstream) in [bucket.signed(), bucket.asked_with(None)].into_iter().enumerate() {
        let edge = Edge::start(PullConfig { upstreams: vec![upstream], ..upstreams(&[]) });
        for target in NO_OBJECTS {
            assert_eq!(edge.get(target).failure, Some(PullFailure::NoObject), "{target}");
            let head = edge.ask(Method::HEAD, target, &[]).finish();
            assert_eq!(head.failure, Some(PullFailure::NoObject), "{target}");
        }
        assert_eq!(origin.count(), number);
        assert!(!edge.stats.upstreams[0].is_open());
        assert_eq!(edge.get("/films/a%20b.mp4?x=1").whole().len(), 1000);
        let target = &origin.asked()[number].target;
        assert!(target.starts_with("/films/nightly/films/a%20b.mp4"), "{target}");
        assert_eq!(target.contains("X-Amz-Signature="), number == 0, "{target}");
    }
}

#[test]
fn what_can_be_no_object_of_a_bucket_is_asked_of_the_other_upstreams() {
    let asked_in_vain = file("a", FRESH, bytes(23, 10));
    let bucket = Bucket::at(&asked_in_vain.url());
    let server = Origin::start(|asked, stream| match asked.target.as_str() {
        "/a/" => send(stream, "200 OK", FRESH, b"a page"),
        _ => send(stream, "404 Not Found", FRESH, b"nothing"),
    });
    for is_bucket_first in [true, false] {
        let mut config = upstreams(&[server.url()]);
        config.upstreams.insert(usize::from(!is_bucket_first), bucket.signed());
        let edge = Edge::start(config);
        assert_eq!(edge.get("/a/").whole(), b"a page");
        let absent = edge.get("//");
        assert_eq!((absent.status(), &absent.body[..]), (404, &b"nothing"[..]));
    }
    assert_eq!(asked_in_vain.count(), 0);
}

#[test]
fn who_is_refused_by_a_bucket_turns_to_the_other_upstreams_and_clients_do_not_see_why() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let refusing = Origin::start(move |_, stream| send(stream, status, FRESH, b"the key is AKIA"));
        let bucket = Bucket::at(&refusing.url());
        let edge = Edge::start(PullConfig { upstreams: vec![bucket.signed()], ..upstreams(&[]) });
        let answer = edge.get("/a.mp4");
        assert_eq!((answer.failure, &answer.body[..]), (Some(PullFailure::Invalid), &b""[..]));
        let server = file("a", FRESH, bytes(24, 1000));
        let mut config = upstreams(&[server.url()]);
        config.upstreams.insert(0, bucket.signed());
        assert_eq!(Edge::start(config).get("/a.mp4").whole().len(), 1000);
        assert_eq!(refusing.count(), 2);
    }
}

/// Found in review: nobody learnt that it was there, and so it was asked by one request at a time for as long as it refused us.
#[test]
fn a_bucket_that_was_silent_and_refuses_us_now_is_there_and_not_left_alone_any_more() {
    let is_silent = Arc::new(AtomicBool::new(true));
    let silent = Arc::clone(&is_silent);
    let refusing = Origin::start(move |_, stream| {
        if silent.load(SeqCst) {
            // Longer than anybody waits.
            sleep(Duration::from_secs(10));
            return false;
        }
        send(stream, "403 Forbidden", "", b"the key is AKIA")
    });
    let bucket = Bucket::at(&refusing.url());
    let first_byte_timeout = Duration::from_secs(1);
    let config = PullConfig { upstreams: vec![bucket.signed()], first_byte_timeout, ..upstreams(&[]) };
    let edge = Edge::start(config);
    let in_vain: Vec<_> = (0..FAILURES_TO_OPEN).map(|n| edge.begin(&format!("/silent/{n}.mp4"))).collect();
    for coming in in_vain {
        assert_eq!(coming.finish().failure, Some(PullFailure::TimedOut));
    }
    assert!(edge.stats.upstreams[0].is_open());

    is_silent.store(false, SeqCst);
    let (began, mut number) = (Instant::now(), 0);
    while edge.stats.upstreams[0].is_open() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is left alone still");
        sleep(Duration::from_millis(50));
        number += 1;
        assert!(edge.get(&format!("/{number}.mp4")).failure.is_some(), "it refuses us");
    }
    assert_eq!(edge.get("/afterwards.mp4").failure, Some(PullFailure::Invalid));
}

#[test]
fn a_bucket_is_asked_to_change_nothing() {
    let origin = Origin::start(|_, stream| send(stream, "200 OK", FRESH, b"done"));
    let bucket = Bucket::at(&origin.url());
    let config = PullConfig { upstreams: vec![bucket.signed()], ..upstreams(&[]) };
    let edge = Edge::start(PullConfig { unsafe_methods: UnsafeMethods::Pass, ..config });
    for method in [Method::PUT, Method::POST, Method::DELETE] {
        assert_eq!(edge.ask(method, "/a.mp4", &[]).finish().failure, Some(PullFailure::NoObject));
    }
    assert_eq!(origin.count(), 0);
}

// ---- with a server of S3, which .ci/s3 starts: it gives objects to who may read them, and checks every signature ----

/// An object of its bucket, whose name is `nightly/a film.mp4`.
const FILM: &str = "/a%20film.mp4";

/// The server's bucket with the credentials of who may read it, and the bytes of its film.
fn served() -> (Bucket, Vec<u8>) {
    let said = |name: &str| std::env::var(name).unwrap();
    let bucket = Bucket::at(&said("OCA_TEST_S3_URL"));
    // A copy, as tests change it.
    std::fs::copy(said("OCA_TEST_S3_CREDENTIALS"), &bucket.credentials).unwrap();
    (bucket, std::fs::read(said("OCA_TEST_S3_FILE")).unwrap())
}

#[track_caller]
fn check_that_it_is_refused(edge: &Edge) {
    for answer in [edge.get(FILM), edge.get_range(FILM, "bytes=2000000-2000099")] {
        assert_eq!(answer.failure, Some(PullFailure::Invalid));
    }
}

#[test]
#[ignore = "needs a server of S3; .ci/s3 runs it with one"]
fn objects_of_a_bucket_are_pulled_whole_and_by_ranges_with_signed_requests() {
    let (bucket, body) = served();
    let edge = Edge::start(PullConfig { upstreams: vec![bucket.signed()], ..upstreams(&[]) });
    let range = edge.get_range(FILM, "bytes=2000000-2000099");
    assert_eq!(range.status(), 206);
    assert!(range.field("etag").starts_with('"') && range.field("x-amz-request-id").is_empty());
    assert!(range.whole() == body[2_000_000..2_000_100]);
    assert!(edge.get(FILM).whole() == body);
    let answer = edge.get(FILM);
    assert!(answer.cache_status().starts_with(";hit"), "{}", answer.cache_status());
    assert!(answer.whole() == body);
    assert_eq!(edge.get("/absent.mp4").status(), 404);
    for target in ["/", "/a%20film.mp4/", "//", "/%FF"] {
        assert_eq!(edge.get(target).failure, Some(PullFailure::NoObject), "{target}");
    }
}

#[test]
#[ignore = "needs a server of S3; .ci/s3 runs it with one"]
fn objects_of_a_bucket_that_refuses_an_unsigned_request_are_not_had() {
    let (bucket, _) = served();
    let config = PullConfig { upstreams: vec![bucket.asked_with(None)], ..upstreams(&[]) };
    check_that_it_is_refused(&Edge::start(config));
}

#[test]
#[ignore = "needs a server of S3; .ci/s3 runs it with one"]
fn objects_of_a_bucket_are_not_had_with_a_wrong_secret_and_are_once_it_is_right() {
    let (bucket, body) = served();
    let right = std::fs::read_to_string(&bucket.credentials).unwrap();
    // The secret is the last line.
    std::fs::write(&bucket.credentials, format!("{}x\n", right.trim_end())).unwrap();
    let edge = Edge::start(PullConfig { upstreams: vec![bucket.signed()], ..upstreams(&[]) });
    check_that_it_is_refused(&edge);
    std::fs::write(&bucket.credentials, right).unwrap();
    let edge = edge.restarted();
    let answer = edge.get(FILM);
    assert_eq!(answer.status(), 200);
    assert!(answer.cache_status().starts_with(";fwd=uri-miss"), "{}", answer.cache_status());
    assert!(answer.whole() == body);
}
