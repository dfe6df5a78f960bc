//! The sockets of the HTTP API: connections bounded in number, slow peers in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::limits;
use crate::plane::ControlPlane;

/// What bounds connections. The defaults are [`limits`]'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections open at once.
    pub connections: usize,
    /// For the head of a request, and for the next one on a connection.
    pub head_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { connections: limits::CONNECTIONS_MAX, head_timeout: limits::HEAD_TIMEOUT }
    }
}

/// Listens on an address. Port 0 is one that is free.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| io::Error::new(error.kind(), format!("control_plane.listen {address}: {error}")))
}

/// Serves until `stop` turns true, then until the requests that are being worked on are answered, at most
/// [`limits::SHUTDOWN_TIMEOUT`].
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    plane: Arc<ControlPlane>,
    bounds: ServerLimits,
    stop: watch::Receiver<bool>,
) {
    let server =
        Arc::new(Server { router, plane, bounds, places: Arc::new(Semaphore::new(bounds.connections)) });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(Arc::clone(&server).accept(listener, stop.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

struct Server {
    router: Router,
    plane: Arc<ControlPlane>,
    bounds: ServerLimits,
    places: Arc<Semaphore>,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match Arc::clone(&self.places).try_acquire_owned() {
                        Ok(place) => {
                            let server = Arc::clone(&self);
                            connections.spawn(server.converse(stream, peer, place, stop.clone()));
                        }
                        // Closed at once: whoever keeps them open is not helped by one that waits.
                        Err(_) => self.plane.metrics.connections_refused.inc(),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = stopped(&mut stop) => break,
            }
        }
        drop(listener);
        let rest = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits::SHUTDOWN_TIMEOUT, rest).await.is_err() {
            tracing::warn!("requests that are still being worked on are broken off");
        }
    }

    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _place: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) {
        let open = self.plane.metrics.connections();
        open.inc();
        set_options(&stream);
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.head_timeout)
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // What goes wrong with a connection is its peer's to know.
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
        open.dec();
    }
}

/// Returns when `stop` has turned true, or nobody is left who could turn it.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// After a failed accept, as when descriptors have run out: the next one fails too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An option that cannot be set leaves the connection as it is.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let millis = u32::try_from(limits::SEND_STALL_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
}
