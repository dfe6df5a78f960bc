//! Buckets of S3.

use std::path::PathBuf;

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

/// Run by `.ci/s3`, which starts a server of S3 and says in `OCA_TEST_S3_URL` where it is. Its bucket `films` has the object
/// `nightly/a film.mp4`, of which the file in `OCA_TEST_S3_FILE` is a copy.
#[test]
#[ignore = "needs a server of S3; .ci/s3 runs it with one"]
fn objects_of_a_bucket_are_pulled_whole_and_by_ranges_with_signed_requests() {
    let (url, file) = (std::env::var("OCA_TEST_S3_URL").unwrap(), std::env::var("OCA_TEST_S3_FILE").unwrap());
    let body = std::fs::read(file).unwrap();
    let bucket = Bucket::at(&url);
    let edge = Edge::start(PullConfig { upstreams: vec![bucket.signed()], ..upstreams(&[]) });
    let range = edge.get_range("/a%20film.mp4", "bytes=2000000-2000099");
    assert_eq!(range.status(), 206);
    assert!(range.field("etag").starts_with('"') && range.field("x-amz-request-id").is_empty());
    assert!(range.whole() == body[2_000_000..2_000_100]);
    assert!(edge.get("/a%20film.mp4").whole() == body);
    let answer = edge.get("/a%20film.mp4");
    assert!(answer.cache_status().starts_with(";hit"), "{}", answer.cache_status());
    assert!(answer.whole() == body);
    assert_eq!(edge.get("/absent.mp4").status(), 404);
    for target in ["/", "/a%20film.mp4/", "//", "/%FF"] {
        assert_eq!(edge.get(target).failure, Some(PullFailure::NoObject), "{target}");
    }
}
