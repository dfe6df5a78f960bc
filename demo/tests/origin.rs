//! The origin's role as a process of its own: what it sends, what it counts, and its switches.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
}

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use demo::origin::{OriginFault, OriginProcess, Wrong};
use demo::random::Random;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use support::http::Connection;

const OBJECT: &str = "/titles/a b/1.m4s";

/// An origin with one object of 300,000 bytes.
fn origin() -> (Runtime, TempDir, OriginProcess, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let bytes = Random::new(1).bytes(300_000);
    fs::create_dir_all(tree.join("titles/a b")).unwrap();
    fs::write(tree.join(&OBJECT[1..]), &bytes).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_demo"));
    let origin = runtime.block_on(OriginProcess::start(program, &tree)).unwrap();
    (runtime, folder, origin, bytes)
}

#[test]
fn objects_come_whole_and_by_ranges_and_every_byte_is_counted() {
    let (runtime, _folder, origin, bytes) = origin();
    let mut connection = Connection::open(origin.address()).unwrap();
    let whole = connection.get("/titles/a%20b/1.m4s").unwrap();
    assert_eq!(whole.head.status, 200);
    assert!(whole.body == bytes);
    let part = connection.get_range("/titles/a%20b/1.m4s", 1000..250_000).unwrap();
    assert_eq!(part.head.status, 206);
    assert!(part.body == bytes[1000..250_000]);
    assert_eq!(connection.get("/titles/b").unwrap().head.status, 404);
    assert_eq!(connection.get("/titles").unwrap().head.status, 404);

    let counters = runtime.block_on(origin.counters()).unwrap();
    assert_eq!((counters.requests, counters.body_bytes, counters.open_responses), (2, 549_000, 0));
    assert_eq!(counters.objects[OBJECT].requests, 2);
    assert!(runtime.block_on(origin.stop()).unwrap().success());
}

#[test]
fn a_resumption_of_what_is_unchanged_is_a_part_and_of_anything_else_the_whole() {
    let (_runtime, folder, origin, bytes) = origin();
    let mut connection = Connection::open(origin.address()).unwrap();
    let etag = connection.get("/titles/a%20b/1.m4s").unwrap().head.field("etag").unwrap().to_owned();
    let mut resume = |etag: &str| {
        let request = format!(
            "GET /titles/a%20b/1.m4s HTTP/1.1\r\nHost: test\r\nRange: bytes=299000-\r\nIf-Range: {etag}\r\n\r\n"
        );
        connection.send(request.as_bytes()).unwrap();
        let head = connection.read_head().unwrap();
        connection.finish(head).unwrap()
    };
    let part = resume(&etag);
    assert_eq!(part.head.status, 206);
    assert!(part.body == bytes[299_000..]);
    fs::write(folder.path().join("tree").join(&OBJECT[1..]), Random::new(2).bytes(300_000)).unwrap();
    let whole = resume(&etag);
    assert_eq!((whole.head.status, whole.body.len()), (200, 300_000));
    assert_ne!(whole.head.field("etag"), Some(etag.as_str()));
}

#[test]
fn its_switches_make_it_slow_silent_short_and_wrong() {
    let (runtime, _folder, origin, bytes) = origin();
    let get = |wrong: Option<Wrong>| {
        let faults: Vec<OriginFault> =
            wrong.into_iter().map(|wrong| OriginFault { paths: "/titles/a".to_owned(), wrong }).collect();
        runtime.block_on(origin.set_faults(&faults)).unwrap();
        let mut connection = Connection::open(origin.address()).unwrap();
        let head = connection.begin_get("/titles/a%20b/1.m4s", None).unwrap();
        (head.status, connection.finish(head).map(|answer| answer.body))
    };
    assert_eq!(get(Some(Wrong::Status { status: 503 })).0, 503);
    let (status, body) = get(Some(Wrong::WrongBytes));
    assert_eq!(status, 200);
    let different = body.unwrap().iter().zip(&bytes).filter(|(sent, right)| sent != right).count();
    assert_eq!(different, 1);
    assert!(get(Some(Wrong::Cut { after_bytes: 100_000 })).1.is_err());
    let began = Instant::now();
    assert!(get(Some(Wrong::Slow { bytes_per_second: 600_000 })).1.unwrap() == bytes);
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    assert!(get(None).1.unwrap() == bytes);
}
