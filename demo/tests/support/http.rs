#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
//! A small HTTP/1.1 client on blocking sockets, so that tests control every read and every socket option. All
//! waits are bounded.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, connect, ipproto, socket, sockopt};

/// No read or write of a test takes longer, unless it says so.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of a response head; beyond, it is none.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a small receive buffer: far less than a response, enough for it to flow when it is read.
const NARROW_BYTES: usize = 32 * 1024;

/// What carries the bytes: a TCP stream, or TLS over one.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to the daemon.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// Received and not read yet.
    inbox: Vec<u8>,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Duration,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Connection {
    /// Over TCP, with the default timeout.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::of_socket(TcpStream::connect_timeout(&address, TIMEOUT)?, TIMEOUT)
    }

    /// With a timeout of the test's own for each read and write.
    pub fn of_socket(stream: TcpStream, timeout: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self::over(stream))
    }

    /// Over whatever carries bytes.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), inbox: Vec::new() }
    }

    /// With a small receive buffer: whoever does not read keeps the daemon from sending.
    pub fn open_narrow(address: SocketAddr) -> io::Result<Self> {
        Self::of_socket(narrow_socket(address)?, TIMEOUT)
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a GET, and reads the head of the response; the body waits.
    pub fn begin_get(&mut self, path: &str, range: Option<Range<u64>>) -> io::Result<Head> {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n");
        if let Some(range) = range {
            request.push_str(&format!("Range: bytes={}-{}\r\n", range.start, range.end - 1));
        }
        request.push_str("\r\n");
        self.send(request.as_bytes())?;
        self.read_head()
    }

    /// Sends a GET, and reads the whole response.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        let head = self.begin_get(path, None)?;
        self.finish(head)
    }

    /// Sends a HEAD, and reads the answer: the daemon opens the bundle, and reads none of its bytes.
    pub fn head(&mut self, path: &str) -> io::Result<Head> {
        self.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())?;
        self.read_head()
    }

    /// Sends a GET for a range of bytes, and reads the whole response.
    pub fn get_range(&mut self, path: &str, range: Range<u64>) -> io::Result<Answer> {
        let head = self.begin_get(path, Some(range))?;
        self.finish(head)
    }

    /// Reads the head of a response.
    pub fn read_head(&mut self) -> io::Result<Head> {
        let began = Instant::now();
        let mut first_byte = None;
        loop {
            if let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.inbox.drain(..end + 4).collect();
                return parse_head(&head[..end], first_byte.unwrap_or_default());
            }
            if self.inbox.len() > HEAD_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a response head without an end"));
            }
            if self.receive()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "closed before the end of a response head",
                ));
            }
            first_byte.get_or_insert_with(|| began.elapsed());
        }
    }

    /// Reads so many bytes of a body.
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.inbox.len() < count {
            if self.receive()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within a body"));
            }
        }
        // Not byte by byte, which takes a program that is built for tests longer than all else.
        let rest = self.inbox.split_off(count);
        Ok(std::mem::replace(&mut self.inbox, rest))
    }

    /// Reads the rest of a response.
    pub fn finish(&mut self, head: Head) -> io::Result<Answer> {
        let body = self.read_bytes(head.content_length() as usize)?;
        Ok(Answer { head, body })
    }

    /// Reads until the daemon ends the connection: the bytes, and the error if it was not an orderly end.
    pub fn read_to_end(&mut self) -> (Vec<u8>, io::Result<()>) {
        loop {
            match self.receive() {
                Ok(0) => return (std::mem::take(&mut self.inbox), Ok(())),
                Ok(_) => {}
                Err(error) => return (std::mem::take(&mut self.inbox), Err(error)),
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        let count = self.stream.read(&mut bytes)?;
        self.inbox.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

impl Head {
    /// The value of a field, if it is there.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The length of the body.
    pub fn content_length(&self) -> u64 {
        self.field("content-length").and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

fn parse_head(head: &[u8], first_byte: Duration) -> io::Result<Head> {
    let wrong = || {
        io::Error::new(io::ErrorKind::InvalidData, format!("not a head: {:?}", String::from_utf8_lossy(head)))
    };
    let text = std::str::from_utf8(head).map_err(|_| wrong())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or_else(wrong)?;
    let status = status.get(..3).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    let fields = lines
        .map(|line| {
            line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(wrong)
        })
        .collect::<io::Result<_>>()?;
    Ok(Head { status, fields, first_byte })
}

/// A connected socket with a small receive buffer; set before connecting, so that the window is small from the start.
pub fn narrow_socket(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, Some(ipproto::TCP))?;
    sockopt::set_socket_recv_buffer_size(&socket, NARROW_BYTES)?;
    connect(&socket, &address)?;
    Ok(socket.into())
}
