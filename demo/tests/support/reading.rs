#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
//! Reads whose every byte is compared, of bundles that may be whole or damaged.

use std::net::SocketAddr;
use std::path::Path;

use control_client::health::HealthReport;

use super::http::Connection;
use super::site::{Sample, Site, eventually};

/// So many bundles with two objects each.
pub fn samples(path: &str, count: usize, object_bytes: usize) -> Vec<Sample> {
    (0..count).map(|index| Sample::new(&format!("{path}/{index}"), 1, 2, object_bytes)).collect()
}

/// Publishes on several threads: most of the time goes into waiting for the disk to sync.
pub fn publish_all(samples: &[Sample], volume: &Path) {
    std::thread::scope(|scope| {
        for part in samples.chunks(samples.len().div_ceil(8)) {
            scope.spawn(move || part.iter().for_each(|sample| sample.publish(volume)));
        }
    });
}

/// Waits until so many bundles serve.
pub fn wait_until_serving(site: &Site, count: usize) {
    eventually("every bundle serves", || site.serving().len() == count);
}

/// Whether health gives a reason.
pub fn has_reason(health: &HealthReport, code: &str) -> bool {
    health.reasons.iter().any(|reason| reason.code == code)
}

/// A GET that has to bring the right bytes.
pub fn read_right(connection: &mut Connection, sample: &Sample, object: &str) {
    let answer = connection.get(&sample.request_path(object)).expect("an answer");
    assert_eq!(answer.head.status, 200, "{}/{object}", sample.path);
    assert!(answer.body == sample.bytes(object), "{}/{object}: wrong bytes", sample.path);
}

/// How a request of a damaged object ended, where every byte that came was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Right,
    Refused(u16),
    CutOff,
}

/// A GET of which any end is good that sends no wrong byte and does not look complete when it is not.
pub fn read_carefully(http: SocketAddr, sample: &Sample, object: &str) -> End {
    let expected = sample.bytes(object);
    let mut connection = Connection::open(http).expect("a connection");
    let Ok(head) = connection.begin_get(&sample.request_path(object), None) else { return End::CutOff };
    if head.status != 200 {
        assert!(matches!(head.status, 404 | 503), "{}/{object}: {}", sample.path, head.status);
        let body = connection.finish(head.clone()).expect("a refusal is whole").body;
        assert_ne!(body, expected);
        return End::Refused(head.status);
    }
    assert_eq!(head.content_length(), expected.len() as u64);
    for (index, piece) in expected.chunks(1000).enumerate() {
        match connection.read_bytes(piece.len()) {
            Ok(bytes) => {
                assert!(bytes == piece, "{}/{object}: wrong bytes near {}", sample.path, index * 1000)
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET), "{}/{object}: {error}", sample.path);
                return End::CutOff;
            }
        }
    }
    End::Right
}
