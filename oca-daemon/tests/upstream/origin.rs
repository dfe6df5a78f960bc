//! An origin on a real socket, whose answers are scripted, and which remembers what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What an origin was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    fields: Vec<(String, String)>,
}

impl Asked {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.lines(name).next()
    }

    /// Each line of a field.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.fields.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str())
    }

    /// First byte and byte after the last one of `Range: bytes=a-b`, cut to an object of `total` bytes.
    pub fn range(&self, total: usize) -> Option<(usize, usize)> {
        let (first, last) = self.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
        if first.is_empty() {
            return Some((total.saturating_sub(last.parse().unwrap()), total));
        }
        let end = last.parse::<usize>().map_or(total, |last| last + 1);
        Some((first.parse().unwrap(), end.min(total)))
    }
}

pub struct Origin {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Origin {
    /// Answers each request by `script`; a connection goes on while that says so.
    pub fn start(script: impl Fn(&Asked, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                thread::spawn(move || serve(stream, &*script, &log));
            }
        });
        Self { address, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Waits until it was asked so often.
    pub fn wait_for(&self, count: usize) {
        let began = Instant::now();
        while self.count() < count {
            assert!(began.elapsed() < Duration::from_secs(10), "{} of {count}", self.count());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The ranges that it was asked for, in order; a request without one is `""`.
    pub fn ranges(&self) -> Vec<String> {
        self.asked().iter().map(|asked| asked.field("range").unwrap_or_default().to_owned()).collect()
    }
}

fn serve(
    mut stream: TcpStream,
    script: &(dyn Fn(&Asked, &mut TcpStream) -> bool + Send + Sync),
    log: &Mutex<Vec<Asked>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(asked) = read(&mut reader) {
        log.lock().unwrap().push(asked.clone());
        if !script(&asked, &mut stream) {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => fields.push((name.to_owned(), value.trim().to_owned())),
            None => return Some(Asked { method, target, fields }),
        }
    }
}

/// Sends a whole answer.
pub fn send(stream: &mut TcpStream, status: &str, fields: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_ok()
}

/// Answers as a server of files does: 304, 206 or 200.
pub fn send_file(asked: &Asked, stream: &mut TcpStream, tag: &str, fields: &str, body: &[u8]) -> bool {
    let tag = format!("\"{tag}\"");
    let fields = format!("ETag: {tag}\r\n{fields}");
    if asked.field("if-none-match") == Some(tag.as_str()) {
        let head = format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
        return stream.write_all(head.as_bytes()).is_ok();
    }
    match asked.range(body.len()) {
        Some((start, end)) if start < end => {
            let range = format!("Content-Range: bytes {start}-{}/{}\r\n", end - 1, body.len());
            send(stream, "206 Partial Content", &format!("{fields}{range}"), &body[start..end])
        }
        Some(_) => send(
            stream,
            "416 Range Not Satisfiable",
            &format!("Content-Range: bytes */{}\r\n", body.len()),
            b"",
        ),
        None => send(stream, "200 OK", &fields, body),
    }
}

/// Bytes of which every eight differ from all others, and which differ by `seed`.
pub fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count + 8);
    let mut number = 0_u64;
    while bytes.len() < count {
        bytes.extend_from_slice(&(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed).to_le_bytes());
        number += 1;
    }
    bytes.truncate(count);
    bytes
}
