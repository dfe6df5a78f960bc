//! What is held, for how long, and what is asked for again.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use control_client::config::PullConfig;
use oca_daemon::pull::PurgeSelector;

use crate::MIB;
use crate::edge::{Edge, upstreams};
use crate::origin::{Origin, bytes, send, send_file};
use crate::scripts::{FRESH, TAGGED, file, halved};

#[test]
fn what_was_pulled_is_served_without_upstream_and_after_a_restart_too() {
    let body = bytes(5, 2 * MIB + 77);
    let origin = file("a", FRESH, body.clone());
    let edge = Edge::of(&[origin.url()]);
    assert!(edge.get("/a.m4s").whole() == body);
    assert!(edge.get("/a.m4s?CMCD=br%3D1").whole() == body);
    let edge = edge.restarted();
    let answer = edge.get("/a.m4s");
    assert!(answer.cache_status().starts_with(";hit"), "{}", answer.cache_status());
    assert!(answer.whole() == body);
    assert_eq!(origin.count(), 1);
}

#[test]
fn small_segments_outlive_a_restart() {
    for (size, has_length) in [(1, true), (64_000, true), (64_000, false)] {
        let body = bytes(9, size);
        let sent = body.clone();
        let origin = Origin::start(move |asked, stream| match has_length {
            true => send_file(asked, stream, "a", FRESH, &sent),
            false => send_chunked(stream, TAGGED, &sent),
        });
        let edge = Edge::of(&[origin.url()]);
        assert!(edge.get("/audio/1.m4s").whole() == body);
        let edge = edge.restarted();
        let answer = edge.get("/audio/1.m4s");
        assert!(answer.cache_status().starts_with(";hit"), "{size}: {}", answer.cache_status());
        assert_eq!(answer.head.as_ref().unwrap().content_length, Some(size as u64));
        assert!(answer.whole() == body);
        assert_eq!(origin.count(), 1);
    }
}

#[test]
fn playlists_absences_and_what_is_empty_or_soon_stale_are_on_no_disk_unless_longer_than_a_block() {
    for (path, status, seconds, size, objects_on_disk) in [
        ("/a.m3u8", "200 OK", 600, 300_000, 0),
        ("/a.mpd", "200 OK", 600, MIB, 0),
        ("/a.mpd", "200 OK", 600, MIB + 1, 1),
        ("/1.m4s", "404 Not Found", 600, 100_000, 0),
        ("/1.m4s", "200 OK", 59, 100_000, 0),
        ("/1.m4s", "200 OK", 600, 0, 0),
    ] {
        let body = bytes(10, size);
        let origin = Origin::start(move |_, stream| {
            send(stream, status, &format!("Cache-Control: max-age={seconds}\r\n"), &body)
        });
        let edge = Edge::of(&[origin.url()]);
        assert_eq!(edge.get(path).body.len(), size);
        let answer = edge.get(path);
        assert!(answer.cache_status().starts_with(";hit"), "{path} {status}: {}", answer.cache_status());
        assert_eq!((answer.body.len(), origin.count()), (size, 1), "{path} {status}");
        let edge = edge.restarted();
        let purged = edge.purge(PurgeSelector::Prefix("/".to_owned()));
        assert_eq!(purged, objects_on_disk, "{path} {status} {size}");
    }
}

/// RFC 9213 §2.2: one that is valid and not empty holds instead of Cache-Control.
#[test]
fn what_upstream_says_to_caches_of_its_kind_holds_instead_of_what_it_says_to_all() {
    for (to_our_kind, to_all, is_held) in [
        ("max-age=600", "no-store", true),
        ("max-age=600", "max-age=0", true),
        ("max-age=600", "private, no-cache", true),
        ("no-store", "max-age=600", false),
        // What cannot be read is not there, and what is empty says nothing.
        ("max-age=600, &", "no-store", false),
        ("no-store, max-age =1", "max-age=600", true),
        ("", "no-store", false),
    ] {
        let said = format!("CDN-Cache-Control: {to_our_kind}\r\nCache-Control: {to_all}\r\n");
        let origin = Origin::start(move |_, stream| send(stream, "200 OK", &said, b"segment"));
        let edge = Edge::of(&[origin.url()]);
        assert_eq!(edge.get("/1.m4s").whole(), b"segment");
        let answer = edge.get("/1.m4s");
        let cache_status = answer.cache_status();
        assert_eq!(cache_status.starts_with(";hit"), is_held, "{to_our_kind:?} {to_all:?}: {cache_status}");
        assert_eq!(answer.whole(), b"segment");
        assert_eq!(origin.count(), if is_held { 1 } else { 2 }, "{to_our_kind:?} {to_all:?}");
    }
}

#[test]
fn no_word_of_a_client_has_what_never_changes_asked_for_again() {
    let origin = file("a", "Cache-Control: max-age=600, immutable\r\n", bytes(11, 1000));
    let edge = Edge::of(&[origin.url()]);
    edge.get("/1.m4s");
    for said in ["no-cache", "max-age=0", "no-store"] {
        let answer = edge.get_with("/1.m4s", &[("cache-control", said)]);
        assert!(answer.cache_status().starts_with(";hit"), "{said}: {}", answer.cache_status());
        assert!(answer.whole() == bytes(11, 1000), "{said}");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn playlists_are_kept_in_memory_and_asked_for_again_when_they_are_stale() {
    let origin =
        Origin::start(|_, stream| send(stream, "200 OK", "Cache-Control: max-age=1\r\n", b"#EXTM3U"));
    let edge = Edge::of(&[origin.url()]);
    for _ in 0..3 {
        assert_eq!(edge.get("/live.m3u8").whole(), b"#EXTM3U");
    }
    assert_eq!(origin.count(), 1);
    sleep(Duration::from_millis(1100));
    assert_eq!(edge.get("/live.m3u8").whole(), b"#EXTM3U");
    assert_eq!(origin.count(), 2);
}

#[test]
fn what_is_confirmed_is_not_fetched_again() {
    let body = bytes(6, 300_000);
    let origin = file("a", "Cache-Control: max-age=0\r\n", body.clone());
    let edge = Edge::of(&[origin.url()]);
    assert!(edge.get("/a.m4s").whole() == body);
    for _ in 0..3 {
        let answer = edge.get("/a.m4s");
        assert!(answer.cache_status().contains("fwd=stale;fwd-status=304"), "{}", answer.cache_status());
        assert!(answer.whole() == body);
    }
    let conditions: Vec<_> =
        origin.asked().iter().map(|asked| asked.field("if-none-match").is_some()).collect();
    assert_eq!(conditions, [false, true, true, true]);
}

#[test]
fn what_has_no_length_is_stored_with_the_length_that_it_turns_out_to_have() {
    for size in [1000, 3 * MIB + 5] {
        let body = bytes(7, size);
        let sent = body.clone();
        let origin = Origin::start(move |_, stream| send_chunked(stream, TAGGED, &sent));
        let edge = Edge::of(&[origin.url()]);
        let first = edge.get("/a.m4s");
        assert_eq!(first.head.as_ref().unwrap().content_length, None);
        assert!(first.whole() == body);
        let second = edge.get("/a.m4s");
        assert_eq!(second.head.as_ref().unwrap().content_length, Some(size as u64));
        assert!(second.whole() == body);
        assert!(edge.get_range("/a.m4s", "bytes=500-599").body == body[500..600]);
        assert_eq!(origin.count(), 1);
    }
}

#[test]
fn what_is_absent_is_asked_for_once() {
    let origin = Origin::start(|_, stream| send(stream, "404 Not Found", "", b"nothing"));
    let negative_ttl = Duration::from_secs(60);
    let edge = Edge::start(PullConfig { negative_ttl, ..upstreams(&[origin.url()]) });
    for _ in 0..100 {
        assert_eq!(edge.get("/absent.m4s").status(), 404);
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn what_is_purged_is_gone_even_if_it_was_on_its_way() {
    for size in [1000, 3 * MIB] {
        let (origin, gate) = halved(&bytes(8, size));
        let edge = Edge::of(&[origin.url()]);
        let mut first = edge.begin("/t/a.m4s");
        first.take_until(size / 2);
        edge.purge(PurgeSelector::Prefix("/t/".to_owned()));
        gate.open();
        assert_eq!(first.finish().whole().len(), size);
        assert_eq!(edge.get("/t/a.m4s").whole().len(), size);
        assert_eq!(origin.count(), 2, "{size}");
        assert_eq!(edge.purge(PurgeSelector::Exact("/t/a.m4s".to_owned())), 1);
        assert_eq!(edge.get("/t/a.m4s").whole().len(), size);
        assert_eq!(origin.count(), 3);
        let edge = edge.restarted();
        assert_eq!(edge.purge(PurgeSelector::Prefix("/".to_owned())), 1, "{size}");
    }
}

/// Sends a body that has no length.
fn send_chunked(stream: &mut TcpStream, fields: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    for chunk in body.chunks(70_000) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").is_ok()
}
