//! The objects that the exchanges ask for. Their bytes follow from their place, so that any range can be compared.

use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::client::{Client, Head};

/// The objects of the store, by path.
pub(crate) struct Fixture {
    objects: Vec<(&'static str, Vec<u8>)>,
}

/// What is learned of the segment (`/wire/video/1.m4s`) before the exchanges are read, since it depends on
/// the import: the values of `{etag}`, `{modified}`, `{modified-1}` and `{modified+1}`.
pub(crate) struct Known {
    /// The entity tag, with its quotes.
    pub(crate) etag: String,
    /// Last-Modified, in seconds since 1970.
    pub(crate) modified: u64,
}

/// What the placeholders and the check for an open connection are about.
pub(crate) const SEGMENT: &str = "/wire/video/1.m4s";

/// How long the store may take over new bundles.
const ADOPTED_WITHIN: Duration = Duration::from_secs(20);

const LENGTHS: [(&str, usize); 12] = [
    (SEGMENT, 1000),
    ("/wire/video/2.m4s", 200_000),
    ("/wire/video/init.mp4", 800),
    ("/wire/video/empty.m4s", 0),
    ("/wire/video/playlist.m3u8", 300),
    ("/wire/manifest.mpd", 500),
    ("/wire/poster.jpg", 70_000),
    ("/wire/text/en.vtt", 120),
    ("/wire/names/a b.m4s", 10),
    ("/wire/names/é.m4s", 11),
    ("/wire/names/%2F.m4s", 12),
    ("/wire/names/[1080p].m4s", 13),
];

impl Fixture {
    /// Byte `i` of an object is `(i + i / 256 + length) % 256`.
    pub(crate) fn new() -> Self {
        let bytes = |length: usize| (0..length).map(|place| (place + place / 256 + length) as u8).collect();
        Self { objects: LENGTHS.iter().map(|&(path, length)| (path, bytes(length))).collect() }
    }

    /// Path and bytes of every object.
    pub(crate) fn objects(&self) -> Vec<(&str, &[u8])> {
        self.objects.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect()
    }

    /// The bytes of one object.
    pub(crate) fn object(&self, path: &str) -> Result<&[u8], String> {
        let found = self.objects.iter().find(|(known, _)| *known == path);
        found.map(|(_, bytes)| bytes.as_slice()).ok_or_else(|| format!("the fixture has no {path}"))
    }

    /// Waits until every object is served, since a store takes up new bundles in the background, and asks for
    /// the segment's validators.
    pub(crate) fn learn(&self, address: SocketAddr) -> Known {
        for (path, _) in &self.objects {
            let deadline = Instant::now() + ADOPTED_WITHIN;
            while head_of(address, path).status() != 200 {
                assert!(Instant::now() < deadline, "{path} is not served after {ADOPTED_WITHIN:?}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let head = head_of(address, SEGMENT);
        let modified = head.field("Last-Modified").and_then(|date| httpdate::parse_http_date(date).ok());
        let modified = modified.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
        let modified = modified.expect("the segment has a Last-Modified since 1970").as_secs();
        Known { etag: head.field("ETag").expect("the segment has an entity tag").to_owned(), modified }
    }
}

/// The answer to a HEAD for an object, whatever characters its name has.
fn head_of(address: SocketAddr, path: &str) -> Head {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.".contains(&byte);
    let escape =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let target: String = path.bytes().map(escape).collect();
    let mut client = Client::connect(address).expect("the daemon listens");
    client
        .send(format!("HEAD {target} HTTP/1.1\r\nHost: wire\r\n\r\n").as_bytes())
        .expect("the daemon reads");
    client.read_head().expect("the daemon answers")
}

impl Known {
    /// Stands in where exchanges are read and not played.
    pub(crate) fn example() -> Self {
        Self { etag: "\"example\"".to_owned(), modified: 784_111_777 }
    }

    /// Puts the values into a line.
    pub(crate) fn fill(&self, line: &str) -> String {
        let date = |seconds: u64| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        line.replace("{etag}", &self.etag)
            .replace("{modified}", &date(self.modified))
            .replace("{modified-1}", &date(self.modified - 1))
            .replace("{modified+1}", &date(self.modified + 1))
    }
}
