//! What is in memory is sent: in cleartext by `sendfile` from the locked pages, without a copy; over TLS sealed from their
//! mapping. The block is borrowed for the one send; should it have left memory meanwhile, the rest is read from disk.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use cache_store::QuarantineReason;
use control_client::units::ByteRange;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::{Connection, Exchange, Step};
use crate::limits::TURN_BYTES_MAX;
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::stats::CloseCause;
use crate::tier::{Block, BlockKey, Sample, Unreadable};
use crate::transport::{Sent, Transport};

/// Why bytes in memory could not be sent.
enum ResidentError {
    /// The socket has failed, or the record layer.
    Send(io::Error),
    /// The file is not what it was when its bytes were verified.
    Damaged(QuarantineReason),
    /// The memory or the file system gave an error.
    Failed(io::Error),
}

impl Connection {
    /// Sends the head, if it is not sent, and what the socket takes of `range`, which is in one block.
    pub(super) fn send_resident(
        &mut self,
        range: ByteRange,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        let (Some(exchange), Some(residency)) = (&mut self.exchange, &service.residency) else {
            return Step::Wait;
        };
        let Some(bundle) = &exchange.bundle else { return Step::Wait };
        let key = BlockKey::at(bundle.bundle(), range.start);
        let unsent_head = &exchange.head[exchange.head_sent_bytes..];
        let (socket, transport, seal_buffer) =
            (self.socket.as_fd(), &mut self.transport, &mut reactor.seal_buffer);
        let turn_bytes_left = TURN_BYTES_MAX.saturating_sub(self.turn_bytes);
        let range = ByteRange { end: range.end.min(range.start + turn_bytes_left), ..range };
        let sent = residency.with(key, |block| match transport {
            Transport::Cleartext if unsent_head.is_empty() => send_file(socket, block, range),
            // The body follows in the next step, and leaves with it.
            Transport::Cleartext => send_head(socket, unsent_head),
            Transport::Tls(_) => {
                let send = |bytes: &[u8]| {
                    let slices = [IoSlice::new(unsent_head), IoSlice::new(bytes)];
                    transport.send(socket, &slices, seal_buffer)
                };
                match block.read(range, send) {
                    Ok(sent) => sent.map_err(ResidentError::Send),
                    Err(Unreadable) => Err(ResidentError::Damaged(QuarantineReason::Truncated)),
                }
            }
        });
        match sent {
            None => {
                exchange.body.rewind(&mut reactor.reads.buffers);
                Step::Again
            }
            Some(Ok(sent)) => {
                let of_head = unsent_head.len().min(sent.taken_bytes);
                exchange.ram_bytes += (sent.taken_bytes - of_head) as u64;
                self.on_sent(sent, reactor, service)
            }
            Some(Err(error)) => {
                self.on_resident_error(error, reactor, service);
                Step::Wait
            }
        }
    }

    /// Nothing more of the response can be sent, nor anything else: what was sealed of a broken block may be on its way out of
    /// the record layer.
    fn on_resident_error(&mut self, error: ResidentError, reactor: &mut Reactor, service: &Service) {
        let bundle = self.exchange.as_ref().and_then(|exchange| exchange.bundle.as_ref());
        let outcome = match (error, bundle.map(|open| open.bundle())) {
            (ResidentError::Send(error), _) => return self.on_send_failed(&error, service, reactor),
            (_, None) => return self.on_broken(service, reactor),
            (ResidentError::Damaged(reason), Some(bundle)) => {
                let path = bundle.key().path.as_str();
                tracing::warn!(path, ?reason, "a file in memory was changed; the response is aborted");
                service.store.report_corrupt(bundle, reason);
                Outcome::AbortedCorrupt
            }
            (ResidentError::Failed(error), Some(bundle)) => {
                tracing::warn!(path = bundle.key().path.as_str(), %error, "a block in memory could not be sent");
                service.store.report_read_error(bundle, &error);
                Outcome::AbortedReadError
            }
        };
        self.abort(outcome, CloseCause::ContentFailed, reactor, service);
    }
}

impl Exchange {
    /// Whether the block at `offset` of the bundle's file is in memory. Tells the tier that it was asked for, once in a row.
    pub(super) fn looks_at_block(&mut self, offset: u64, reactor: &mut Reactor, service: &Service) -> bool {
        let (Some(residency), Some(open)) = (&service.residency, &self.bundle) else { return false };
        let key = BlockKey::at(open.bundle(), offset);
        let is_resident = residency.has(key);
        if self.is_viewer && self.sampled != Some(key) {
            self.sampled = Some(key);
            if !reactor.samples.push(Sample::new(open.bundle(), offset, is_resident)) {
                service.stats.sample_dropped();
            }
        }
        is_resident
    }
}

/// The head of a response whose body follows at once.
fn send_head(socket: BorrowedFd<'_>, head: &[u8]) -> Result<Sent, ResidentError> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE;
    match send(socket, head, flags) {
        Ok(sent) => Ok(Sent { taken_bytes: sent, wire_bytes: sent as u64, blocked: sent < head.len() }),
        Err(Errno::AGAIN) => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: true }),
        Err(Errno::INTR) => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: false }),
        Err(error) => Err(ResidentError::Send(error.into())),
    }
}

/// From locked pages, which are there: no disk is waited for. `sendfile` takes what the file has now, locked or not, so the
/// file is looked at first: whoever writes to it or cuts it is noticed before the bytes leave.
fn send_file(socket: BorrowedFd<'_>, block: &Block, range: ByteRange) -> Result<Sent, ResidentError> {
    if let Some(reason) = block.damage() {
        return Err(ResidentError::Damaged(reason));
    }
    let (mut offset, length) = (range.start, range.len() as usize);
    match sendfile(socket, block.file(), Some(&mut offset), length) {
        Ok(0) => Err(ResidentError::Damaged(QuarantineReason::Truncated)),
        Ok(sent) => Ok(Sent { taken_bytes: sent, wire_bytes: sent as u64, blocked: sent < length }),
        Err(Errno::AGAIN) => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: true }),
        Err(Errno::INTR) => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: false }),
        Err(error) if is_of_the_network(error) => Err(ResidentError::Send(error.into())),
        Err(error) => Err(ResidentError::Failed(error.into())),
    }
}

/// Whether an error of `sendfile` is the socket's; any other is the file's, or ours.
const fn is_of_the_network(error: Errno) -> bool {
    matches!(
        error,
        Errno::PIPE
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::NETRESET
            | Errno::NOTCONN
            | Errno::PERM
            | Errno::NOBUFS
            | Errno::NOMEM
    )
}
