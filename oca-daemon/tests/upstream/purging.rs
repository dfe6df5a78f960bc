//! Purges, and answers that were asked for before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use control_client::config::PullConfig;
use http::Method;
use oca_daemon::pull::PurgeSelector;

use crate::MIB;
use crate::edge::{Edge, upstreams};
use crate::origin::{Origin, bytes, send_file};
use crate::scripts::{FRESH, Gate};

/// Found in review: the late answer's blocks were stored into the entry that had been begun after the purge, as the origin gave both
/// the same validator.
#[test]
fn a_part_that_was_asked_for_before_a_purge_is_not_stored_beside_parts_that_came_after() {
    let (old, new) = (bytes(1, 4 * MIB), bytes(2, 4 * MIB));
    let (gate, was_asked) = (Gate::default(), AtomicBool::new(false));
    let (held_up, before, after) = (gate.clone(), old.clone(), new.clone());
    let origin = Origin::start(move |asked, stream| {
        if was_asked.swap(true, SeqCst) {
            return send_file(asked, stream, "same", FRESH, &after);
        }
        held_up.wait();
        send_file(asked, stream, "same", FRESH, &before)
    });
    let edge = Edge::of(&[origin.url()]);
    let (first, second) = ([("range", "bytes=0-1048575")], [("range", "bytes=1048576-2097151")]);
    let late = edge.ask(Method::GET, "/big.mp4", &first);
    origin.wait_for(1);
    edge.purge(PurgeSelector::Exact("/big.mp4".to_owned()));
    let mut asked_before = 0;
    while origin.count() > asked_before {
        asked_before = origin.count();
        // Until it is answered from the disk.
        assert!(edge.ask(Method::GET, "/big.mp4", &second).finish().whole() == new[MIB..2 * MIB]);
    }
    gate.open();
    assert!(late.finish().whole() == old[..MIB]);
    edge.settle();
    assert!(edge.get_with("/big.mp4", &first).whole() == new[..MIB], "what was purged is served");
    assert!(edge.get_with("/big.mp4", &second).whole() == new[MIB..2 * MIB]);
}

/// Found in review: what was looked up before a purge was confirmed by upstream after it, and held again.
#[test]
fn what_was_purged_is_not_confirmed_after_it_and_held_again() {
    for size in [1000, 3 * MIB] {
        let (old, new) = (bytes(1, size), bytes(2, size));
        let (gate, is_new) = (Gate::default(), Arc::new(AtomicBool::new(false)));
        let (held_up, changed) = (gate.clone(), Arc::clone(&is_new));
        let (before, after) = (old.clone(), new.clone());
        let origin = Origin::start(move |asked, stream| {
            if asked.target == "/slow.m4s" {
                held_up.wait();
            }
            let body = if changed.load(SeqCst) { &after } else { &before };
            send_file(asked, stream, "same", "Cache-Control: no-cache\r\n", body)
        });
        // A client has one fetch at a time.
        let edge = Edge::start(PullConfig { fetches: 2, ..upstreams(&[origin.url()]) });
        assert!(edge.get("/a.m4s").whole() == old);
        assert!(edge.get("/a.m4s").cache_status().contains("fwd-status=304"));
        let slow = edge.begin("/slow.m4s");
        while !origin.asked().iter().any(|asked| asked.target == "/slow.m4s") {
            sleep(Duration::from_millis(1));
        }
        // Looks up what is held, and waits to ask about it.
        let late = edge.begin("/a.m4s");
        sleep(Duration::from_millis(200));
        is_new.store(true, SeqCst);
        assert_eq!(edge.purge(PurgeSelector::Exact("/a.m4s".to_owned())), 1);
        gate.open();
        assert_eq!(slow.finish().whole().len(), size);
        assert!(late.finish().whole() == new, "{size}");
        edge.settle();
        assert!(edge.get("/a.m4s").whole() == new, "{size}");
    }
}
