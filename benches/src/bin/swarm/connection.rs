//! One HTTP/1.1 connection of a player: one request after another, read as fast as the viewer's link brings it.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::link::Link;

/// How long a player waits for a connection, and for the next byte: a buffer of ten seconds outlives it.
const PATIENCE: Duration = Duration::from_secs(4);

/// The receive buffer that is asked for, in bytes; the kernel doubles it. It is what a sender can be ahead of the link.
const RECEIVE_BUFFER_BYTES: u32 = 32 << 10;

/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Fields of a head.
const FIELDS_MAX: usize = 48;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// All players of a thread read into it, none across a wait.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody takes the connection.
    Unreachable,
    /// The connection ended before the answer did; `false` where nothing of the answer had come.
    Cut { has_begun: bool },
    /// Nothing came for too long.
    Silent,
    /// Another status than 200.
    Refused(u16),
    /// No answer that can be read.
    Malformed,
}

/// A connection that is open.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// Whether it can be asked again.
    pub(crate) is_reusable: bool,
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// The bytes of the head itself.
    bytes: usize,
    body_bytes: u64,
    closes: bool,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Fault> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(|_| Fault::Unreachable)?;
        // A buffer of another size makes the link less true, and nothing else.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let stream = timeout(PATIENCE, socket.connect(address)).await.map_err(|_| Fault::Silent)?;
        let stream = stream.map_err(|_| Fault::Unreachable)?;
        let _ = stream.set_nodelay(true);
        Ok(Self { stream, address, is_reusable: true })
    }

    /// Asks for a target, with these lines in the request's head, each with its end, and gives how many bytes its body had. They are
    /// appended to `keep`, or thrown away. A connection whose answer was dropped half read must be dropped, too.
    pub(crate) async fn get(
        &mut self,
        target: &str,
        lines: &str,
        link: &mut Link,
        began: Instant,
        mut keep: Option<&mut Vec<u8>>,
    ) -> Result<u64, Fault> {
        self.is_reusable = false;
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", self.address);
        self.send(request.as_bytes()).await?;
        let (mut gathered, mut head) = (Vec::new(), None);
        let mut left = 0;
        while head.is_none() || left > 0 {
            // Of the head no more than itself and a little, of the body no more than is left.
            let most =
                if head.is_none() { HEAD_BYTES_MAX } else { usize::try_from(left).unwrap_or(usize::MAX) };
            let has_begun = head.is_some() || !gathered.is_empty();
            let wanted = wanted(link, began).await.min(most);
            let read = self.read(wanted, has_begun, |bytes| match head {
                None => gathered.extend_from_slice(bytes),
                Some(_) => keep.iter_mut().for_each(|keep| keep.extend_from_slice(bytes)),
            });
            let read = read.await?;
            link.take(read);
            if head.is_some() {
                left -= read as u64;
            } else if let Some(found) = parse(&gathered)? {
                let came = (gathered.len() - found.bytes) as u64;
                left = found.body_bytes.checked_sub(came).ok_or(Fault::Malformed)?;
                keep.iter_mut().for_each(|keep| keep.extend_from_slice(&gathered[found.bytes..]));
                head = Some(found);
            } else if gathered.len() >= HEAD_BYTES_MAX {
                return Err(Fault::Malformed);
            }
        }
        let Some(head) = head else { return Err(Fault::Malformed) };
        self.is_reusable = !head.closes;
        if head.status == 200 { Ok(head.body_bytes) } else { Err(Fault::Refused(head.status)) }
    }

    async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            timeout(PATIENCE, self.stream.writable())
                .await
                .map_err(|_| Fault::Silent)?
                .map_err(|_| Fault::Cut { has_begun: false })?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Fault::Cut { has_begun: false }),
            }
        }
        Ok(())
    }

    async fn read(
        &mut self,
        most: usize,
        has_begun: bool,
        mut take: impl FnMut(&[u8]),
    ) -> Result<usize, Fault> {
        loop {
            timeout(PATIENCE, self.stream.readable())
                .await
                .map_err(|_| Fault::Silent)?
                .map_err(|_| Fault::Cut { has_begun })?;
            let read = BUFFER.with_borrow_mut(|buffer| {
                let most = most.min(buffer.len());
                let read = self.stream.try_read(&mut buffer[..most]);
                read.inspect(|read| take(&buffer[..*read]))
            });
            match read {
                Ok(0) => return Err(Fault::Cut { has_begun }),
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Fault::Cut { has_begun }),
            }
        }
    }
}

/// Waits until the link allows something, and says how much.
async fn wanted(link: &mut Link, began: Instant) -> usize {
    loop {
        match link.allowance(began.elapsed()) {
            Ok(bytes) => return bytes,
            Err(wait) => sleep(wait).await,
        }
    }
}

/// The head of an answer, once all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).map_err(|_| Fault::Malformed)? else {
        return Ok(None);
    };
    let value = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok().map(str::trim)
    };
    let body_bytes =
        value("content-length").and_then(|length| length.parse().ok()).ok_or(Fault::Malformed)?;
    let closes = value("connection")
        .is_some_and(|options| options.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")));
    Ok(Some(Head { status: response.code.ok_or(Fault::Malformed)?, bytes: head_bytes, body_bytes, closes }))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("unreachable"),
            Self::Cut { .. } => f.write_str("cut off"),
            Self::Silent => f.write_str("silent"),
            Self::Refused(status) => write!(f, "{status}"),
            Self::Malformed => f.write_str("no answer that can be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives these answers, each to one read, on one connection, and then closes it.
    fn server(answers: Vec<Vec<u8>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&answer);
            }
        });
        address
    }

    fn answer(status: u16, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_connection_is_asked_again_after_an_answer_and_after_a_refusal() {
        let body = vec![7; 300_000];
        let address = server(vec![answer(404, b"no"), answer(200, &body)]);
        run(async {
            let mut connection = Connection::open(address).await.unwrap();
            let (mut link, began, mut kept) = (Link::unlimited(), Instant::now(), Vec::new());
            assert_eq!(connection.get("/a", "", &mut link, began, None).await, Err(Fault::Refused(404)));
            assert!(connection.is_reusable);
            assert_eq!(connection.get("/b", "", &mut link, began, Some(&mut kept)).await, Ok(300_000));
            assert!(kept == body);
        });
    }

    #[test]
    fn an_answer_that_ends_too_soon_is_cut() {
        let mut short = answer(200, &[7; 1000]);
        short.truncate(600);
        let address = server(vec![short]);
        run(async {
            let mut connection = Connection::open(address).await.unwrap();
            let fault = connection.get("/a", "", &mut Link::unlimited(), Instant::now(), None).await;
            assert_eq!(fault, Err(Fault::Cut { has_begun: true }));
            assert!(!connection.is_reusable);
        });
    }

    #[test]
    fn a_body_comes_as_fast_as_the_link() {
        let address = server(vec![answer(200, &vec![7; 200_000])]);
        run(async {
            let mut connection = Connection::open(address).await.unwrap();
            let began = Instant::now();
            let mut link = Link::new(4_000_000, began.elapsed());
            assert_eq!(connection.get("/a", "", &mut link, began, None).await, Ok(200_000));
            let took = began.elapsed().as_secs_f64();
            assert!((0.38..2.0).contains(&took), "{took}");
        });
    }

    #[test]
    fn a_request_has_the_lines_that_are_given_to_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(&answer(200, b"")).unwrap();
            String::from_utf8(head).unwrap()
        });
        run(async {
            let mut connection = Connection::open(address).await.unwrap();
            let (mut link, lines) = (Link::unlimited(), "CMCD-Request: bl=0,su\r\nCMCD-Status: bs\r\n");
            assert_eq!(connection.get("/a", lines, &mut link, Instant::now(), None).await, Ok(0));
        });
        let expected = "GET /a HTTP/1.1\r\nHost: ADDRESS\r\nCMCD-Request: bl=0,su\r\nCMCD-Status: bs\r\n\r\n";
        assert_eq!(server.join().unwrap(), expected.replace("ADDRESS", &address.to_string()));
    }

    #[test]
    fn heads_say_how_long_the_body_is_and_whether_the_connection_stays() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive, close\r\n\r\nhello";
        let head = Head { status: 200, bytes: text.len() - 5, body_bytes: 5, closes: true };
        assert_eq!(parse(text), Ok(Some(head)));
        assert_eq!(parse(&text[..30]), Ok(None));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(Fault::Malformed));
    }
}
