//! Connections to sources: HTTP/1.1, in cleartext or over TLS, each used for one object after another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use super::paced::{Meter, PacedStream};
use super::source_url::SourceUrl;
use crate::limits::{ADDRESSES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX};
use crate::shared_pace::SharedPace;

/// The connections of a run.
pub struct Connections {
    pace: Arc<SharedPace>,
    tls: TlsConnector,
    receive_buffer_bytes: u32,
    connect_timeout: Duration,
    idle_max: usize,
    idle: Mutex<HashMap<SourceUrl, Vec<Connection>>>,
}

/// One connection, between two exchanges or in one.
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// What came through its socket.
    pub meter: Arc<Meter>,
    /// Whether it has answered before: then a failure before the head may be its age's.
    pub is_used: bool,
    _driver: Driver,
}

/// The task that moves a connection's bytes; it ends with the connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connections {
    /// None yet. At most `idle_max` of each source are kept for later.
    pub fn new(
        pace: Arc<SharedPace>,
        tls: TlsConnector,
        receive_buffer_bytes: u32,
        connect_timeout: Duration,
        idle_max: usize,
    ) -> Self {
        Self { pace, tls, receive_buffer_bytes, connect_timeout, idle_max, idle: Mutex::default() }
    }

    /// A connection that is idle, or a new one.
    pub async fn take(&self, url: &SourceUrl) -> Result<Connection, Fault> {
        while let Some(connection) = self.take_idle(url) {
            if connection.sender.is_ready() {
                return Ok(connection);
            }
        }
        self.connect(url).await
    }

    fn take_idle(&self, url: &SourceUrl) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(url)?.pop()
    }

    /// Keeps a connection whose last answer was read to its end.
    pub async fn give_back(&self, url: &SourceUrl, mut connection: Connection) {
        // The end of the body and the readiness for the next request are told by the same task.
        let ready = tokio::time::timeout(READY_TIMEOUT, connection.sender.ready()).await;
        if !matches!(ready, Ok(Ok(()))) {
            return;
        }
        connection.is_used = true;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = idle.entry(url.clone()).or_default();
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }

    async fn connect(&self, url: &SourceUrl) -> Result<Connection, Fault> {
        let addresses = tokio::time::timeout(
            self.connect_timeout,
            tokio::net::lookup_host((url.host.as_str(), url.port)),
        );
        let addresses: Vec<SocketAddr> = match addresses.await {
            Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
            Ok(Err(error)) => return Err(unreachable(&url.host, &error)),
            Err(_) => return Err(unreachable(&url.host, &"its name was not resolved in time")),
        };
        let mut fault = unreachable(&url.host, &"its name has no address");
        for address in addresses {
            match self.connect_to(url, address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => fault = error,
            }
        }
        Err(fault)
    }

    async fn connect_to(&self, url: &SourceUrl, address: SocketAddr) -> Result<Connection, Fault> {
        let in_time = |what| unreachable(&address, &what);
        let tcp = tokio::time::timeout(self.connect_timeout, self.open(address))
            .await
            .map_err(|_| in_time("no connection in time"))?
            .map_err(|error| unreachable(&address, &error))?;
        let (stream, meter) = PacedStream::new(tcp, Arc::clone(&self.pace));
        if !url.is_tls {
            return handshake(stream, meter).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|error| unreachable(&url.host, &error))?;
        let stream = meter
            .within(self.connect_timeout, self.tls.connect(name, stream))
            .await
            .ok_or_else(|| in_time("no TLS handshake in time"))?
            .map_err(|error| unreachable(&address, &format_args!("no TLS: {error}")))?;
        handshake(stream, meter).await
    }

    /// The receive buffer is set before connecting, because the window scale is agreed upon then (`tcp(7)`).
    async fn open(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_recv_buffer_size(self.receive_buffer_bytes)?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The task of a connection turns once more after an answer's last byte.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

impl Connection {
    /// Sends a request, and gives the head of the answer.
    pub async fn ask(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    meter: Arc<Meter>,
) -> Result<Connection, Fault> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Fault::Unreachable(error.to_string()))?;
    let driver = Driver(tokio::spawn(async move {
        // What goes wrong with the connection is told to whoever waits for an answer.
        let _ = connection.await;
    }));
    Ok(Connection { sender, meter, is_used: false, _driver: driver })
}

fn unreachable(whom: &dyn std::fmt::Display, why: &dyn std::fmt::Display) -> Fault {
    Fault::Unreachable(format!("{whom}: {why}"))
}
