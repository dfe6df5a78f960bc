//! The origin's role: hyper over a directory tree.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, RETRY_AFTER,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use super::range::{Fields, Selected, select};
use super::{COUNTERS_PATH, FAULTS_PATH, OriginCounters, OriginFault, OriginOptions, Wrong};
use crate::failure::{Failure, Step};

/// Bytes that are read and handed to a connection at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks that wait for a connection: one being sent, one ready.
const WAITING_BLOCKS: usize = 1;

/// The longest list of faults.
const FAULTS_BYTES_MAX: usize = 64 * 1024;

/// How long a client may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may take to send what was handed to it.
const FLUSH: Duration = Duration::from_millis(50);

/// How long a response that stalls does: longer than anybody should wait.
const STALL: Duration = Duration::from_secs(600);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What all connections share.
struct Origin {
    directory: PathBuf,
    faults: Mutex<Vec<OriginFault>>,
    counters: Mutex<OriginCounters>,
}

/// Serves until it is told to stop.
pub fn run(options: &OriginOptions) -> ExitCode {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .step("the runtime")
        .and_then(|runtime| runtime.block_on(serve(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("origin: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &OriginOptions) -> Result<(), Failure> {
    let mut told_to_stop = signal(SignalKind::terminate()).step("the signal")?;
    let listener = TcpListener::bind(options.listen).await.step("listening")?;
    publish_address(&options.address_file, &listener.local_addr().step("the address")?.to_string())?;
    let origin = Arc::new(Origin {
        directory: options.directory.clone(),
        faults: Mutex::default(),
        counters: Mutex::default(),
    });
    loop {
        tokio::select! {
            _ = told_to_stop.recv() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, origin.clone()))),
                // Out of descriptors: those who are connected go first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

/// Whole or not at all: somebody waits for the file.
pub(crate) fn publish_address(file: &Path, address: &str) -> Result<(), Failure> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, address).step("writing the address")?;
    fs::rename(&unfinished, file).step("writing the address")
}

async fn converse(stream: TcpStream, origin: Arc<Origin>) {
    let _ = stream.set_nodelay(true);
    let answer = hyper::service::service_fn(move |request| {
        let origin = origin.clone();
        async move { Ok::<_, Infallible>(origin.answer(request).await) }
    });
    // A client that goes away is no concern of ours; it is counted where its body ends.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

impl Origin {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match (request.method().clone(), request.uri().path()) {
            (Method::GET, COUNTERS_PATH) => json(&*lock(&self.counters)),
            (Method::GET, FAULTS_PATH) => json(&*lock(&self.faults)),
            (Method::PUT, FAULTS_PATH) => self.switch(request).await,
            (Method::GET | Method::HEAD, _) => self.object(&request),
            _ => {
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        }
    }

    async fn switch(&self, request: Request<Incoming>) -> Response<Body> {
        let content = Limited::new(request.into_body(), FAULTS_BYTES_MAX).collect().await;
        let faults = content.ok().and_then(|content| serde_json::from_slice(&content.to_bytes()).ok());
        let Some(faults) = faults else { return plain(StatusCode::BAD_REQUEST) };
        *lock(&self.faults) = faults;
        plain(StatusCode::NO_CONTENT)
    }

    fn object(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Body> {
        let Some(path) = decode(request.uri().path()) else { return plain(StatusCode::BAD_REQUEST) };
        let wrong =
            lock(&self.faults).iter().find(|fault| path.starts_with(&fault.paths)).map(|fault| fault.wrong);
        if let Some(Wrong::Status { status }) = wrong {
            let mut response =
                plain(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
            if status == 503 {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            return response;
        }
        let opened = File::open(self.directory.join(&path[1..]))
            .and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let Ok((file, metadata)) = opened else { return plain(StatusCode::NOT_FOUND) };
        if !metadata.is_file() {
            return plain(StatusCode::NOT_FOUND);
        }
        let etag = format!("\"{:x}-{:x}-{:x}\"", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        let field = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let fields =
            Fields { range: field(RANGE), if_range: field(IF_RANGE), if_none_match: field(IF_NONE_MATCH) };
        let selected = select(fields, &etag, metadata.len());
        let mut response = self.head(&selected, metadata.len());
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // Players in browsers come here as a last resort.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ETAG, value(&etag));
        let range = match selected {
            Selected::Whole => 0..metadata.len(),
            Selected::Part(range) => range,
            Selected::NotModified | Selected::Unsatisfiable => return response,
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        if request.method() == Method::GET {
            let (sender, body) = Channel::new(WAITING_BLOCKS);
            *response.body_mut() = body.boxed_unsync();
            tokio::spawn(self.clone().send(path, file, range, wrong, sender));
        }
        response
    }

    fn head(&self, selected: &Selected, length: u64) -> Response<Body> {
        match selected {
            Selected::NotModified => plain(StatusCode::NOT_MODIFIED),
            Selected::Whole => plain(StatusCode::OK),
            Selected::Part(range) => {
                let mut response = plain(StatusCode::PARTIAL_CONTENT);
                let stated = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                response.headers_mut().insert(CONTENT_RANGE, value(&stated));
                response
            }
            Selected::Unsatisfiable => {
                let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE);
                response.headers_mut().insert(CONTENT_RANGE, value(&format!("bytes */{length}")));
                response
            }
        }
    }

    /// Sends a range of a file, and counts it. Reads block this thread; the tree lies in the page cache, or on a local disk.
    async fn send(
        self: Arc<Self>,
        path: String,
        file: File,
        range: Range<u64>,
        wrong: Option<Wrong>,
        mut sender: Sender<Bytes, io::Error>,
    ) {
        self.begin(&path);
        let mut sent = 0;
        let ended = loop {
            if sent == range.end - range.start {
                break Ok(());
            }
            let allowed = match wrong {
                Some(Wrong::Stalled { after_bytes } | Wrong::Cut { after_bytes }) => after_bytes - sent,
                _ => u64::MAX,
            };
            let block_bytes = match wrong {
                // Ten times a second, so that it looks slow, and not stalled.
                Some(Wrong::Slow { bytes_per_second }) => {
                    (bytes_per_second / 10).clamp(1, BLOCK_BYTES as u64)
                }
                _ => BLOCK_BYTES as u64,
            };
            let bytes = (range.end - range.start - sent).min(allowed).min(block_bytes);
            if bytes == 0 {
                // A connection that is cut at once loses what was handed to it and counted.
                let is_stalled = matches!(wrong, Some(Wrong::Stalled { .. }));
                tokio::time::sleep(if is_stalled { STALL } else { FLUSH }).await;
                break Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            let mut block = vec![0; bytes as usize];
            if let Err(error) = file.read_exact_at(&mut block, range.start + sent) {
                break Err(error);
            }
            if wrong == Some(Wrong::WrongBytes) && sent == 0 {
                block[(bytes / 2) as usize] ^= 1;
            }
            if let Some(Wrong::Slow { bytes_per_second }) = wrong {
                tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64))
                    .await;
            }
            if sender.send_data(Bytes::from(block)).await.is_err() {
                break self.cut(sent);
            }
            sent += bytes;
            self.count(&path, bytes);
        };
        lock(&self.counters).open_responses -= 1;
        if let Err(error) = ended {
            sender.abort(error);
        }
    }

    fn begin(&self, path: &str) {
        let mut counters = lock(&self.counters);
        counters.requests += 1;
        counters.open_responses += 1;
        counters.objects.entry(path.to_owned()).or_default().requests += 1;
    }

    fn count(&self, path: &str, bytes: u64) {
        let mut counters = lock(&self.counters);
        counters.body_bytes += bytes;
        counters.objects.entry(path.to_owned()).or_default().body_bytes += bytes;
    }

    /// The client has gone.
    fn cut(&self, sent: u64) -> Result<(), io::Error> {
        lock(&self.counters).cut_bytes += sent;
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

fn json(document: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(text) => {
            Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
        }
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, hexadecimal digits and punctuation are a field's value")
}

/// The path of a target, decoded; `None` where it is none, or leads out of the tree.
fn decode(target: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(target.len());
    let mut rest = target.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    let path = String::from_utf8(bytes).ok()?;
    let is_inside = path.starts_with('/') && !path.contains('\0') && path[1..].split('/').all(is_component);
    is_inside.then_some(path)
}

fn is_component(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn paths_are_decoded_and_none_leads_out_of_the_tree() {
        assert_eq!(decode("/a/b%20c").as_deref(), Some("/a/b c"));
        for bad in ["/", "/..", "/a/../../b", "/%2e%2e/b", "/a//b", "/a%2", "/a%zz", "/%00", "/%ff", "a"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
