//! A client that sends exact bytes and reads answers without being lenient about them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::fixture::{Fixture, SEGMENT};

/// One connection.
pub(crate) struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    /// The status line.
    pub(crate) status_line: String,
    /// Names and values, in order.
    pub(crate) fields: Vec<(String, String)>,
}

/// Longer than the daemon's own header timeout, for which some exchanges wait.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        let socket = TcpStream::connect(address).map_err(|error| format!("  cannot connect: {error}"))?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(READ_TIMEOUT)).map_err(|error| error.to_string())?;
        Ok(Self { socket, received: Vec::new() })
    }

    /// Sends; a peer that has already answered and closed may take no more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.socket.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Err(format!("  cannot send: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// Ends the client's side of the connection.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.socket
            .shutdown(Shutdown::Write)
            .map_err(|error| format!("  cannot end the sending side: {error}"))
    }

    pub(crate) fn read_head(&mut self) -> Result<Head, String> {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if self.receive()? == 0 {
                let received = String::from_utf8_lossy(&self.received);
                return Err(format!(
                    "  the connection ended where an answer should have come, after {received:?}"
                ));
            }
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let text = String::from_utf8(head).map_err(|error| format!("  the head is not text: {error}"))?;
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let status_line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("  not a field: {line:?}"))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        Ok(Head { status_line, fields: fields.collect::<Result<_, String>>()? })
    }

    pub(crate) fn read_body(&mut self, bytes: usize) -> Result<Vec<u8>, String> {
        while self.received.len() < bytes {
            if self.receive()? == 0 {
                return Err(format!("  the body ended after {} of {bytes} bytes", self.received.len()));
            }
        }
        Ok(self.received.drain(..bytes).collect())
    }

    /// The daemon must end the connection in good order, and send nothing before that.
    pub(crate) fn expect_end(&mut self) -> Result<(), String> {
        while self.receive().map_err(|error| format!("  the connection should have been closed: {error}"))?
            > 0
        {}
        if self.received.is_empty() {
            return Ok(());
        }
        Err(format!(
            "  more than was expected came before the end: {:?}",
            String::from_utf8_lossy(&self.received)
        ))
    }

    /// The daemon must reset the connection, and send nothing before that.
    pub(crate) fn expect_reset(&mut self) -> Result<(), String> {
        let mut chunk = [0; 64];
        match self.socket.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset && self.received.is_empty() => Ok(()),
            other => Err(format!("  the connection should have been reset: {other:?} {:?}", self.received)),
        }
    }

    /// The daemon must understand the next request on this connection, at once and exactly.
    pub(crate) fn expect_usable(&mut self, fixture: &Fixture) -> Result<(), String> {
        self.send(format!("GET {SEGMENT} HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n").as_bytes())?;
        let wrong =
            |what: String| format!("  the connection should have stayed open for a next request:\n{what}");
        let head = self.read_head().map_err(wrong)?;
        if head.status_line != "HTTP/1.1 200 OK" {
            return Err(wrong(format!("  it was answered {:?}", head.status_line)));
        }
        let segment = fixture.object(SEGMENT)?;
        if self.read_body(segment.len()).map_err(wrong)? != segment {
            return Err(wrong("  it was answered with wrong bytes".to_owned()));
        }
        self.expect_end()
    }

    fn receive(&mut self) -> Result<usize, String> {
        let mut chunk = [0; 16 * 1024];
        let length = self.socket.read(&mut chunk).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("  nothing came for {READ_TIMEOUT:?}"),
            _ => format!("  cannot receive: {error}"),
        })?;
        self.received.extend_from_slice(&chunk[..length]);
        Ok(length)
    }
}

impl Head {
    /// The value of a field, where it is there.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The three digits.
    pub(crate) fn status(&self) -> u16 {
        self.status_line.split(' ').nth(1).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }
}
