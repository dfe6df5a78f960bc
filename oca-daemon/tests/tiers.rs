//! Two daemons in a chain: an edge that asks a hub first and then the origin itself, and the hub, which asks the origin. What holds of
//! each cache alone has to hold of both together.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "pulling/client.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod client;
#[path = "upstream/origin.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
mod origin;
#[path = "upstream/scripts.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
mod scripts;

use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use client::{Answer, Client};
use control_client::admin::Purge;
use control_client::content::BundlePath;
use control_client::wire::DocumentVersion;
use origin::{Asked, Origin, bytes, send, send_file};
use scripts::FRESH;
use support::{Daemon, eventually, runtime};

const MIB: usize = 1 << 20;
const FILM: &str = "/films/1.mp4";
const OTHER_FILM: &str = "/films/2.mp4";

// ---- the chain ----

/// What stands between viewers and the origin, and the origin.
struct Chain {
    origin: Origin,
    hub: Daemon,
    edge: Daemon,
}

impl Chain {
    /// Both daemons keep what they pull; the origin answers for films by `script`.
    fn start(script: impl Fn(&Asked, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let origin = Origin::start(move |asked, stream| {
            if asked.target.starts_with("/warm/") {
                send(stream, "200 OK", FRESH, b"warm")
            } else {
                script(asked, stream)
            }
        });
        let hub = daemon("hub", &[("origin", origin.url())]);
        let edge = daemon("edge", &[("hub", format!("http://{}", hub.http())), ("origin", origin.url())]);
        let chain = Self { origin, hub, edge };
        chain.wait_until_both_keep();
        chain
    }

    /// A volume's log of pulled content is open a moment after its daemon serves: before, nothing goes there.
    fn wait_until_both_keep(&self) {
        let mut number = 0;
        eventually("both keep what they pull", || {
            number += 1;
            get(&self.edge, &format!("/warm/{number}.mp4"));
            [&self.hub, &self.edge].iter().all(|daemon| daemon.metric("oca_pull_volume_records", "") > 0)
        });
    }

    /// What the origin was asked of a target.
    fn asked(&self, target: &str) -> Vec<Asked> {
        self.origin.asked().into_iter().filter(|asked| asked.target == target).collect()
    }
}

/// A daemon of that name, which asks these upstreams, in this order, for whatever it does not have.
fn daemon(name: &str, upstreams: &[(&str, String)]) -> Daemon {
    let upstreams: Vec<_> =
        upstreams.iter().map(|(name, url)| format!("{{ name = \"{name}\", url = \"{url}\" }}")).collect();
    let sections = format!(
        "[control]\nappliance = \"{name}\"\n\
         [pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{}]\n",
        upstreams.join(", ")
    );
    Daemon::start_with(&[("/held/1.m4s", b"of a bundle")], "workers = 1\n", &sections)
}

fn get(daemon: &Daemon, target: &str) -> Answer {
    Client::connect(daemon.http()).ask("GET", target, "").unwrap()
}

/// Has a daemon drop what it holds of a path. How many objects that were.
fn purge(daemon: &Daemon, path: &str) -> u64 {
    let purge = Purge { version: DocumentVersion, path: BundlePath::parse(path).unwrap(), prefix: false };
    runtime().block_on(daemon.admin().purge(purge)).unwrap().pulled_objects
}

// ---- what answers and requests say ----

/// What caches say of an answer (Cache-Status), in the order in which it stands there.
fn caches(answer: &Answer) -> Vec<&str> {
    let fields = answer.head.lines().filter_map(|line| line.split_once(": "));
    let lines = fields.filter(|(name, _)| name.eq_ignore_ascii_case("cache-status"));
    lines.flat_map(|(_, value)| value.split(", ")).collect()
}

/// The same where both have a word to say: the one closest to the origin first (RFC 9211 §2).
fn hub_and_edge(answer: &Answer) -> [&str; 2] {
    let caches = caches(answer);
    let [hub, edge] = caches[..] else { panic!("not two of them: {caches:?}") };
    [hub, edge]
}

/// Whether the daemon that was asked held it: its own word is the last.
fn is_hit(answer: &Answer) -> bool {
    caches(answer).last().is_some_and(|last| last.contains(";hit"))
}

fn age(answer: &Answer) -> u64 {
    answer.field("age").unwrap().parse().unwrap()
}

/// Who has passed a request on, the first of them first.
fn via(asked: &Asked) -> Vec<&str> {
    asked.lines("via").collect()
}

const VIA_BOTH: [&str; 2] = ["1.1 edge", "1.1 hub"];

// ---- tests ----

#[test]
fn a_miss_at_both_asks_the_origin_once_and_the_answer_says_so_of_each_in_order() {
    let body = bytes(1, 3 * MIB);
    let sent = body.clone();
    let chain = Chain::start(move |asked, stream| send_file(asked, stream, "film", FRESH, &sent));
    let answer = get(&chain.edge, FILM);
    assert!(answer.status == 200 && answer.body == body, "{}", answer.head);
    let [hub, edge] = hub_and_edge(&answer);
    assert!(hub.starts_with("hub;fwd=uri-miss;") && hub.ends_with(";stored"), "{hub}");
    assert!(edge.starts_with("edge;fwd=uri-miss;") && edge.ends_with(";stored"), "{edge}");
    let asked = chain.asked(FILM);
    assert_eq!(asked.len(), 1);
    assert_eq!(via(&asked[0]), VIA_BOTH);
}

#[test]
fn what_the_edge_holds_is_asked_of_neither_the_hub_nor_the_origin() {
    let chain =
        Chain::start(|asked, stream| send_file(asked, stream, "film", FRESH, asked.target.as_bytes()));
    eventually("the edge holds it", || is_hit(&get(&chain.edge, FILM)));
    let answer = get(&chain.edge, FILM);
    assert_eq!(answer.body, FILM.as_bytes());
    // What the hub said is of when the edge asked it.
    let [hub, edge] = hub_and_edge(&answer);
    assert!(hub.starts_with("hub;fwd=uri-miss;") && edge.starts_with("edge;hit;"), "{}", answer.head);
    // Its log has what it is asked next after what it was asked before.
    get(&chain.edge, OTHER_FILM);
    let logged = |target: &str| chain.hub.access_log().iter().filter(|line| line["target"] == target).count();
    eventually("the hub has logged both", || logged(FILM) > 0 && logged(OTHER_FILM) > 0);
    assert_eq!((logged(FILM), chain.asked(FILM).len()), (1, 1));
}

#[test]
fn what_the_hub_has_held_for_a_while_is_no_younger_at_the_edge() {
    let chain = Chain::start(|asked, stream| {
        send_file(asked, stream, "film", "Age: 50\r\nCache-Control: max-age=600\r\n", b"film")
    });
    eventually("the hub has held it for a while", || age(&get(&chain.hub, FILM)) >= 52);
    let held = age(&get(&chain.hub, FILM));
    let answer = get(&chain.edge, FILM);
    let [hub, edge] = hub_and_edge(&answer);
    assert!(hub.starts_with("hub;hit;") && edge.starts_with("edge;fwd=uri-miss;"), "{}", answer.head);
    assert!(age(&answer) >= held, "{held}: {}", answer.head);
    let ttl = edge.split(";ttl=").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    assert!(ttl.parse::<u64>().unwrap() <= 600 - held, "{held}: {edge}");
    assert_eq!(chain.asked(FILM).len(), 1);
}

#[test]
fn the_edge_asks_the_hub_again_when_age_has_used_up_what_the_origin_allows() {
    let chain = Chain::start(|asked, stream| {
        send_file(asked, stream, "film", "Age: 50\r\nCache-Control: max-age=52\r\n", b"film")
    });
    let mut answer = get(&chain.edge, FILM);
    assert_eq!(answer.body, b"film");
    // Were Age not heeded at one of them, it would be fresh there for longer than is waited here.
    eventually("the origin is asked again", || {
        answer = get(&chain.edge, FILM);
        chain.asked(FILM).len() > 1
    });
    let [hub, edge] = hub_and_edge(&answer);
    assert!(hub.starts_with("hub;fwd=stale;") && edge.starts_with("edge;fwd=stale;"), "{}", answer.head);
    assert_eq!(answer.body, b"film");
    let asked = chain.asked(FILM);
    assert_eq!(asked[1].field("if-none-match"), Some("\"film\""));
    assert_eq!(via(&asked[1]), VIA_BOTH);
}

#[test]
fn ranges_through_both_cost_the_origin_the_blocks_that_they_touch() {
    let body = bytes(2, 24 * MIB + 123);
    let sent = body.clone();
    let chain = Chain::start(move |asked, stream| send_file(asked, stream, "film", FRESH, &sent));
    let ask = |range: Range<usize>| {
        let (first, last) = (range.start, range.end - 1);
        let field = format!("Range: bytes={first}-{last}\r\n");
        let answer = Client::connect(chain.edge.http()).ask("GET", FILM, &field).unwrap();
        let content_range = format!("bytes {first}-{last}/{}", body.len());
        assert_eq!((answer.status, answer.field("content-range")), (206, Some(content_range.as_str())));
        assert!(answer.body == body[range], "{content_range}: the bytes are others");
    };
    // One block, two, and the last one.
    let ranges = [5 * MIB + 10..5 * MIB + 20, 8 * MIB - 5..8 * MIB + 5, 24 * MIB + 100..24 * MIB + 123];
    let touched = MIB + 2 * MIB + 123;
    ranges.iter().cloned().for_each(&ask);
    let part = |asked: &Asked| asked.range(body.len()).unwrap_or((0, body.len()));
    let parts: Vec<_> = chain.asked(FILM).iter().map(part).collect();
    assert!(parts.iter().all(|(start, _)| start % MIB == 0), "{parts:?}");
    let bytes_asked: usize = parts.iter().map(|(start, end)| end - start).sum();
    // A disk that is slow to say what it holds may cost a block more.
    assert!(bytes_asked <= touched + MIB, "{bytes_asked} for {touched}: {parts:?}");
    ranges.iter().cloned().for_each(&ask);
    assert_eq!(chain.asked(FILM).len(), parts.len(), "what was touched is held by now");
}

#[test]
fn without_the_hub_the_edge_serves_what_it_holds_and_asks_the_origin() {
    let mut chain =
        Chain::start(|asked, stream| send_file(asked, stream, "film", FRESH, asked.target.as_bytes()));
    eventually("the edge holds it", || is_hit(&get(&chain.edge, FILM)));
    chain.hub.kill();
    let held = get(&chain.edge, FILM);
    assert!(is_hit(&held) && held.body == FILM.as_bytes(), "{}", held.head);
    assert_eq!(chain.asked(FILM).len(), 1);

    let other = get(&chain.edge, OTHER_FILM);
    assert!(other.status == 200 && other.body == OTHER_FILM.as_bytes(), "{}", other.head);
    let caches = caches(&other);
    assert!(caches.len() == 1 && caches[0].starts_with("edge;fwd=uri-miss;"), "{caches:?}");
    let asked = chain.asked(OTHER_FILM);
    assert_eq!(asked.len(), 1);
    assert_eq!(via(&asked[0]), ["1.1 edge"]);
}

#[test]
fn a_purge_at_the_edge_alone_brings_the_hubs_copy_and_one_at_both_the_origins_new_bytes() {
    let films = [bytes(3, 200_000), bytes(4, 200_000)];
    let (version, sent) = (Arc::new(AtomicUsize::new(0)), films.clone());
    let current = Arc::clone(&version);
    let chain = Chain::start(move |asked, stream| {
        let version = current.load(SeqCst);
        send_file(asked, stream, ["old", "new"][version], FRESH, &sent[version])
    });
    let [old, new] = films;
    for daemon in [&chain.edge, &chain.hub] {
        eventually("it is held", || is_hit(&get(daemon, FILM)));
    }
    version.store(1, SeqCst);
    assert!(purge(&chain.edge, FILM) > 0);
    let answer = get(&chain.edge, FILM);
    let [hub, edge] = hub_and_edge(&answer);
    assert!(hub.starts_with("hub;hit;") && edge.starts_with("edge;fwd=uri-miss;"), "{}", answer.head);
    assert!(answer.body == old, "the hub still has the old one");
    assert_eq!(chain.asked(FILM).len(), 1);

    eventually("the edge holds it again", || is_hit(&get(&chain.edge, FILM)));
    // In this order: the edge, purged first, could bring the hub's copy again.
    assert!(purge(&chain.hub, FILM) > 0 && purge(&chain.edge, FILM) > 0);
    assert!(get(&chain.edge, FILM).body == new, "both have let go of the old one");
    assert_eq!(chain.asked(FILM).len(), 2);
}
