//! Fetching one object from one source: asked for, held against the descriptor while it comes, resumed from where it broke
//! off, and on the disk when this is done.
//!
//! `take a connection → ask (a range, where it is resumed) → judge the head → receive, write, digest → compare`

mod answer;
mod connection;
mod fault;
mod object_writer;
mod paced;
mod receiving;
mod source_url;
mod speed_watch;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use control_client::content::Sha256;
use control_client::demand::FILL_AGENT_PREFIX;
use control_client::sources::SourceKind;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, HOST, IF_RANGE, RANGE, USER_AGENT};
use hyper::{Method, Request, Response};

use answer::{Asked, judge};
use connection::Connection;
use receiving::Receiving;

pub use connection::Connections;
pub use fault::Fault;
pub use object_writer::{ObjectWriter, Received};
pub use paced::{Meter, PacedStream};
pub use source_url::SourceUrl;
pub use tls::connector;

use crate::disk::DiskError;
use crate::limits::{OBJECT_FAILURES_MAX, OBJECT_PROGRESS_BYTES, OBJECT_RETRY};
use crate::random::jitter;
use crate::tally::SourceTally;

/// An object, and where to ask for it.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The source.
    pub url: &'a SourceUrl,
    /// What it is.
    pub kind: SourceKind,
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

impl Fetcher {
    /// Whether the source has the object, without its bytes.
    pub async fn probe(&self, wanted: &Wanted<'_>) -> Result<(), Fault> {
        let asked = wanted.asked(0, None);
        let (connection, response) = self.ask(wanted, Method::HEAD, &asked).await?;
        match judge(&asked, response.status().as_u16(), response.headers()) {
            // A source that knows only GET.
            Ok(_) | Err(Fault::Status(405 | 501)) => {}
            Err(fault) => return Err(fault),
        }
        self.connections.give_back(wanted.url, connection).await;
        Ok(())
    }

    /// Fetches an object whole, and writes it. The checksums of what was written are returned; see
    /// [`Received::checksums`].
    pub async fn fetch(
        &self,
        wanted: Wanted<'_>,
        writer: ObjectWriter<'_>,
        tally: &Arc<SourceTally>,
    ) -> Result<Vec<u32>, Failed> {
        let mut object = Receiving::new(wanted, writer, tally);
        let received = self.receive_whole(&mut object).await;
        let Receiving { wanted, writer, has_changed, .. } = object;
        if let Err(failed) = received {
            tally.waste(writer.received());
            return Err(match failed {
                Failed::Source(_) => writer.abandon().await.err().map_or(failed, Failed::Disk),
                Failed::Disk(error) => Failed::Disk(writer.abandon_after(error).await),
            });
        }
        let found = writer.finish().await.map_err(Failed::Disk)?;
        if found.sha256 == wanted.sha256 {
            return Ok(found.checksums);
        }
        tally.waste(wanted.bytes);
        Err(Failed::Source(if has_changed { Fault::Changed } else { Fault::WrongBytes(found.sha256) }))
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
            object.broken = Some(fault);
            tokio::time::sleep(OBJECT_RETRY.delay(failures - 1, jitter())).await;
        }
    }

    /// One request and its answer.
    async fn exchange(&self, object: &mut Receiving<'_>) -> Result<(), Failed> {
        if object.writer.received() > 0 && object.validator.is_none() {
            object.restart().await?;
        }
        let from = object.writer.received();
        let validator = object.validator.take().filter(|_| from > 0);
        let asked = object.wanted.asked(from, validator.as_deref());
        let asking = self.ask(&object.wanted, Method::GET, &asked).await;
        let (connection, response) = asking.map_err(|fault| {
            // What could not be asked has not said that it is another one.
            object.validator = validator.clone();
            Failed::Source(fault)
        })?;
        let promised =
            judge(&asked, response.status().as_u16(), response.headers()).map_err(Failed::Source)?;
        if promised.from < from {
            object.has_changed |= promised.has_changed;
            object.restart().await?;
        }
        object.validator = promised.validator;
        if object.receive(&connection.meter, response.into_body(), self.stall_timeout).await? {
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
            let meter = Arc::clone(&connection.meter);
            match meter.within(self.stall_timeout, connection.ask(request)).await {
                Some(Ok(response)) => return Ok((connection, response)),
                Some(Err(error)) if error.is_parse() || error.is_parse_too_large() => {
                    return Err(Fault::Head(with_source(&error)));
                }
                Some(Err(_)) if connection.is_used => {}
                Some(Err(error)) => return Err(broken(asked.from, &error)),
                None => return Err(Fault::Stalled(self.stall_timeout)),
            }
        }
    }
}

impl<'a> Wanted<'a> {
    /// What is asked for, from that byte on.
    fn asked<'b>(&'b self, from: u64, validator: Option<&'b str>) -> Asked<'b> {
        let edition = (self.kind != SourceKind::Origin).then_some(&self.sha256);
        Asked { bytes: self.bytes, from, validator, edition }
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
