//! Players of a real daemon: what they say is counted and logged, and what they get is paced and told as they need it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Answer, Daemon, ask, eventually, runtime};

const SEGMENT: &str = "/title/1.m4s";
const SEGMENT_BYTES: usize = 4 << 20;

/// A player with 20 s in its buffer that finds 16 Mbit/s sufficient.
const CALM: &str = "CMCD-Object: br=3000,ot=v,tb=6000\r\nCMCD-Request: bl=20000,mtp=40000\r\nCMCD-Session: sf=h,sid=\"s-1\"\r\n\
    CMCD-Status: rtp=16000\r\n";

fn start(serve: &str) -> Daemon {
    let daemon = Daemon::start_with(
        &[(SEGMENT, &vec![7; SEGMENT_BYTES])],
        &format!("workers = 1\n{serve}"),
        "[control]\nappliance = \"oca-17\"\n",
    );
    eventually("the bundle is served", || get(&mut connect(&daemon), "Range: bytes=0-0\r\n").status == 206);
    daemon
}

fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.http()).unwrap()
}

fn get(stream: &mut TcpStream, fields: &str) -> Answer {
    ask(stream, "GET", SEGMENT, fields).unwrap()
}

/// How long the whole segment takes.
fn timed(stream: &mut TcpStream, fields: &str) -> Duration {
    let began = Instant::now();
    let answer = get(stream, fields);
    assert_eq!((answer.status, answer.body.len()), (200, SEGMENT_BYTES));
    began.elapsed()
}

/// The least of three: the machine may be slow at times.
fn quickest(mut time: impl FnMut() -> Duration) -> Duration {
    (0..3).map(|_| time()).min().unwrap()
}

#[test]
fn what_a_player_says_is_counted_and_logged() {
    let daemon = start("pacing = \"off\"\n");
    let mut stream = connect(&daemon);
    get(&mut stream, &format!("{CALM}Range: bytes=0-9\r\n"));
    let query = "/title/1.m4s?CMCD=bl%3D%281500%29%2Cbs%2Cbr%3Dfast%2Cmsd%3D900%2Cot%3Da%2Csid%3D%22s-2%22%2Cst%3Dl%2Csu%2Cv%3D2";
    assert_eq!(ask(&mut stream, "HEAD", query, "").unwrap().status, 200);

    eventually("both are counted", || daemon.metric("oca_cmcd_requests_total", "") == 2);
    for (metric, label, expected) in [
        ("oca_cmcd_requests_total", "video", 1),
        ("oca_cmcd_requests_total", "audio", 1),
        ("oca_cmcd_formats_total", "hls", 1),
        ("oca_cmcd_stream_types_total", "\"l\"", 1),
        ("oca_cmcd_stream_types_total", "unsaid", 1),
        ("oca_cmcd_versions_total", "\"2\"", 1),
        ("oca_cmcd_ignored_values_total", "malformed", 1),
        ("oca_cmcd_startups_total", "", 1),
        ("oca_cmcd_starvations_total", "", 1),
        ("oca_cmcd_bitrate_bits_per_second_sum", "video", 3_000_000),
        ("oca_cmcd_bitrate_bits_per_second_count", "audio", 0),
        ("oca_cmcd_throughput_bits_per_second_sum", "", 40_000_000),
        ("oca_cmcd_buffer_seconds_count", "", 2),
        ("oca_cmcd_start_delay_seconds_count", "", 1),
        ("oca_paced_responses_total", "off", 1),
    ] {
        assert_eq!(daemon.metric(metric, label), expected, "{metric} {label}");
    }
    let said = |sid: &str| {
        let log = daemon.access_log();
        log.iter().map(|line| line["cmcd"].clone()).find(|cmcd| cmcd["sid"] == sid).unwrap_or(Value::Null)
    };
    eventually("both are logged", || said("s-1").is_object() && said("s-2").is_object());
    assert_eq!(
        said("s-1"),
        json!({ "v": 1, "sid": "s-1", "sf": "hls", "ot": "video", "br": 3000, "tb": 6000, "bl": 20000, "mtp": 40000, "rtp": 16000 })
    );
    assert_eq!(
        said("s-2"),
        json!({ "v": 2, "sid": "s-2", "st": "l", "ot": "audio", "bl": 1500, "msd": 900, "su": true, "bs": true })
    );
}

#[test]
fn a_response_has_the_pace_that_its_player_finds_sufficient_and_what_follows_on_the_connection_its_own() {
    let daemon = start("");
    let mut stream = connect(&daemon);
    let paced = timed(&mut stream, CALM);
    // 4 MiB at 16 Mbit/s are 2.1 s, less what the steps of the pace and the first burst give.
    assert!(paced > Duration::from_millis(1600), "{paced:?}");
    assert_eq!(daemon.metric("oca_paced_responses_total", "requested"), 1);
    let unpaced = quickest(|| timed(&mut stream, ""));
    assert!(unpaced < paced / 2, "{unpaced:?}");
    let urgent = quickest(|| {
        timed(&mut stream, CALM);
        timed(&mut stream, &CALM.replace("bl=20000", "bl=0,su"))
    });
    assert!(urgent < paced / 2, "{urgent:?}");
    eventually("they are counted", || daemon.metric("oca_paced_responses_total", "urgent") == 3);
}

#[test]
fn an_operator_who_wants_no_pacing_gets_none() {
    let daemon = start("pacing = \"off\"\n");
    let mut stream = connect(&daemon);
    let unpaced = quickest(|| timed(&mut stream, CALM));
    assert!(unpaced < Duration::from_millis(1600), "{unpaced:?}");
}

#[test]
fn players_are_told_of_their_connection_and_in_duress_to_leave() {
    let daemon = start("");
    // A connection for each: a draining daemon may close those that it has.
    let told = |fields: &str| {
        let head = get(&mut connect(&daemon), &format!("{fields}Range: bytes=0-99\r\n")).head;
        head.lines().find_map(|line| line.strip_prefix("CMSD-Dynamic: ").map(str::to_owned))
    };
    let calm = told(CALM).unwrap();
    let parameters: Vec<&str> = calm.split(';').map(|part| part.split('=').next().unwrap()).collect();
    assert_eq!(parameters, ["\"oca-17\"", "etp", "rtt", "rd"], "{calm}");
    assert_eq!(told(""), None, "who says nothing is told nothing");

    runtime().block_on(daemon.admin().drain()).unwrap();
    eventually("it says so", || told(CALM).unwrap().ends_with(";mb=3000;du"));
    runtime().block_on(daemon.admin().undrain()).unwrap();
    eventually("it says so no more", || !told(CALM).unwrap().contains(";du"));
}

#[test]
fn an_operator_decides_who_is_told() {
    for (cmsd, fields, expected) in [("all", "", true), ("off", CALM, false)] {
        let daemon = start(&format!("cmsd = {cmsd:?}\n"));
        let head = get(&mut connect(&daemon), &format!("{fields}Range: bytes=0-99\r\n")).head;
        assert_eq!(head.contains("\r\nCMSD-Dynamic: \"oca-17\";"), expected, "{cmsd}: {head}");
        assert!(head.contains("\r\nCache-Status: oca-17;hit\r\n"), "{head}");
    }
}
