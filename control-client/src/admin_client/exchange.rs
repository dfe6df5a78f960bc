//! One request and its answer on a connection of their own.

use std::error::Error;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::{AdminAddress, AdminError, Answer};
use crate::limits::ANSWER_BYTES_MAX;

/// The caller bounds the whole; connecting is bounded here.
pub(crate) async fn exchange(
    address: &AdminAddress,
    connect_timeout: Duration,
    method: &str,
    path: &str,
    content: Vec<u8>,
) -> Result<Answer, AdminError> {
    let host = match address {
        AdminAddress::Socket(_) | AdminAddress::Agent(_) => "localhost",
        AdminAddress::Tcp(host_and_port) => host_and_port,
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(content)))
        .map_err(|error| broken(address, &error))?;
    match address {
        AdminAddress::Socket(socket) | AdminAddress::Agent(socket) => {
            let stream = connect(address, connect_timeout, UnixStream::connect(socket)).await?;
            ask(address, stream, request).await
        }
        AdminAddress::Tcp(host_and_port) => {
            let stream = connect(address, connect_timeout, TcpStream::connect(host_and_port)).await?;
            ask(address, stream, request).await
        }
    }
}

async fn connect<S>(
    address: &AdminAddress,
    timeout: Duration,
    connecting: impl Future<Output = io::Result<S>>,
) -> Result<S, AdminError> {
    let connected = tokio::time::timeout(timeout, connecting).await;
    let unreachable = |error| AdminError::Unreachable { address: address.clone(), error };
    connected.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?.map_err(unreachable)
}

async fn ask<S>(
    address: &AdminAddress,
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Answer, AdminError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(address, &error))?;
    let _driver = Driver(tokio::spawn(async move {
        // What goes wrong with the connection is told to whoever waits for the answer.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(|error| broken(address, &error))?;
    let status = response.status().as_u16();
    Ok(Answer { status, content: read(address, response.into_body()).await? })
}

async fn read(address: &AdminAddress, body: Incoming) -> Result<Vec<u8>, AdminError> {
    if body.size_hint().lower() > ANSWER_BYTES_MAX {
        return Err(AdminError::TooLarge);
    }
    let limit = usize::try_from(ANSWER_BYTES_MAX).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(AdminError::TooLarge),
        Err(error) => Err(broken(address, error.as_ref())),
    }
}

/// The task that moves the connection's bytes; it ends with the exchange, answered or not.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn broken(address: &AdminAddress, error: &dyn Error) -> AdminError {
    let detail = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    AdminError::Broken { address: address.clone(), detail }
}
