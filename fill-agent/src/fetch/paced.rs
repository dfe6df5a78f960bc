//! A socket that is read only as fast as the pace allows. What is not read stays in a small receive buffer, and then
//! with the sender.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::limits::PACED_READ_BYTES;
use crate::shared_pace::SharedPace;

/// The socket.
pub struct PacedStream {
    tcp: TcpStream,
    pace: Arc<SharedPace>,
    meter: Arc<Meter>,
    sleep: Pin<Box<Sleep>>,
    paused_at: Option<Instant>,
}

/// What came through one socket.
#[derive(Debug, Default)]
pub struct Meter {
    received: AtomicU64,
    paused_micros: AtomicU64,
    is_paused: AtomicBool,
}

impl Meter {
    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How long it had bytes, and the pace did not let them be read.
    pub fn paused(&self) -> Duration {
        Duration::from_micros(self.paused_micros.load(Ordering::Relaxed))
    }

    /// Whether that is so now.
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }
}

impl PacedStream {
    /// Reads of that socket count, for the pace and for the meter.
    pub fn new(tcp: TcpStream, pace: Arc<SharedPace>) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        (Self { tcp, pace, meter: Arc::clone(&meter), sleep, paused_at: None }, meter)
    }

    /// Waits until the pace grants some of the bytes that are wanted.
    fn poll_grant(&mut self, context: &mut Context<'_>, wanted: u64) -> Poll<u64> {
        loop {
            if self.paused_at.is_some() {
                ready!(self.sleep.as_mut().poll(context));
            }
            match self.pace.take(wanted) {
                Ok(granted) => {
                    self.end_pause();
                    return Poll::Ready(granted);
                }
                Err(at) => {
                    self.paused_at.get_or_insert_with(Instant::now);
                    self.meter.is_paused.store(true, Ordering::Relaxed);
                    self.sleep.as_mut().reset(at.into());
                }
            }
        }
    }

    fn end_pause(&mut self) {
        if let Some(paused_at) = self.paused_at.take() {
            let micros = u64::try_from(paused_at.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.meter.paused_micros.fetch_add(micros, Ordering::Relaxed);
            self.meter.is_paused.store(false, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        loop {
            // Nothing is asked of the pace for a socket that has nothing.
            ready!(stream.tcp.poll_read_ready(context))?;
            let wanted = target.remaining().min(PACED_READ_BYTES);
            let granted = ready!(stream.poll_grant(context, wanted as u64));
            let room = target.initialize_unfilled_to(usize::try_from(granted).unwrap_or(wanted).min(wanted));
            // Where it turns out to have nothing after all, this clears its readiness.
            let read = stream.tcp.try_read(room);
            let bytes = read.as_ref().map_or(0, |bytes| *bytes);
            stream.pace.took(granted, bytes as u64);
            stream.meter.received.fetch_add(bytes as u64, Ordering::Relaxed);
            match read {
                Ok(bytes) => {
                    target.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}
