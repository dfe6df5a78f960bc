//! An object of five gibibytes, of which many clients read here and there: every byte is right, and the origin is asked for little more
//! than the blocks that they touch.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "pulling/client.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod client;
#[path = "upstream/origin.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
mod origin;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use client::Client;
use origin::{Asked, Origin};
use support::{Daemon, eventually};

const BLOCK: u64 = 1 << 20;
/// Not a whole number of blocks.
const TOTAL: u64 = 5 * 1024 * BLOCK + 123_457;
const CLIENTS: u64 = 6;
const RANGES_OF_EACH: usize = 60;
/// What many viewers seek to.
const SCENES: u64 = 24;

const LINE: u64 = 64;
const REST_OF_LINE: [u8; 56] = *b" of the one long film that nobody has ever seen whole..\n";

/// The bytes of the object there: lines, each with its number.
fn film(range: Range<u64>) -> Vec<u8> {
    let lines = range.start / LINE..range.end.div_ceil(LINE);
    let mut bytes = Vec::with_capacity(((lines.end - lines.start) * LINE) as usize);
    for line in lines {
        bytes.extend_from_slice(&line.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        bytes.extend_from_slice(&REST_OF_LINE);
    }
    bytes.drain(..(range.start % LINE) as usize);
    bytes.truncate((range.end - range.start) as usize);
    bytes
}

/// Answers for a part of the object, block by block.
fn send_part(asked: &Asked, stream: &mut TcpStream, sent: &AtomicU64) -> bool {
    let fields = "ETag: \"film\"\r\nCache-Control: max-age=600\r\nContent-Type: video/mp4\r\n";
    let part = asked.range(TOTAL as usize).map(|(start, end)| start as u64..end as u64);
    let (status, part, content_range) = match part {
        Some(part) => {
            let text = format!("Content-Range: bytes {}-{}/{TOTAL}\r\n", part.start, part.end - 1);
            ("206 Partial Content", part, text)
        }
        None => ("200 OK", 0..TOTAL, String::new()),
    };
    let length = part.end - part.start;
    let head = format!("HTTP/1.1 {status}\r\n{fields}{content_range}Content-Length: {length}\r\n\r\n");
    let mut is_open = stream.write_all(head.as_bytes()).is_ok();
    let mut place = part.start;
    while is_open && place < part.end {
        let next = (place + BLOCK).min(part.end);
        is_open = stream.write_all(&film(place..next)).is_ok();
        sent.fetch_add(next - place, Relaxed);
        place = next;
    }
    is_open
}

/// A small generator with a seed (xorshift*): a run that fails can be made again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound
    }

    /// A range, and how it is asked for: half of them near what others want too, of one byte to three blocks.
    fn range(&mut self) -> (Range<u64>, String) {
        let start = match self.below(2) {
            0 => self.below(SCENES) * (TOTAL / SCENES) + self.below(2 * BLOCK),
            _ => self.below(TOTAL),
        };
        let most = 1 << (2 * self.below(12));
        let length = (1 + self.below(most)).min(3 * BLOCK).min(TOTAL - start);
        match self.below(40) {
            0 => (TOTAL - length..TOTAL, format!("bytes=-{length}")),
            _ => (start..start + length, format!("bytes={start}-{}", start + length - 1)),
        }
    }
}

#[test]
fn random_ranges_of_an_object_of_five_gibibytes_are_right_and_cost_the_blocks_that_they_touch() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let origin = Origin::start(move |asked, stream| send_part(asked, stream, &count));
    let pull = format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"origin\", url = \"{}\" }}]\n",
        origin.url()
    );
    let daemon = Daemon::start_with(&[("/held/1.m4s", b"of a bundle")], "workers = 2\n", &pull);
    let ask = |client: &mut Client<TcpStream>, target: &str, (range, field): (Range<u64>, String)| {
        let answer = client.ask("GET", target, &format!("Range: {field}\r\n")).unwrap();
        assert_eq!(answer.status, 206, "{field}: {}", answer.head);
        let content_range = format!("bytes {}-{}/{TOTAL}", range.start, range.end - 1);
        assert_eq!(answer.field("content-range"), Some(content_range.as_str()), "{field}");
        assert!(answer.body == film(range), "{field}: the bytes are others");
    };
    // The volume's log of pulled content is open a moment after the daemon serves.
    let mut names = 0;
    eventually("it keeps what it pulls", || {
        names += 1;
        ask(&mut Client::connect(daemon.http()), &format!("/{names}.mp4"), (0..1, "bytes=0-0".to_owned()));
        daemon.metric("oca_pull_volume_records", "") > 0
    });
    sent.store(0, Relaxed);
    let touched = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            let (daemon, touched) = (&daemon, &touched);
            scope.spawn(move || {
                let mut dice = Dice(seed);
                let mut client = Client::connect(daemon.http());
                for _ in 0..RANGES_OF_EACH {
                    let (range, field) = dice.range();
                    touched.lock().unwrap().extend(range.start / BLOCK..range.end.div_ceil(BLOCK));
                    ask(&mut client, "/film.mp4", (range, field));
                }
            });
        }
    });
    let (sent, touched) = (sent.load(Relaxed), touched.into_inner().unwrap().len() as u64 * BLOCK);
    assert!(sent * 10 <= touched * 11, "{sent} bytes of the origin for {touched} that were touched");
    let asked = origin.count();
    for seed in 1..=CLIENTS {
        let mut dice = Dice(seed);
        let mut client = Client::connect(daemon.http());
        for _ in 0..RANGES_OF_EACH / 4 {
            ask(&mut client, "/film.mp4", dice.range());
        }
    }
    assert_eq!(origin.count(), asked, "all of it is held by now");
}
