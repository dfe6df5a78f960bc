//! What the agent tells on its Unix socket, and what it can be told there.
//!
//! | request | answer |
//! |---|---|
//! | `GET /fill` | how the fill goes |
//! | `GET /plan` | what a run would do now |
//! | `GET /history` | the last runs |
//! | `POST /run` | a run begins, whatever the window says, or follows the one under way; then as `GET /fill` |
//!
//! Failures are [`Failure`] documents. One request a connection.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_client::admin::Failure;
use control_client::process::{Peer, PrivateSocket, PrivateSocketError};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::agent::{Agent, locked};
use crate::limits::{HEAD_BYTES_MAX, SOCKET_BACKLOG, SOCKET_CONNECTIONS_MAX, SOCKET_TIMEOUT};
use crate::planning;

/// Why the agent has no socket.
#[derive(Debug)]
pub struct NoSocket(PrivateSocketError);

/// Binds `fill.socket`.
pub fn bind(path: &Path) -> Result<PrivateSocket, NoSocket> {
    PrivateSocket::bind(path, SOCKET_BACKLOG).map_err(NoSocket)
}

/// Answers whoever comes. Never ends by itself.
pub async fn serve(agent: Arc<Agent>, socket: PrivateSocket) {
    let (listener, _name) = socket.into_parts();
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the agent's socket could not be watched; restart the agent");
            return std::future::pending().await;
        }
    };
    let places = Arc::new(Semaphore::new(SOCKET_CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let agent = Arc::clone(&agent);
                tokio::spawn(async move {
                    let _place = place;
                    exchange(agent, stream).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the agent's socket could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// After an accept that failed, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the peer may ask and tell: the kernel says who it is.
fn is_allowed(stream: &UnixStream) -> bool {
    let Ok(peer) = Peer::of(stream) else { return false };
    if !peer.is_allowed_here() {
        tracing::warn!(
            peer.user,
            peer.group,
            "a peer of the agent's socket was refused; only root, the agent's user and its group may use it"
        );
    }
    peer.is_allowed_here()
}

async fn exchange(agent: Arc<Agent>, stream: UnixStream) {
    let is_allowed = is_allowed(&stream);
    let service = service_fn(|request| {
        let agent = Arc::clone(&agent);
        async move {
            let answer = if is_allowed {
                answer(&agent, request).await
            } else {
                failure(
                    StatusCode::FORBIDDEN,
                    "peer_refused",
                    "only root, the agent's user and its group may use this socket; run the command with sudo",
                )
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Errors are the peer's: what it did not send in time, or did not wait for.
    let _ = tokio::time::timeout(SOCKET_TIMEOUT, connection).await;
}

/// A request's head is small, and the peer is on this machine.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

async fn answer(agent: &Arc<Agent>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let method = request.method();
    match request.uri().path() {
        "/fill" if *method == Method::GET => document(StatusCode::OK, &agent.progress()),
        "/history" if *method == Method::GET => document(StatusCode::OK, &locked(&agent.history).document()),
        "/plan" if *method == Method::GET => plan(agent).await,
        "/run" if *method == Method::POST => run(agent).await,
        "/fill" | "/history" | "/plan" => not_allowed("GET"),
        "/run" => not_allowed("POST"),
        _ => failure(
            StatusCode::NOT_FOUND,
            "unknown_path",
            "there is GET /fill, /plan and /history, and POST /run",
        ),
    }
}

async fn plan(agent: &Arc<Agent>) -> Response<Full<Bytes>> {
    match make_plan(agent).await {
        Ok(report) => document(StatusCode::OK, &report),
        Err((error, detail)) => failure(StatusCode::SERVICE_UNAVAILABLE, error, &detail),
    }
}

/// What a run would do now; otherwise why that cannot be said, for programs and for people.
pub async fn make_plan(
    agent: &Arc<Agent>,
) -> Result<control_client::fill::FillPlanReport, (&'static str, String)> {
    if let Err(error) = agent.renew_manifest().await {
        tracing::warn!(%error, "there is no newer manifest; the plan is of the one in force");
    }
    let manifest = locked(&agent.manifests).in_force();
    let manifest = manifest.ok_or_else(|| {
        ("no_manifest", "there is no manifest to make a plan of; see `oca fill`".to_owned())
    })?;
    let inventory = agent
        .daemon
        .client()
        .inventory()
        .await
        .map_err(|error| ("no_inventory", format!("the daemon does not say what it holds: {error}")))?;
    let night = agent.window.night_of(Timestamp::now());
    let planned = planning::make(agent, &manifest, &inventory, night).await;
    Ok(planning::report(&planned, &manifest))
}

async fn run(agent: &Arc<Agent>) -> Response<Full<Bytes>> {
    agent.blocking(Agent::want_run).await;
    let _ = tokio::time::timeout(BEGIN_TIMEOUT, agent.calls.running()).await;
    document(StatusCode::OK, &agent.progress())
}

/// A run that was asked for begins at once; this is for a machine that is very busy.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

fn document(status: StatusCode, document: &impl Serialize) -> Response<Full<Bytes>> {
    let mut text = serde_json::to_vec(document).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn failure(status: StatusCode, error: &str, detail: &str) -> Response<Full<Bytes>> {
    document(status, &Failure { error: error.to_owned(), detail: detail.to_owned() })
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response =
        failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("this path takes {allowed}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

impl fmt::Display for NoSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = match self.0 {
            PrivateSocketError::NotASocket(_) => "fill.socket has to name a free place",
            PrivateSocketError::InUse(_) => "stop it first",
            PrivateSocketError::Io(..) => "fill.socket has to lie in a folder of the agent",
        };
        write!(formatter, "{}; {next}", self.0)
    }
}

impl std::error::Error for NoSocket {}
