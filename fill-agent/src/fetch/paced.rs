//! A socket that is read only as fast as the pace allows. What is not read stays in a small receive buffer, and then
//! with the sender.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    is_paused: bool,
}

/// What came through one socket.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    received: AtomicU64,
    paused_micros: AtomicU64,
    /// Since when it is paused, in microseconds since `began`; [`NOT_PAUSED`] where it is not.
    paused_since: AtomicU64,
}

const NOT_PAUSED: u64 = u64::MAX;

/// Between two looks at a socket that may be paused.
const LOOK: Duration = Duration::from_millis(10);

impl Meter {
    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How long it had bytes, and the pace did not let them be read; until now.
    pub fn paused(&self) -> Duration {
        let now = match self.paused_since.load(Ordering::Acquire) {
            NOT_PAUSED => 0,
            since => self.micros().saturating_sub(since),
        };
        Duration::from_micros(self.paused_micros.load(Ordering::Acquire) + now)
    }

    /// Waits for what comes through the socket, for so long; the time in which it is our own pace that holds it up does not
    /// count.
    pub async fn within<T>(&self, limit: Duration, coming: impl Future<Output = T>) -> Option<T> {
        let mut coming = pin!(coming);
        let (began, paused) = (Instant::now(), self.paused());
        loop {
            let waited = began.elapsed().saturating_sub(self.paused().saturating_sub(paused));
            let left = limit.checked_sub(waited).filter(|left| !left.is_zero())?;
            if let Ok(come) = tokio::time::timeout(left.max(LOOK), &mut coming).await {
                return Some(come);
            }
        }
    }

    fn new() -> Self {
        Self {
            began: Instant::now(),
            received: AtomicU64::new(0),
            paused_micros: AtomicU64::new(0),
            paused_since: AtomicU64::new(NOT_PAUSED),
        }
    }

    fn begin_pause(&self) {
        self.paused_since.store(self.micros(), Ordering::Release);
    }

    fn end_pause(&self) {
        let since = self.paused_since.swap(NOT_PAUSED, Ordering::AcqRel);
        if since != NOT_PAUSED {
            self.paused_micros.fetch_add(self.micros().saturating_sub(since), Ordering::AcqRel);
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(NOT_PAUSED - 1)
    }
}

impl PacedStream {
    /// Reads of that socket count, for the pace and for the meter.
    pub fn new(tcp: TcpStream, pace: Arc<SharedPace>) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::new());
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        (Self { tcp, pace, meter: Arc::clone(&meter), sleep, is_paused: false }, meter)
    }

    /// Waits until the pace grants some of the bytes that are wanted.
    fn poll_grant(&mut self, context: &mut Context<'_>, wanted: u64) -> Poll<u64> {
        loop {
            if self.is_paused {
                ready!(self.sleep.as_mut().poll(context));
            }
            match self.pace.take(wanted) {
                Ok(granted) => {
                    if std::mem::take(&mut self.is_paused) {
                        self.meter.end_pause();
                    }
                    return Poll::Ready(granted);
                }
                Err(at) => {
                    if !std::mem::replace(&mut self.is_paused, true) {
                        self.meter.begin_pause();
                    }
                    self.sleep.as_mut().reset(at.into());
                }
            }
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
            let room = usize::try_from(granted).unwrap_or(wanted).min(wanted);
            // Where it turns out to have nothing after all, this clears its readiness.
            let read = if room == target.remaining() {
                stream.tcp.try_read_buf(target)
            } else {
                let read = stream.tcp.try_read(target.initialize_unfilled_to(room));
                read.inspect(|bytes| target.advance(*bytes))
            };
            let bytes = read.as_ref().map_or(0, |bytes| *bytes);
            stream.pace.took(granted, bytes as u64);
            stream.meter.received.fetch_add(bytes as u64, Ordering::Relaxed);
            match read {
                Ok(_) => return Poll::Ready(Ok(())),
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
