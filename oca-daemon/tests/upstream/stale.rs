//! What is sent although it is stale.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use oca_daemon::pull::PurgeSelector;

use crate::edge::Edge;
use crate::origin::{Origin, send};
use crate::scripts::Gate;

/// An origin of what is stale at once, and what breaks it: then it thinks, and has an error below `/error` and not a word elsewhere.
fn breakable(think: impl Fn() + Send + Sync + 'static) -> (Origin, Arc<AtomicBool>) {
    let is_broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&is_broken);
    let origin = Origin::start(move |asked, stream| {
        if breaks.load(SeqCst) {
            think();
            return asked.target.contains("error") && send(stream, "502 Bad Gateway", "", b"");
        }
        send(stream, "200 OK", "Cache-Control: max-age=0\r\nETag: \"a\"\r\n", b"good")
    });
    (origin, is_broken)
}

#[test]
fn what_is_stale_stands_in_for_an_upstream_that_fails() {
    let (origin, is_broken) = breakable(|| ());
    let edge = Edge::of(&[origin.url()]);
    for path in ["/error", "/silence"] {
        assert_eq!(edge.get(path).whole(), b"good");
        is_broken.store(true, SeqCst);
        let answer = edge.get(path);
        assert!(answer.cache_status().contains("detail=stale_if_error"), "{}", answer.cache_status());
        assert_eq!(answer.whole(), b"good");
        is_broken.store(false, SeqCst);
    }
    assert_eq!(edge.stats.stale_served.get(), 2);
}

#[test]
fn what_is_stale_is_sent_while_it_is_revalidated_once() {
    let number = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&number);
    let origin = Origin::start(move |_, stream| {
        let number = count.fetch_add(1, SeqCst);
        let seconds = [1, 600][number.min(1)];
        let fields = format!("Cache-Control: max-age={seconds}, stale-while-revalidate=60\r\n");
        send(stream, "200 OK", &fields, number.to_string().as_bytes())
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get("/a").whole(), b"0");
    sleep(Duration::from_millis(1100));
    for answer in edge.at_once(50, "/a", &[]) {
        let body = answer.whole();
        assert!(body == b"0" || body == b"1");
    }
    edge.settle();
    assert_eq!(edge.get("/a").whole(), b"1");
    assert_eq!(origin.count(), 2);
}

/// Found in review: what had been looked up before a purge was sent after it, because upstream failed.
#[test]
fn what_was_purged_meanwhile_does_not_stand_in_for_an_upstream_that_fails() {
    let gate = Gate::default();
    let held_up = gate.clone();
    let (origin, is_broken) = breakable(move || held_up.wait());
    let edge = Edge::of(&[origin.url()]);
    for path in ["/error", "/silence"] {
        assert_eq!(edge.get(path).whole(), b"good");
    }
    is_broken.store(true, SeqCst);
    let before = origin.count();
    let coming = ["/error", "/silence"].map(|path| edge.begin(path));
    origin.wait_for(before + 2);
    for path in ["/error", "/silence"] {
        assert_eq!(edge.purge(PurgeSelector::Exact(path.to_owned())), 1);
    }
    gate.open();
    for coming in coming {
        assert_ne!(coming.finish().body, b"good", "what was purged is sent");
    }
    assert_eq!(edge.stats.stale_served.get(), 0);
}
