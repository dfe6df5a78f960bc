//! A plain HTTP/1.1 client: one connection, one request after another.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes of an answer that are read before its head is known.
const HEAD_BYTES: usize = 4096;

/// A connection, and what is read into.
pub struct Client {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, address, buffer: vec![0; BUFFER_BYTES] })
    }

    /// The client's own port.
    pub fn port(&self) -> io::Result<u16> {
        self.stream.local_addr().map(|address| address.port())
    }

    /// Fetches an object, throws it away, and gives its length.
    pub fn get(&mut self, target: &str) -> io::Result<u64> {
        let (came, length) = self.ask(target)?;
        let mut left = length - (came.end - came.start) as u64;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= read(&mut self.stream, &mut self.buffer[..most])? as u64;
        }
        Ok(length)
    }

    /// Fetches an object piece by piece into the same memory, and has each piece taken from there, with its place in the object.
    /// Gives its length.
    pub fn get_into(
        &mut self,
        target: &str,
        into: &mut [u8],
        mut take: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<u64> {
        let (came, length) = self.ask(target)?;
        let mut filled = came.end - came.start;
        into[..filled].copy_from_slice(&self.buffer[came]);
        let mut taken = 0;
        while taken < length {
            let most = into.len().min(usize::try_from(length - taken).unwrap_or(usize::MAX));
            while filled < most {
                filled += read(&mut self.stream, &mut into[filled..most])?;
            }
            take(&into[..most], taken)?;
            (taken, filled) = (taken + most as u64, 0);
        }
        Ok(length)
    }

    /// Asks for an object: what of it came with the head, in the buffer, and its length. Anything but 200 with a length is an error.
    fn ask(&mut self, target: &str) -> io::Result<(Range<usize>, u64)> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        loop {
            // No more than a head and a little: the rest goes where it belongs.
            filled += read(&mut self.stream, &mut self.buffer[filled..HEAD_BYTES])?;
            let Some((head_bytes, length)) = head(&self.buffer[..filled])? else { continue };
            if (filled - head_bytes) as u64 > length {
                return Err(io::Error::other("more came than was asked for"));
            }
            return Ok((head_bytes..filled, length));
        }
    }
}

fn read(stream: &mut TcpStream, target: &mut [u8]) -> io::Result<usize> {
    match stream.read(target)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
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
