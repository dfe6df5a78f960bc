//! What comes through the doors, and its bounds: connections, head, content, time.
//!
//! One request a connection. Pollers come every few seconds, and can afford to connect; and nobody keeps a
//! place who asks nothing.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use control_client::process::{Peer, PrivateSocket};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::answers::{self, Body};
use super::changes;
use super::routes::{Access, Refusal, Route, route};
use super::{AnswerClass, demand, inventory, limits, tcp};
use crate::appliance::Appliance;
use crate::metrics::Metrics;

/// An open door.
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(PrivateSocket),
}

/// What every request needs: the appliance, and a place among those who do the same.
pub(super) struct Desk {
    pub(super) appliance: Arc<Appliance>,
    pub(super) metrics: Metrics,
    pub(super) retires: Arc<Semaphore>,
    pub(super) changes: Arc<Semaphore>,
    pub(super) inventories: Arc<Semaphore>,
    pub(super) demands: Arc<Semaphore>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Tcp,
    Unix(Peer),
    RefusedUnix,
}

const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the doors open until told to stop; then lets what is in flight end within a bound.
pub(super) async fn serve(appliance: Arc<Appliance>, doors: Vec<Door>, mut stopped: watch::Receiver<bool>) {
    let desk = Arc::new(Desk {
        metrics: Metrics::new(Arc::clone(&appliance)),
        appliance,
        retires: Arc::new(Semaphore::new(limits::RETIRES_MAX)),
        changes: Arc::new(Semaphore::new(limits::CHANGES_MAX)),
        inventories: Arc::new(Semaphore::new(limits::INVENTORIES_MAX)),
        demands: Arc::new(Semaphore::new(limits::DEMANDS_MAX)),
    });
    let mut open = JoinSet::new();
    let mut places_of_doors = Vec::new();
    for door in doors {
        let places = Arc::new(Semaphore::new(limits::CONNECTIONS_PER_DOOR));
        places_of_doors.push(Arc::clone(&places));
        open.spawn(keep_open(door, Arc::clone(&desk), places));
    }
    // An error means that whoever could stop us is gone, which is the same.
    let _ = stopped.wait_for(|&stopped| stopped).await;
    open.shutdown().await;
    let _ = tokio::time::timeout(limits::STOP_TIMEOUT, all_gone(&places_of_doors)).await;
}

/// Waits until every place of every door is free.
async fn all_gone(places_of_doors: &[Arc<Semaphore>]) {
    for places in places_of_doors {
        let all = u32::try_from(limits::CONNECTIONS_PER_DOOR).unwrap_or(u32::MAX);
        let _ = places.acquire_many(all).await;
    }
}

async fn keep_open(door: Door, desk: Arc<Desk>, places: Arc<Semaphore>) {
    let kept = match door {
        Door::Tcp(listener) => keep_tcp_open(listener, desk, places).await,
        Door::Unix(door) => keep_unix_open(door, desk, places).await,
    };
    if let Err(error) = kept {
        tracing::error!(%error, "a listener of the admin API could not be watched; restart the daemon");
    }
}

async fn keep_tcp_open(listener: TcpListener, desk: Arc<Desk>, places: Arc<Semaphore>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut failures = Failures::default();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) if tcp::prepare(&stream).is_ok() => {
                begin(stream, Caller::Tcp, limits::TCP_LIFETIME, &desk, place);
            }
            Ok(_) => {} // already gone
            Err(error) => failures.pause_after(&error).await,
        }
    }
    Ok(())
}

async fn keep_unix_open(door: PrivateSocket, desk: Arc<Desk>, places: Arc<Semaphore>) -> io::Result<()> {
    let (listener, _name) = door.into_parts();
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let mut failures = Failures::default();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let caller = caller_of(&stream, &desk);
                begin(stream, caller, limits::UNIX_LIFETIME, &desk, place);
            }
            Err(error) => failures.pause_after(&error).await,
        }
    }
    Ok(())
}

fn caller_of(stream: &tokio::net::UnixStream, desk: &Desk) -> Caller {
    match Peer::of(stream) {
        Ok(peer) if peer.is_allowed_here() => Caller::Unix(peer),
        Ok(peer) => {
            desk.appliance.admin.refused_peers.fetch_add(1, Relaxed);
            tracing::warn!(
                peer.user,
                peer.group,
                peer.process,
                "a peer of the admin socket was refused; only root, the daemon's user and its group may \
                make changes"
            );
            Caller::RefusedUnix
        }
        Err(error) => {
            desk.appliance.admin.refused_peers.fetch_add(1, Relaxed);
            tracing::warn!(%error, "the kernel does not say who a peer of the admin socket is; it was \
                refused");
            Caller::RefusedUnix
        }
    }
}

/// Serves one connection in a task of its own.
fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Caller,
    lifetime: Duration,
    desk: &Arc<Desk>,
    place: OwnedSemaphorePermit,
) {
    let desk = Arc::clone(desk);
    tokio::spawn(async move {
        let _place = place;
        let _open = OpenConnection::count(&desk.appliance);
        let service = service_fn(|request| {
            let desk = Arc::clone(&desk);
            async move { Ok::<_, Infallible>(respond(&desk, caller, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER_TIMEOUT)
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Errors are the peer's: what it did not send in time, or did not wait for.
        let _ = tokio::time::timeout(lifetime, connection).await;
    });
}

async fn respond(desk: &Arc<Desk>, caller: Caller, request: Request<Incoming>) -> Response<Body> {
    let response = match caller {
        Caller::RefusedUnix => answers::failure(
            StatusCode::FORBIDDEN,
            "peer_refused",
            "only root, the daemon's user and its group may use this socket; run the command with sudo",
        ),
        Caller::Tcp | Caller::Unix(_) => answer(desk, caller, request).await,
    };
    let class = match response.status().as_u16() {
        ..=399 => AnswerClass::Done,
        400..=499 => AnswerClass::ClientError,
        500.. => AnswerClass::ServerError,
    };
    desk.appliance.admin.answered[class as usize].fetch_add(1, Relaxed);
    response
}

async fn answer(desk: &Arc<Desk>, caller: Caller, request: Request<Incoming>) -> Response<Body> {
    let (access, peer) = match caller {
        Caller::Unix(peer) => (Access::Changes, Some(peer)),
        Caller::Tcp | Caller::RefusedUnix => (Access::ReadOnly, None),
    };
    let uri = request.uri();
    match (route(request.method(), uri.path(), uri.query().unwrap_or(""), access), peer) {
        (Ok(Route::Health), _) => answers::health(&desk.appliance),
        (Ok(Route::Metrics), _) => answers::metrics(&desk.metrics),
        (Ok(Route::Status), _) => answers::status(&desk.appliance),
        (Ok(Route::Load), _) => answers::load(&desk.appliance),
        (Ok(Route::Demand), _) => demand::answer(desk).await,
        (Ok(Route::Inventory(page)), _) => inventory::answer(desk, page),
        (Ok(Route::Change(change)), Some(peer)) => {
            changes::make(desk, change, peer, request.into_body()).await
        }
        (Ok(Route::Change(_)), None) => refuse(Refusal::UnixSocketOnly),
        (Err(refusal), _) => refuse(refusal),
    }
}

fn refuse(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::UnknownPath => answers::failure(
            StatusCode::NOT_FOUND,
            "unknown_path",
            "there is /health, /load, /metrics, /inventory, /demand and /status",
        ),
        Refusal::UnixSocketOnly => answers::failure(
            StatusCode::NOT_FOUND,
            "unix_socket_only",
            "changes are made at the Unix socket alone, see admin.socket of the configuration",
        ),
        Refusal::Method(allowed) => {
            let detail = format!("this path takes {allowed}");
            let mut response =
                answers::failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &detail);
            response
                .headers_mut()
                .insert(hyper::header::ALLOW, hyper::header::HeaderValue::from_static(allowed));
            response
        }
        Refusal::Query(detail) => answers::failure(StatusCode::BAD_REQUEST, "malformed_query", &detail),
    }
}

/// Counts a connection while it lives.
struct OpenConnection<'a>(&'a Appliance);

impl<'a> OpenConnection<'a> {
    fn count(appliance: &'a Appliance) -> Self {
        appliance.admin.open_connections.fetch_add(1, Relaxed);
        OpenConnection(appliance)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.admin.open_connections.fetch_sub(1, Relaxed);
    }
}

/// Failed accepts of one door.
#[derive(Default)]
struct Failures {
    last_warning: Option<Instant>,
}

impl Failures {
    async fn pause_after(&mut self, error: &io::Error) {
        if self.last_warning.is_none_or(|warning| warning.elapsed() >= WARN_INTERVAL) {
            self.last_warning = Some(Instant::now());
            tracing::warn!(%error, "the admin API could not accept a connection; if descriptors are short, \
                raise LimitNOFILE of the unit");
        }
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}
