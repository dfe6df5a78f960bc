//! What clients cost upstream who ask and leave, or ask under many names.

use std::thread::sleep;
use std::time::Duration;

use control_client::config::{PullConfig, S3Config};
use control_client::units::ByteCount;
use http::Method;

use super::edge::{Edge, upstreams};
use super::origin::{Origin, bytes};
use super::scripts::{FRESH, file};
use super::{MIB, send_slowly};

/// An origin that sends the whole, whatever it is asked, a little at a time.
fn origin_without_ranges(body: Vec<u8>) -> Origin {
    Origin::start(move |_, stream| send_slowly(stream, &body, MIB / 16, Duration::from_millis(5)))
}

fn received(edge: &Edge) -> u64 {
    edge.stats.upstreams[0].received_bytes.get()
}

#[test]
fn a_request_for_one_byte_makes_upstream_send_a_block_and_not_the_whole() {
    let body = bytes(1, 6 * MIB);
    let origin = origin_without_ranges(body.clone());
    let edge = Edge::of(&[origin.url()]);
    assert!(edge.get_range("/a.mp4", "bytes=0-0").whole() == body[..1]);
    assert!(received(&edge) < 2 * MIB as u64, "{}", received(&edge));
    // The block is held.
    assert!(edge.get_range("/a.mp4", "bytes=500000-500009").whole() == body[500_000..500_010]);
    assert_eq!(origin.count(), 1);
}

#[test]
fn no_more_is_finished_for_a_client_that_leaves_than_it_took() {
    // Longer than what a flight runs ahead and a pipe holds, by far.
    for (taken, is_finished) in [(MIB, false), (7 * MIB, true)] {
        let body = bytes(2, 12 * MIB);
        let origin = origin_without_ranges(body.clone());
        let edge = Edge::of(&[origin.url()]);
        let mut leaver = edge.begin("/a.mp4");
        leaver.take_until(taken);
        drop(leaver);
        edge.settle();
        assert_eq!(received(&edge) == 12 * MIB as u64, is_finished, "{taken}: {}", received(&edge));
    }
}

#[test]
fn a_client_that_takes_nothing_has_no_more_fetched_ahead_of_it_than_a_little() {
    let body = bytes(3, 48 * MIB);
    let origin = file("a", FRESH, body);
    let edge = Edge::start(PullConfig { finish_below: ByteCount::ZERO, ..upstreams(&[origin.url()]) });
    let idle = edge.begin("/a.mp4");
    sleep(Duration::from_millis(1500));
    assert!(received(&edge) <= 10 * MIB as u64, "{}", received(&edge));
    assert_eq!(idle.finish().whole().len(), 48 * MIB);
}

#[test]
fn to_a_bucket_a_query_says_nothing_and_makes_no_other_object() {
    let body = bytes(4, 300_000);
    let origin = file("a", FRESH, body.clone());
    let mut config = upstreams(&[origin.url()]);
    let bucket = config.upstreams[0].clone();
    config.upstreams[0].url = None;
    config.upstreams[0].s3 = Some(S3Config {
        bucket: "films".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: bucket.url.clone(),
        key_prefix: String::new(),
        credentials: None,
    });
    let edge = Edge::start(config.clone());
    for query in ["", "?a", "?a=2", "?CMCD=br%3D1&x"] {
        assert!(edge.get(&format!("/a.mp4{query}")).whole() == body);
    }
    assert_eq!(origin.count(), 1);
    // Where one of the upstreams can tell them apart, they are.
    config.upstreams.push(bucket);
    let edge = Edge::start(config);
    for query in ["?a=3", "?a=4"] {
        assert!(edge.ask(Method::GET, &format!("/a.mp4{query}"), &[]).finish().whole() == body);
    }
    assert_eq!(origin.count(), 3);
}
