//! Fetching one object from one source: asked for, held against the descriptor while it comes, resumed from where it broke
//! off, and on the disk when this is done.
//!
//! `take a connection → ask (a range, where it is resumed) → judge the head → receive, write, digest → compare`

mod answer;
mod connection;
mod fault;
mod object_writer;
mod paced;
mod source_url;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use control_client::content::Sha256;
use control_client::demand::FILL_AGENT_PREFIX;
use control_client::sources::SourceKind;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, HOST, IF_RANGE, RANGE, USER_AGENT};
use hyper::{Method, Request, Response};

use answer::{Asked, Promised, judge};
use connection::Connection;

pub use connection::Connections;
pub use fault::Fault;
pub use object_writer::ObjectWriter;
pub use paced::{Meter, PacedStream};
pub use source_url::SourceUrl;
pub use tls::connector;

use crate::disk::DiskError;
use crate::limits::{
    OBJECT_FAILURES_MAX, OBJECT_PROGRESS_BYTES, OBJECT_RESTARTS_MAX, OBJECT_RETRY,
    SOURCE_BYTES_PER_SECOND_MIN,
};
use crate::random::jitter;
use crate::tally::SourceTally;

/// An object, and where to ask for it.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The source.
    pub url: &'a SourceUrl,
    /// The target of the request.
    pub target: String,
    /// The object's length, by the descriptor.
    pub bytes: u64,
    /// Its digest, by the descriptor.
    pub sha256: Sha256,
}

/// Why an object is not on the disk.
#[derive(Debug)]
pub enum Failed {
    /// The source did something wrong.
    Source(Fault),
    /// The disk did.
    Disk(DiskError),
}

/// Fetches objects.
pub struct Fetcher {
    /// To all sources.
    pub connections: Connections,
    /// How long a source may send nothing.
    pub stall_timeout: Duration,
}

/// One object on its way.
struct Receiving<'a> {
    wanted: Wanted<'a>,
    writer: ObjectWriter<'a>,
    tally: &'a Arc<SourceTally>,
    /// What it can be resumed by.
    validator: Option<String>,
    has_changed: bool,
    restarts: u32,
}

impl Fetcher {
    /// Whether the source has the object, without its bytes. Of another appliance the edition is known by the object's tag,
    /// which follows from its digest.
    pub async fn probe(&self, wanted: &Wanted<'_>, kind: SourceKind) -> Result<(), Fault> {
        let asked = Asked { bytes: wanted.bytes, from: 0, validator: None };
        let (connection, response) = self.ask(wanted, Method::HEAD, &asked).await?;
        match judge(&asked, response.status().as_u16(), response.headers()) {
            Ok(Promised { validator: Some(tag), .. })
                if kind != SourceKind::Origin && is_of_another(&tag, &wanted.sha256) =>
            {
                return Err(Fault::OtherEdition);
            }
            Err(Fault::Length { .. }) if kind != SourceKind::Origin => return Err(Fault::OtherEdition),
            // A source that knows only GET.
            Ok(_) | Err(Fault::Status(405 | 501)) => {}
            Err(fault) => return Err(fault),
        }
        self.connections.give_back(wanted.url, connection).await;
        Ok(())
    }

    /// Fetches an object whole, and writes it.
    pub async fn fetch(
        &self,
        wanted: Wanted<'_>,
        writer: ObjectWriter<'_>,
        tally: &Arc<SourceTally>,
    ) -> Result<(), Failed> {
        let mut object =
            Receiving { wanted, writer, tally, validator: None, has_changed: false, restarts: 0 };
        let received = self.receive_whole(&mut object).await;
        let Receiving { wanted, writer, has_changed, .. } = object;
        if let Err(failed) = received {
            tally.waste(writer.received());
            return Err(failed);
        }
        let found = writer.finish().await.map_err(Failed::Disk)?;
        if found == wanted.sha256 {
            return Ok(());
        }
        tally.waste(wanted.bytes);
        Err(Failed::Source(if has_changed { Fault::Changed } else { Fault::WrongBytes(found) }))
    }

    /// Goes on where it broke off, until all is there or nothing more comes.
    async fn receive_whole(&self, object: &mut Receiving<'_>) -> Result<(), Failed> {
        let mut failures = 0;
        loop {
            let before = object.writer.received();
            let fault = match self.exchange(object).await {
                Ok(()) => return Ok(()),
                Err(Failed::Source(fault)) if fault.is_resumable() => fault,
                Err(failed) => return Err(failed),
            };
            let progress = object.writer.received().saturating_sub(before);
            failures = if progress >= OBJECT_PROGRESS_BYTES { 1 } else { failures + 1 };
            // Of what was never begun nothing is lost; whom to ask is decided anew.
            if failures >= OBJECT_FAILURES_MAX || object.writer.received() == 0 {
                return Err(Failed::Source(fault));
            }
            tracing::debug!(target = object.wanted.target, %fault, "an object broke off, and is resumed");
            tokio::time::sleep(OBJECT_RETRY.delay(failures - 1, jitter())).await;
        }
    }

    /// One request and its answer.
    async fn exchange(&self, object: &mut Receiving<'_>) -> Result<(), Failed> {
        if object.writer.received() > 0 && object.validator.is_none() {
            object.restart().map_err(Failed::Source)?;
        }
        let from = object.writer.received();
        let validator = object.validator.take().filter(|_| from > 0);
        let asked = Asked { bytes: object.wanted.bytes, from, validator: validator.as_deref() };
        let (connection, response) =
            self.ask(&object.wanted, Method::GET, &asked).await.map_err(|fault| {
                // What could not be asked has not said that it is another one.
                object.validator = validator.clone();
                Failed::Source(fault)
            })?;
        let promised =
            judge(&asked, response.status().as_u16(), response.headers()).map_err(Failed::Source)?;
        if promised.from < from {
            object.restart().map_err(Failed::Source)?;
            object.has_changed |= promised.has_changed;
        }
        object.validator = promised.validator;
        let is_reusable = self.receive(object, &connection, response.into_body()).await?;
        if is_reusable {
            self.connections.give_back(object.wanted.url, connection).await;
        }
        Ok(())
    }

    /// Sends a request. A connection that was idle may have died of it: then another one is taken.
    async fn ask(
        &self,
        wanted: &Wanted<'_>,
        method: Method,
        asked: &Asked<'_>,
    ) -> Result<(Connection, Response<Incoming>), Fault> {
        loop {
            let mut connection = self.connections.take(wanted.url).await?;
            let request = request(wanted, method.clone(), asked)?;
            match tokio::time::timeout(self.stall_timeout, connection.ask(request)).await {
                Ok(Ok(response)) => return Ok((connection, response)),
                Ok(Err(error)) if error.is_parse() || error.is_parse_too_large() => {
                    return Err(Fault::Head(with_source(&error)));
                }
                Ok(Err(_)) if connection.is_used => {}
                Ok(Err(error)) => return Err(broken(asked.from, &error)),
                Err(_) => return Err(Fault::Stalled(self.stall_timeout)),
            }
        }
    }

    /// Takes the body, and no byte more than the object has. Whether the connection can be used again.
    async fn receive(
        &self,
        object: &mut Receiving<'_>,
        connection: &Connection,
        mut body: Incoming,
    ) -> Result<bool, Failed> {
        let expected = object.wanted.bytes;
        let mut watch = SpeedWatch::new(self.stall_timeout);
        loop {
            let (seen, paused, began) =
                (connection.meter.received(), connection.meter.paused(), Instant::now());
            let frame = tokio::time::timeout(self.stall_timeout, body.frame()).await;
            let received = object.writer.received();
            let bytes = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(_))) if received == expected => return Ok(false),
                Ok(Some(Err(error))) => return Err(Failed::Source(broken(received, &error))),
                Ok(None) if received == expected => return Ok(true),
                Ok(None) => return Err(Failed::Source(length(expected, received))),
                // It is our own pace that holds it up, or bytes came that are no body yet.
                Err(_) if connection.meter.is_paused() || connection.meter.received() > seen => continue,
                Err(_) => return Err(Failed::Source(Fault::Stalled(self.stall_timeout))),
            };
            if bytes.len() as u64 > expected - received {
                object.tally.receive(bytes.len() as u64);
                object.tally.waste(bytes.len() as u64);
                return Err(Failed::Source(Fault::Length { expected, found: "more".to_owned() }));
            }
            object.tally.receive(bytes.len() as u64);
            let waited = began.elapsed().saturating_sub(connection.meter.paused().saturating_sub(paused));
            object.writer.append(&bytes).await.map_err(Failed::Disk)?;
            watch.observe(bytes.len() as u64, waited).map_err(Failed::Source)?;
        }
    }
}

impl Receiving<'_> {
    /// Begins anew, from the first byte.
    fn restart(&mut self) -> Result<(), Fault> {
        self.restarts += 1;
        if self.restarts > OBJECT_RESTARTS_MAX {
            return Err(Fault::Changed);
        }
        self.tally.waste(self.writer.received());
        self.writer.restart();
        Ok(())
    }
}

/// How fast a source sends while it is waited for.
struct SpeedWatch {
    span: Duration,
    bytes: u64,
    waited: Duration,
}

impl SpeedWatch {
    fn new(span: Duration) -> Self {
        Self { span, bytes: 0, waited: Duration::ZERO }
    }

    /// Judges each span of waiting by itself.
    fn observe(&mut self, bytes: u64, waited: Duration) -> Result<(), Fault> {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.span {
            return Ok(());
        }
        let bytes_per_second = (self.bytes as f64 / self.waited.as_secs_f64()) as u64;
        (self.bytes, self.waited) = (0, Duration::ZERO);
        if bytes_per_second < SOURCE_BYTES_PER_SECOND_MIN {
            return Err(Fault::Slow { bytes_per_second });
        }
        Ok(())
    }
}

fn request(wanted: &Wanted<'_>, method: Method, asked: &Asked<'_>) -> Result<Request<Empty<Bytes>>, Fault> {
    let mut request = Request::builder()
        .method(method)
        .uri(&wanted.target)
        .header(HOST, &wanted.url.authority)
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, format!("{FILL_AGENT_PREFIX}{}", env!("CARGO_PKG_VERSION")));
    if let Some(validator) = asked.validator {
        request = request.header(RANGE, format!("bytes={}-", asked.from)).header(IF_RANGE, validator);
    }
    request.body(Empty::new()).map_err(|error| Fault::Head(format!("it cannot be asked: {error}")))
}

/// Whether a tag is one that appliances give, half of the digest in hexadecimal digits, and of other bytes.
fn is_of_another(tag: &str, sha256: &Sha256) -> bool {
    let digits = tag.trim_matches('"');
    let is_of_an_appliance = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_of_an_appliance && !sha256.to_string().starts_with(digits)
}

fn length(expected: u64, received: u64) -> Fault {
    Fault::Length { expected, found: received.to_string() }
}

fn broken(received: u64, error: &hyper::Error) -> Fault {
    Fault::Broken { received, detail: with_source(error) }
}

fn with_source(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(fault) => fault.fmt(formatter),
            Self::Disk(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Failed {}
