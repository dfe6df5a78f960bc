//! What is asked for much stays on disk, also where those who ask are answered from memory.

use control_client::config::PullConfig;
use control_client::units::ByteCount;
use http::Method;

use crate::edge::{Edge, upstreams};
use crate::origin::{Origin, bytes};
use crate::scripts::{FRESH, file};

/// Small enough for a copy in memory.
const BODY_BYTES: usize = 60_000;

/// For the index of what is on disk: it has room for some 110 of the others, and so the log rolls over, however large the disk is.
const INDEX_MEMORY: ByteCount = ByteCount::kib(64);

/// More than two turns of the log.
const OTHERS: usize = 240;

#[test]
fn what_is_asked_for_again_and_again_outlives_others_of_its_age_and_a_restart() {
    let body = bytes(20, BODY_BYTES);
    let origin = file("a", FRESH, body.clone());
    let edge = Edge::start(PullConfig { index_memory: INDEX_MEMORY, ..upstreams(&[origin.url()]) });
    let (popular, sibling) = ("/popular.m4s", "/sibling.m4s");
    assert!(edge.get(popular).whole() == body);
    assert!(edge.get(sibling).whole() == body);
    for number in 0..OTHERS {
        assert!(edge.get(&format!("/{number}.m4s")).whole() == body);
        assert!(edge.get(popular).whole() == body);
    }
    let from_memory = edge.stats.memory_bytes_sent.get();
    assert_eq!(from_memory, (OTHERS * BODY_BYTES) as u64, "no disk was read for what was asked for again");

    let edge = edge.restarted();
    let answer = edge.get(popular);
    assert!(answer.cache_status().starts_with(";hit"), "{}", answer.cache_status());
    assert!(answer.whole() == body);
    assert_eq!(count_of(&origin, popular), 1);
    assert!(edge.get(sibling).whole() == body);
    assert_eq!(count_of(&origin, sibling), 2, "nobody asked for it: it has left for the others");
}

/// Found in review: to say what there is, or that it has not changed, counted as if all of it had been given.
#[test]
fn what_is_only_asked_about_leaves_with_others_of_its_age() {
    let body = bytes(20, BODY_BYTES);
    let origin = file("a", FRESH, body.clone());
    let edge = Edge::start(PullConfig { index_memory: INDEX_MEMORY, ..upstreams(&[origin.url()]) });
    let (headed, confirmed) = ("/headed.m4s", "/confirmed.m4s");
    assert!(edge.get(headed).whole() == body);
    assert!(edge.get(confirmed).whole() == body);
    for number in 0..OTHERS {
        assert!(edge.get(&format!("/{number}.m4s")).whole() == body);
        assert_eq!(edge.ask(Method::HEAD, headed, &[]).finish().status(), 200);
        assert_eq!(edge.get_with(confirmed, &[("if-none-match", "\"a\"")]).status(), 304);
    }
    assert_eq!([headed, confirmed].map(|target| count_of(&origin, target)), [1, 1], "it is in memory");

    let edge = edge.restarted();
    for target in [headed, confirmed] {
        assert!(edge.get(target).whole() == body);
        assert_eq!(count_of(&origin, target), 2, "{target} has left for the others");
    }
}

/// How often upstream was asked for it.
fn count_of(origin: &Origin, target: &str) -> usize {
    origin.asked().iter().filter(|asked| asked.target == target).count()
}
