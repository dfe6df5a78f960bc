//! Pulling through, from what a worker asks to what an origin on a real socket is asked: who waits for whom, what is stored, what is
//! asked for again, and what is sent when upstream fails.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(unreachable_pub, reason = "the modules are of this test only")]

mod breaks;
mod bucket;
mod clients;
mod edge;
mod for_whom;
mod holding;
mod joining;
mod order;
mod origin;
mod passing;
mod purging;
mod ranges;
mod sharing;
mod slow;
mod stale;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use origin::{Origin, send_file};

const MIB: usize = 1 << 20;
const FRESH: &str = "Cache-Control: max-age=600\r\n";

/// An origin that has one file under every path.
fn file(tag: &'static str, fields: &'static str, body: Vec<u8>) -> Origin {
    Origin::start(move |asked, stream| send_file(asked, stream, tag, fields, &body))
}

/// A gate that a script waits at.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, SeqCst);
    }

    fn wait(&self) {
        while !self.0.load(SeqCst) {
            sleep(Duration::from_millis(1));
        }
    }
}

/// Sends a head and the first half of a body, waits at the gate, and sends the rest.
fn in_halves(stream: &mut std::net::TcpStream, fields: &str, body: &[u8], gate: &Gate) -> bool {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..body.len() / 2]).unwrap();
    gate.wait();
    stream.write_all(&body[body.len() / 2..]).is_ok()
}
