//! What origins do in more than one test, and what their scripts are made of.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use super::origin::{Origin, send, send_file};

pub const FRESH: &str = "Cache-Control: max-age=600\r\n";

/// The same of what has a validator.
pub const TAGGED: &str = "ETag: \"a\"\r\nCache-Control: max-age=600\r\n";

/// How long an origin takes, so that others come meanwhile.
pub const A_WHILE: Duration = Duration::from_millis(600);

/// A gate that a script waits at.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, SeqCst);
    }

    pub fn wait(&self) {
        while !self.0.load(SeqCst) {
            sleep(Duration::from_millis(1));
        }
    }
}

// ---- what is sent ----

/// The head of a 200 with so long a body.
pub fn head(fields: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n")
}

/// Sends a head and the first half of a body, waits at the gate, and sends the rest.
pub fn in_halves(stream: &mut TcpStream, fields: &str, body: &[u8], gate: &Gate) -> bool {
    let (first, rest) = body.split_at(body.len() / 2);
    stream.write_all(head(fields, body.len()).as_bytes()).unwrap();
    stream.write_all(first).unwrap();
    gate.wait();
    stream.write_all(rest).is_ok()
}

/// Sends a 200 with the first bytes of a body and no more.
pub fn break_off(stream: &mut TcpStream, fields: &str, body: &[u8], count: usize) -> bool {
    let head = head(fields, body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..count]));
    let _ = stream.shutdown(Shutdown::Both);
    false
}

// ---- origins ----

/// One that has one file under every path.
pub fn file(tag: &'static str, fields: &'static str, body: Vec<u8>) -> Origin {
    Origin::start(move |asked, stream| send_file(asked, stream, tag, fields, &body))
}

/// One that takes a while and numbers its answers.
pub fn numbered(status: &'static str, fields: String) -> Origin {
    let number = AtomicUsize::new(0);
    Origin::start(move |_, stream| {
        sleep(A_WHILE);
        send(stream, status, &fields, number.fetch_add(1, SeqCst).to_string().as_bytes())
    })
}

/// One that says nothing for longer than anybody waits.
pub fn sleeping() -> Origin {
    Origin::start(|_, _| {
        sleep(Duration::from_secs(5));
        false
    })
}

/// One that sends the second half of a body when the gate is opened.
pub fn halved(body: &[u8]) -> (Origin, Gate) {
    let gate = Gate::default();
    let (held_up, sent) = (gate.clone(), body.to_vec());
    (Origin::start(move |_, stream| in_halves(stream, FRESH, &sent, &held_up)), gate)
}
