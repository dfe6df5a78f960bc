//! Upstreams that answer a request for a part with the whole.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::edge::Edge;
use super::origin::{Origin, bytes, send};
use super::scripts::{FRESH, TAGGED, break_off};
use super::{MIB, send_slowly};

#[test]
fn a_range_that_comes_soon_is_cut_out_of_the_whole() {
    for edge in super::WITH_DISK_AND_WITHOUT {
        let body = bytes(1, 12 * MIB);
        let sent = body.clone();
        let origin = Origin::start(move |_, stream| send(stream, "200 OK", FRESH, &sent));
        let edge = edge(&[origin.url()]);
        let range = 9 * MIB..11 * MIB;
        let answer = edge.get_range("/a.mp4", &format!("bytes={}-{}", range.start, range.end - 1));
        assert_eq!(answer.status(), 206);
        assert!(answer.whole() == body[range]);
    }
}

#[test]
fn a_range_that_is_far_away_at_a_slow_upstream_is_answered_with_the_whole_before_anybody_gives_up() {
    let body = bytes(2, 12 * MIB);
    let sent = body.clone();
    // Seven seconds for all of it.
    let origin =
        Origin::start(move |_, stream| send_slowly(stream, &sent, MIB / 4, Duration::from_millis(150)));
    let edge = Edge::of(&[origin.url()]);
    let range = format!("bytes={}-{}", 11 * MIB + MIB / 2, 11 * MIB + MIB / 2 + 99);
    let began = Instant::now();
    let mut coming = edge.ask(http::Method::GET, "/a.mp4", &[("range", &range)]);
    coming.take_until(1);
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    let answer = coming.finish();
    assert_eq!(answer.status(), 200);
    assert!(answer.whole() == body);
}

#[test]
fn what_broke_off_far_from_its_beginning_is_gone_on_with_where_its_rest_cannot_be_asked_for() {
    let body = bytes(3, 70 * MIB);
    let (sent, number) = (body.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_, stream| match number.fetch_add(1, SeqCst) {
        0 => break_off(stream, TAGGED, &sent, 68 * MIB),
        _ => send(stream, "200 OK", TAGGED, &sent),
    });
    let edge = Edge::of(&[origin.url()]);
    // Who was given as much as is passed over waits for it.
    assert!(edge.get("/a.mp4").whole() == body);
    assert!(edge.get("/a.mp4").whole() == body);
}
