//! What a player says it will ask for next (CMCD `nor`, `nrr`) is in memory when it does; and nobody loses anything by what a client says.
//!
//! Every object is a block of its own, so that each can be in memory without the others, and tiers are small: what one of 4 MiB holds is
//! one block that is asked for, and one that is brought ahead.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::net::TcpStream;

use support::{Answer, Daemon, ask, eventually, tls};

const BLOCK_BYTES: usize = 2 << 20;

/// Two titles, each with three objects, and their bytes.
const TITLES: [&str; 2] = ["/title/one", "/title/another"];

fn start(serve: &str) -> (Daemon, Vec<u8>) {
    let bytes = tls::noise(BLOCK_BYTES);
    let names: Vec<String> =
        TITLES.iter().flat_map(|title| (1..=3).map(move |number| format!("{title}/{number}.m4s"))).collect();
    let objects: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &bytes[..])).collect();
    let daemon = Daemon::start_with(&objects, &format!("workers = 1\n{serve}"), "");
    for title in TITLES {
        let object = format!("{title}/1.m4s");
        eventually("the bundle is served, and open", || say(&daemon, "HEAD", &object, "").status == 200);
    }
    (daemon, bytes)
}

fn say(daemon: &Daemon, method: &str, target: &str, fields: &str) -> Answer {
    ask(&mut TcpStream::connect(daemon.http()).unwrap(), method, target, fields).unwrap()
}

/// Asks for a little of an object, as a player that says something of the next one.
fn hint(daemon: &Daemon, target: &str, fields: &str) {
    let answer = say(daemon, "GET", target, &format!("Range: bytes=0-9\r\n{fields}"));
    assert_eq!(answer.status, 206, "{}", answer.head);
}

fn fate(daemon: &Daemon, fate: &str) -> u64 {
    daemon.metric("oca_cmcd_next_objects_total", &format!("\"{fate}\""))
}

fn ended(daemon: &Daemon, end: &str) -> u64 {
    daemon.metric("oca_ram_tier_prefetches_total", &format!("\"{end}\""))
}

fn blocks(daemon: &Daemon) -> u64 {
    daemon.metric("oca_ram_tier_blocks", "")
}

#[test]
fn the_first_who_asks_for_what_was_named_as_next_gets_it_from_memory() {
    let (daemon, bytes) = start("ram_tier = \"8 MiB\"\n");
    // Each from an object of its own: what is asked for twice comes into memory anyway.
    for (number, (target, fields, next)) in [
        ("/title/one/1.m4s", "CMCD-Request: nor=\"2.m4s\"\r\n", "/title/one/2.m4s"),
        ("/title/another/1.m4s?CMCD=nor%3D%22..%252Fone%252F3.m4s%22%2Cot%3Dv", "", "/title/one/3.m4s"),
        (
            "/title/another/2.m4s",
            "CMCD-Request: nor=(\"/title/another/3.m4s\";r=\"0-99\")\r\nCMCD-Session: v=2\r\n",
            "/title/another/3.m4s",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let before = number as u64;
        hint(&daemon, target, fields);
        eventually("it is in memory", || blocks(&daemon) == before + 1);
        let (read, loaded) = (
            daemon.metric("oca_volume_read_bytes_total", ""),
            daemon.metric("oca_ram_tier_loaded_bytes_total", ""),
        );
        assert!(say(&daemon, "GET", next, "").body == bytes);
        eventually("it is known to have been of use", || ended(&daemon, "used") == before + 1);
        assert_eq!(daemon.metric("oca_volume_read_bytes_total", ""), read, "{next} was read from disk");
        assert_eq!(daemon.metric("oca_ram_tier_loaded_bytes_total", ""), loaded, "{next} was loaded again");
        eventually("it came from memory", || daemon.metric("oca_requests_total", "hit_ram") == before + 1);
        assert_eq!(fate(&daemon, "handed_over"), before + 1);
    }
    hint(&daemon, "/title/one/2.m4s", "CMCD-Request: nor=\"3.m4s\"\r\n");
    eventually("what is there is not brought again", || fate(&daemon, "resident") == 1);
    assert_eq!(daemon.metric("oca_ram_tier_departures_total", ""), 0);
}

#[test]
fn the_rest_of_the_same_object_is_brought_ahead_too() {
    let (daemon, bytes) = start("ram_tier = \"8 MiB\"\n");
    hint(&daemon, "/title/one/1.m4s", "CMCD-Request: nrr=\"100000-\"\r\n");
    eventually("it is in memory", || blocks(&daemon) == 1);
    let answer = say(&daemon, "GET", "/title/one/1.m4s", "Range: bytes=100000-\r\n");
    assert!(answer.body == bytes[100_000..]);
    eventually("it came from there", || daemon.metric("oca_requests_total", "hit_ram") == 1);
}

#[test]
fn whatever_clients_name_what_is_asked_for_stays_in_memory() {
    let (daemon, bytes) = start("ram_tier = \"4 MiB\"\n");
    let hot = "/title/one/1.m4s";
    eventually("it is in memory", || {
        say(&daemon, "GET", hot, "");
        blocks(&daemon) == 1
    });
    // A disk without leisure brings nothing ahead: it is said until one of them was.
    let mut names = (0..).map(|round| format!("{}/{}.m4s", TITLES[round % 2], 2 + round / 2 % 2));
    eventually("one of them is in memory, and there is room for no more", || {
        for name in names.by_ref().take(4) {
            hint(&daemon, hot, &format!("CMCD-Request: nor=\"{name}\"\r\n"));
        }
        blocks(&daemon) == 2 && ended(&daemon, "full") > 0
    });
    assert_eq!(daemon.metric("oca_ram_tier_departures_total", ""), 0);
    let read = daemon.metric("oca_volume_read_bytes_total", "");
    assert!(say(&daemon, "GET", hot, "").body == bytes);
    assert_eq!(daemon.metric("oca_volume_read_bytes_total", ""), read);
    let held = ["resident", "loading", "leaving"].map(|state| daemon.metric("oca_ram_tier_bytes", state));
    assert_eq!(held.iter().sum::<u64>(), 4 << 20);
}

#[test]
fn what_leads_nowhere_is_counted_and_the_request_answered_all_the_same() {
    let (daemon, _) = start("ram_tier = \"4 MiB\"\n");
    for (expected, said) in [
        ("malformed", "nor=\"../../../x\""),
        ("malformed", "nor=\"2.m4s"),
        ("malformed", "nor=\"2.m4s\",nrr=\"4000000-\""),
        ("elsewhere", "nor=\"https://elsewhere.example/2.m4s\""),
        ("elsewhere", "nor=\"//elsewhere.example/2.m4s\""),
        ("absent", "nor=\"9.m4s\""),
        ("absent", "nor=\"../no-title/2.m4s\""),
    ] {
        let before = fate(&daemon, expected);
        hint(&daemon, "/title/one/1.m4s", &format!("CMCD-Request: {said}\r\n"));
        eventually(said, || fate(&daemon, expected) == before + 1);
    }
    // Not sent, not heeded.
    assert_eq!(say(&daemon, "HEAD", "/title/one/1.m4s", "CMCD-Request: nor=\"2.m4s\"\r\n").status, 200);
    assert_eq!(say(&daemon, "GET", "/title/one/9.m4s", "CMCD-Request: nor=\"2.m4s\"\r\n").status, 404);
    // Whoever says something with every request is heeded now and then.
    let mut stream = TcpStream::connect(daemon.http()).unwrap();
    eventually("it is counted", || {
        for _ in 0..3 {
            ask(
                &mut stream,
                "GET",
                "/title/one/1.m4s",
                "Range: bytes=0-9\r\nCMCD-Request: nor=\"9.m4s\"\r\n",
            )
            .unwrap();
        }
        fate(&daemon, "limited") > 0
    });
    assert_eq!(fate(&daemon, "handed_over"), 0);
}

#[test]
fn an_operator_who_wants_nothing_brought_ahead_gets_nothing() {
    for serve in ["prefetch = \"off\"\n", "ram_tier = \"off\"\n"] {
        let (daemon, _) = start(serve);
        hint(&daemon, "/title/one/1.m4s", "CMCD-Request: nor=\"2.m4s\"\r\n");
        eventually("it is counted", || daemon.metric("oca_cmcd_requests_total", "") == 1);
        assert_eq!((daemon.metric("oca_cmcd_next_objects_total", ""), blocks(&daemon)), (0, 0), "{serve}");
    }
}
