//! A plain HTTP/1.1 client: one connection, one request after another, bodies thrown away.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

const BUFFER_BYTES: usize = 256 * 1024;

/// A connection, and what is read into.
pub(crate) struct Client {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, address, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Fetches an object, and gives its length. Anything but 200 with a length is an error.
    pub(crate) fn get(&mut self, target: &str) -> io::Result<u64> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        let (head_bytes, length) = loop {
            filled += self.read_more(filled)?;
            if let Some(head) = head(&self.buffer[..filled])? {
                break head;
            }
        };
        let mut left = (head_bytes as u64 + length)
            .checked_sub(filled as u64)
            .ok_or_else(|| io::Error::other("more came than was asked for"))?;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.stream.read(&mut self.buffer[..most])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read as u64;
        }
        Ok(length)
    }

    fn read_more(&mut self, filled: usize) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer[filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// The bytes of a whole head, and of the body that it announces.
fn head(bytes: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(io::Error::other(format!("the answer is {:?}", response.code)));
    }
    let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
    length
        .map(|length| Some((head_bytes, length)))
        .ok_or_else(|| io::Error::other("the answer has no length"))
}
