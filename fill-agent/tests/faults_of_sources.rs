//! Everything that a source can do wrong, over a real socket. Each time the bundle is not published from it, the run's
//! report says why, another source is asked where there is one, and the rest of the night goes on.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use control_client::fill::{FailureReason, RunOutcome};
use control_client::sources::SourceKind;
use control_client::units::BitRate;
use support::appliance::{Appliance, failures, origin, source};
use support::content::Content;
use support::scripted_source::{Act, Asked, ScriptedSource};

/// A bundle that the script spoils, and one that it does not.
fn bundles() -> (Content, Content) {
    let spoilt = Content::new("/titles/spoilt/1080p", 1, &[700_000, 0, 5000, 1_500_000]);
    (spoilt, Content::new("/titles/sound/1080p", 1, &[300_000, 4096, 1]))
}

/// Spoils the requests for the objects of the first bundle, and lets the question pass whether it is there.
fn spoil(act: Act) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked| if asked.target.contains("spoilt") { act.clone() } else { Act::Right }
}

/// The bundle's only source does this wrong.
async fn alone(act: Act, reason: FailureReason, words: &str) {
    let (spoilt, sound) = bundles();
    let bad = ScriptedSource::start(&[&spoilt, &sound], spoil(act));
    let appliance = Appliance::new(&[(&spoilt, vec![origin(bad.url())]), (&sound, vec![origin(bad.url())])]);
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/spoilt/1080p".to_owned(), reason)], "{run:?}");
    assert!(run.failures[0].detail.contains(words), "{}", run.failures[0].detail);
    assert!(run.failures[0].detail.starts_with("origin origin: "), "{}", run.failures[0].detail);
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Incomplete, 1));
    assert!(!appliance.has_published(&spoilt));
    assert_eq!(appliance.daemon.held(), [sound.key()], "the rest of the night goes on");
}

/// The bundle's nearest source does this wrong, and the next one is right.
async fn with_another(act: Act) {
    let (spoilt, sound) = bundles();
    let bad = ScriptedSource::start(&[&spoilt, &sound], spoil(act));
    let good = ScriptedSource::right(&[&spoilt, &sound]);
    let sources = vec![
        source(SourceKind::Peer, "peer", bad.url(), 0),
        source(SourceKind::Origin, "origin", good.url(), 1),
    ];
    let appliance = Appliance::new(&[(&spoilt, sources.clone()), (&sound, sources)]);
    let run = appliance.run().await;
    assert_eq!((run.outcome, failures(&run)), (RunOutcome::Completed, Vec::new()), "{run:?}");
    assert_eq!(appliance.daemon.held(), [sound.key(), spoilt.key()]);
    let from = |kind| {
        run.sources
            .iter()
            .find(|source| source.kind == kind)
            .map_or((0, 0), |source| (source.bytes, source.wasted_bytes))
    };
    let ((peer, wasted), (origin, _)) = (from(SourceKind::Peer), from(SourceKind::Origin));
    assert_eq!(
        peer + origin - wasted,
        spoilt.bytes() + sound.bytes(),
        "each byte has its source: {:?}",
        run.sources
    );
    assert!(origin > 0, "{:?}", run.sources);
}

macro_rules! fault {
    ($name:ident, $act:expr, $reason:ident, $words:literal) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn the_bundle_is_not_published_the_reason_is_reported_and_the_night_goes_on() {
                alone($act, FailureReason::$reason, $words).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn another_source_gives_the_bundle() {
                with_another($act).await;
            }
        }
    };
}

fault!(an_object_is_longer_than_said, Act::OtherLength(1), WrongLength, "by the descriptor");
fault!(an_object_is_shorter_than_said, Act::OtherLength(-1), WrongLength, "by the descriptor");
fault!(the_connection_ends_early, Act::Short(100), Unreachable, "the connection broke after");
fault!(it_sends_for_ever, Act::Endless, WrongLength, "more by the source");
fault!(it_is_slow, Act::Slow(200), Unreachable, "too slow");
fault!(it_stalls_in_the_middle, Act::Stall(200), Unreachable, "it sent nothing for 1 s");
fault!(it_stalls_before_the_first_byte, Act::Stall(0), Unreachable, "it sent nothing for 1 s");
fault!(it_sends_bytes_that_are_none_of_the_object, Act::Trickle, Unreachable, "too slow");
fault!(it_breaks_off_and_has_no_validator, Act::Untagged(100_000), Unreachable, "the connection broke after");
fault!(it_resets_the_connection, Act::Reset(100), Unreachable, "the connection broke after");
fault!(status_403, Act::Status(403, ""), Refused, "status 403");
fault!(status_404, Act::Status(404, ""), Refused, "does not have the object (status 404)");
fault!(status_416, Act::Status(416, ""), Refused, "status 416");
fault!(status_500, Act::Status(500, ""), Refused, "status 500");
fault!(status_503, Act::Status(503, "retry-after: 1\r\n"), Refused, "Retry-After 1 s");
fault!(it_redirects, Act::Status(302, "location: http://192.0.2.1/\r\n"), Refused, "never followed");
fault!(
    the_object_changes_in_the_middle,
    Act::ChangeAfter(200_000),
    Changed,
    "changed while it was being received"
);
fault!(it_sends_wrong_bytes, Act::WrongBytes, WrongBytes, "not the descriptor's");
fault!(it_sends_another_range, Act::OtherRange, Changed, "another range");
fault!(its_head_is_too_large, Act::HugeHead, Refused, "cannot be used");
fault!(it_does_not_speak_http, Act::Garbage, Refused, "cannot be used");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_broke_off_is_resumed_from_there() {
    let (content, _) = bundles();
    // The first request of each object breaks off in the middle.
    let source = ScriptedSource::start(&[&content], |asked| match asked.times {
        0 => Act::Reset(400_000),
        _ => Act::Right,
    });
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    let resumed: Vec<Asked> = source.asked().into_iter().filter(|asked| asked.range.is_some()).collect();
    assert!(!resumed.is_empty());
    for asked in &resumed {
        assert_eq!(asked.if_range.as_deref(), Some("\"right\""), "{asked:?}");
    }
    assert_eq!(run.sources[0].wasted_bytes, 0, "nothing came twice: {:?}", run.sources);
    assert_eq!(run.sources[0].bytes, content.bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_without_ranges_begins_anew_and_its_waste_is_told() {
    let (content, _) = bundles();
    let source = ScriptedSource::start(&[&content], |asked| match asked.times {
        0 => Act::Short(400_000),
        _ => Act::IgnoreRange,
    });
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!(run.sources[0].bytes - run.sources[0].wasted_bytes, content.bytes());
    assert_eq!(run.sources[0].wasted_bytes, 800_000, "two objects broke off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_under_a_weak_validator_is_not_resumed_but_begun_anew() {
    let (content, _) = bundles();
    let source = ScriptedSource::start(&[&content], |asked| match asked.times {
        0 => Act::Stall(400_000),
        _ => Act::Tagged("W/\"weak\"".to_owned()),
    });
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!(appliance.daemon.held(), [content.key()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_have_a_bundle_yet_is_asked_again_until_it_does() {
    let (content, other) = bundles();
    let peer = ScriptedSource::right(&[&other]);
    let far = ScriptedSource::right(&[&content]);
    let sources = vec![
        source(SourceKind::Peer, "oca-2", peer.url(), 0),
        source(SourceKind::Origin, "origin", far.url(), 600),
    ];
    let appliance = Appliance::new(&[(&content, sources.clone()), (&other, sources)]);
    let later = std::thread::spawn({
        let content = content.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_millis(700));
            peer.add(&content);
            peer
        }
    });
    let run = appliance.run().await;
    let peer = later.join().unwrap();
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!(run.sources.len(), 1, "nothing came from afar: {:?}", run.sources);
    assert_eq!(far.asked(), []);
    let asked = peer.asked();
    let questions = asked.iter().filter(|asked| asked.method == "HEAD" && asked.target.contains("spoilt"));
    assert!(questions.count() >= 2, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_has_it_is_left_for_the_origin_when_that_is_due() {
    let (content, _) = bundles();
    let (peer, far) = (ScriptedSource::right(&[]), ScriptedSource::right(&[&content]));
    let sources = vec![
        source(SourceKind::Peer, "oca-2", peer.url(), 0),
        source(SourceKind::Origin, "origin", far.url(), 1),
    ];
    let appliance = Appliance::new(&[(&content, sources)]);
    let began = std::time::Instant::now();
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "the origin's turn came first");
    assert_eq!(run.sources[0].kind, SourceKind::Origin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_still_serves_the_edition_before_is_not_distrusted_but_asked_again() {
    let content = Content::new("/titles/a", 2, &[100_000]);
    let tag = |content: &Content| format!("\"{}\"", &content.descriptor.objects[0].sha256.to_string()[..32]);
    let (old_tag, new_tag) = (tag(&Content::new("/titles/a", 1, &[100_000])), tag(&content));
    let peer = ScriptedSource::start(&[&content], move |asked| {
        let is_early = asked.seen < 2;
        Act::Tagged(if is_early { old_tag.clone() } else { new_tag.clone() })
    });
    let far = ScriptedSource::right(&[&content]);
    let sources = vec![
        source(SourceKind::Peer, "oca-2", peer.url(), 0),
        source(SourceKind::Origin, "origin", far.url(), 600),
    ];
    let appliance = Appliance::new(&[(&content, sources)]);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!((run.sources.len(), far.asked()), (1, Vec::new()), "it came from the peer, when that had it");
    assert_eq!(run.sources[0].wasted_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_has_the_edition_before_by_the_time_it_is_asked_for_the_bytes_is_not_distrusted_either() {
    let content = Content::new("/titles/a", 2, &[100_000]);
    let tag = |content: &Content| format!("\"{}\"", &content.descriptor.objects[0].sha256.to_string()[..32]);
    let (old_tag, new_tag) = (tag(&Content::new("/titles/a", 1, &[100_000])), tag(&content));
    let peer = ScriptedSource::start(&[&content], move |asked| match asked.method.as_str() {
        "GET" if asked.times == 0 => Act::OtherEdition(old_tag.clone()),
        _ => Act::Tagged(new_tag.clone()),
    });
    let far = ScriptedSource::right(&[&content]);
    let sources = vec![
        source(SourceKind::Peer, "oca-2", peer.url(), 0),
        source(SourceKind::Origin, "origin", far.url(), 600),
    ];
    let appliance = Appliance::new(&[(&content, sources)]);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!((run.sources.len(), far.asked()), (1, Vec::new()), "it came from the peer, when that had it");
    assert_eq!(run.sources[0].wasted_bytes, 0, "the wrong ones were not taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_not_blamed_for_the_agents_own_pace() {
    let content = Content::new("/titles/a", 1, &[20]);
    let source = ScriptedSource::right(&[&content]);
    // A few bytes a second: each head takes longer than a source may be silent.
    let appliance = Appliance::with(
        &[(&content, vec![origin(source.url())])],
        |_| {},
        |config| config.fill.rate = BitRate::new(400),
    );
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!(source.asked().len(), 2, "a question and an answer: {:?}", source.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_retired_for_a_bundle_that_nobody_has() {
    let (content, _) = bundles();
    let origin_without_it = ScriptedSource::right(&[]);
    let appliance = Appliance::new(&[(&content, vec![origin(origin_without_it.url())])]);
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/spoilt/1080p".to_owned(), FailureReason::Refused)]);
    assert_eq!(appliance.incoming(), Vec::<String>::new(), "no room was taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_without_a_source_and_one_that_nobody_listens_for_are_reported_as_such() {
    let (content, other) = bundles();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let appliance = Appliance::new(&[(&content, Vec::new()), (&other, vec![origin(closed)])]);
    let run = appliance.run().await;
    let mut failures = failures(&run);
    failures.sort();
    assert_eq!(
        failures,
        [
            ("/titles/sound/1080p".to_owned(), FailureReason::Unreachable),
            ("/titles/spoilt/1080p".to_owned(), FailureReason::NoSource),
        ]
    );
}
