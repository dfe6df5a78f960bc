//! A source over a real socket that does as it is told: right by default, wrong where the script says so.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::content::Content;

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// As HTTP says, with ranges.
    Right,
    /// This status, with these fields and no content.
    Status(u16, &'static str),
    /// Say and send so many bytes more, or fewer, than the object has.
    OtherLength(i64),
    /// Say the right length, send so many bytes, and close.
    Short(usize),
    /// Say no length, and send for ever.
    Endless,
    /// Send so many bytes each 50 ms.
    Slow(usize),
    /// Send so many bytes of the right ones, then nothing.
    Stall(usize),
    /// Send so many bytes of the right ones, then reset.
    Reset(usize),
    /// The right length, and other bytes.
    WrongBytes,
    /// All of it, whatever range was asked for.
    IgnoreRange,
    /// Send so many bytes under one validator; whoever comes for the rest finds another version under another.
    ChangeAfter(usize),
    /// The right bytes, under that validator.
    Tagged(String),
    /// Other bytes of the same length, under that validator.
    OtherEdition(String),
    /// So many bytes without a validator, then close.
    Untagged(usize),
    /// Chunked, and before the first byte of the object an edge of a chunk that comes byte by byte, each 50 ms.
    Trickle,
    /// Another range than was asked for.
    OtherRange,
    /// A head without an end.
    HugeHead,
    /// What is no HTTP.
    Garbage,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
    /// How often that target was asked for with GET before.
    pub times: usize,
    /// How often it was asked for in any way before.
    pub seen: usize,
}

type Script = dyn Fn(&Asked) -> Act + Send + Sync;

/// The source. Its threads end with the process.
pub struct ScriptedSource {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    objects: Mutex<HashMap<String, Vec<u8>>>,
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    /// When how many bytes were handed to the kernel.
    sent: Mutex<Vec<(Instant, usize)>>,
}

impl ScriptedSource {
    /// Serves these bundles by the script.
    pub fn start(contents: &[&Content], script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let objects = contents.iter().flat_map(|content| content.served()).collect();
        let shared = Arc::new(Shared {
            objects: Mutex::new(objects),
            script: Box::new(script),
            asked: Mutex::default(),
            sent: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// One that does everything right.
    pub fn right(contents: &[&Content]) -> Self {
        Self::start(contents, |_| Act::Right)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has a bundle from now on.
    pub fn add(&self, content: &Content) {
        self.shared.objects.lock().unwrap().extend(content.served());
    }

    /// The same, under targets in which a space is encoded.
    pub fn add_encoded(&self, content: &Content) {
        let served = content.served().into_iter().map(|(target, bytes)| (target.replace(' ', "%20"), bytes));
        self.shared.objects.lock().unwrap().extend(served);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// When how many bytes were handed to the kernel, whose send buffer is as small as it gets.
    pub fn sent(&self) -> Vec<(Instant, usize)> {
        self.shared.sent.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        sockopt::set_socket_send_buffer_size(&stream, 4096).unwrap();
        stream.set_nodelay(true).unwrap();
        while let Some(asked) = self.read(&mut stream) {
            let act = (self.script)(&asked);
            self.asked.lock().unwrap().push(asked.clone());
            if self.act(&mut stream, &asked, act).is_none() {
                return;
            }
        }
    }

    fn read(&self, stream: &mut TcpStream) -> Option<Asked> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let mut words = lines.next().unwrap().split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let field = |name: &str| {
            let mut lines = head.lines();
            let line = lines.find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
            line.map(|line| line.split_once(':').unwrap().1.trim().to_owned())
        };
        let asked = self.asked.lock().unwrap();
        let same = asked.iter().filter(|asked| asked.target == target);
        let (seen, times) = (same.clone().count(), same.filter(|asked| asked.method == "GET").count());
        drop(asked);
        Some(Asked { range: field("range"), if_range: field("if-range"), method, target, times, seen })
    }

    /// `None` where the connection is over.
    fn act(&self, stream: &mut TcpStream, asked: &Asked, act: Act) -> Option<()> {
        let object = self.objects.lock().unwrap().get(&asked.target).cloned();
        let Some(object) = object else {
            return self.send(stream, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        };
        let is_head = asked.method == "HEAD";
        let length = object.len();
        let whole = |length: usize| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: \"right\"\r\n\r\n").into_bytes()
        };
        match act {
            Act::Status(status, fields) => {
                let head = format!("HTTP/1.1 {status} Scripted\r\n{fields}content-length: 0\r\n\r\n");
                self.send(stream, head.as_bytes())
            }
            Act::HugeHead => {
                self.send(stream, b"HTTP/1.1 200 OK\r\nx: ")?;
                while self.send(stream, &[b'a'; 4096]).is_some() {}
                None
            }
            Act::Garbage => {
                self.send(stream, b"220 mail.example ESMTP\r\n")?;
                None
            }
            Act::Tagged(tag) if is_head => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: {tag}\r\n\r\n");
                self.send(stream, head.as_bytes())
            }
            _ if is_head => self.send(stream, &whole(length)),
            Act::Right => self.right(stream, asked, &object, "\"right\""),
            Act::Tagged(tag) => self.right(stream, asked, &object, &tag),
            Act::OtherLength(more) => {
                let length = length.saturating_add_signed(more as isize);
                self.send(stream, &whole(length))?;
                let mut other = object;
                other.resize(length, 0);
                self.send(stream, &other)
            }
            Act::Short(bytes) => {
                self.send(stream, &whole(length))?;
                self.send(stream, &object[..bytes.min(length)])?;
                None
            }
            Act::Endless => {
                self.send(stream, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                self.send(stream, &object)?;
                while self.send(stream, &[0; 4096]).is_some() {}
                None
            }
            Act::Slow(bytes) => {
                self.send(stream, &whole(length))?;
                for piece in object.chunks(bytes) {
                    self.send(stream, piece)?;
                    thread::sleep(Duration::from_millis(50));
                }
                Some(())
            }
            Act::Stall(bytes) => {
                self.begin(stream, asked, &object, bytes)?;
                // Until the other side gives up.
                let _ = stream.read(&mut [0]);
                None
            }
            Act::Reset(bytes) => {
                self.begin(stream, asked, &object, bytes)?;
                thread::sleep(Duration::from_millis(20));
                sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
                None
            }
            Act::OtherEdition(tag) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: {tag}\r\n\r\n");
                self.send(stream, head.as_bytes())?;
                self.send(stream, &vec![7; length])
            }
            Act::Untagged(bytes) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                self.send(stream, head.as_bytes())?;
                self.send(stream, &object[..bytes.min(length)])?;
                None
            }
            Act::Trickle => {
                self.send(stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=")?;
                while self.send(stream, b"x").is_some() {
                    thread::sleep(Duration::from_millis(50));
                }
                None
            }
            Act::WrongBytes => {
                self.send(stream, &whole(length))?;
                let wrong: Vec<u8> = object.iter().map(|byte| byte ^ 1).collect();
                self.send(stream, &wrong)
            }
            Act::IgnoreRange => {
                self.send(stream, &whole(length))?;
                self.send(stream, &object)
            }
            Act::ChangeAfter(bytes) if asked.range.is_none() => {
                self.send(stream, &whole(length))?;
                self.send(stream, &object[..bytes.min(length)])?;
                None
            }
            Act::ChangeAfter(_) => {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: \"another\"\r\n\r\n");
                self.send(stream, head.as_bytes())?;
                self.send(stream, &vec![7; length])
            }
            Act::OtherRange => {
                let head = format!(
                    "HTTP/1.1 206 Partial\r\ncontent-range: bytes 0-{}/{length}\r\ncontent-length: {length}\r\netag: \"right\"\r\n\r\n",
                    length - 1
                );
                self.send(stream, head.as_bytes())?;
                self.send(stream, &object)
            }
        }
    }

    /// What HTTP asks for.
    fn right(&self, stream: &mut TcpStream, asked: &Asked, object: &[u8], tag: &str) -> Option<()> {
        let is_same = asked.if_range.as_deref().is_none_or(|validator| validator == tag);
        let from = asked.range.as_deref().filter(|_| is_same).map_or(0, from);
        let head = if from == 0 {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\netag: {tag}\r\n\r\n", object.len())
        } else {
            format!(
                "HTTP/1.1 206 Partial\r\ncontent-range: bytes {from}-{}/{}\r\ncontent-length: {}\r\netag: {tag}\r\n\r\n",
                object.len() - 1,
                object.len(),
                object.len() - from
            )
        };
        self.send(stream, head.as_bytes())?;
        self.send(stream, &object[from..])
    }

    /// The right answer, and only so many bytes of it.
    fn begin(&self, stream: &mut TcpStream, asked: &Asked, object: &[u8], bytes: usize) -> Option<()> {
        let from = asked.range.as_deref().map_or(0, from);
        let length = object.len();
        let head = if from == 0 {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: \"right\"\r\n\r\n")
        } else {
            format!(
                "HTTP/1.1 206 Partial\r\ncontent-range: bytes {from}-{}/{length}\r\ncontent-length: {}\r\netag: \"right\"\r\n\r\n",
                length - 1,
                length - from
            )
        };
        self.send(stream, head.as_bytes())?;
        self.send(stream, &object[from..(from + bytes).min(length)])
    }

    fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
        for piece in bytes.chunks(4096) {
            stream.write_all(piece).ok()?;
            self.sent.lock().unwrap().push((Instant::now(), piece.len()));
        }
        Some(())
    }
}

/// The first byte of `bytes=N-`.
fn from(range: &str) -> usize {
    range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).unwrap().parse().unwrap()
}
