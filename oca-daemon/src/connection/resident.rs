//! What is in memory is sent: in cleartext, and where the kernel seals, by `sendfile` from the locked pages; else sealed from their
//! mapping. The block is borrowed for the one send; should it have left memory meanwhile, the rest is read from disk.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use cache_store::{Bundle, QuarantineReason};
use control_client::units::ByteRange;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendFlags, send, sockopt};

use super::{Connection, Exchange, Step};
use crate::limits::{
    RESIDENT_LOOK_AGE_MAX, RESIDENT_SHORT_BYTES, RESIDENT_UNSENT_BYTES, SEALED_UNSENT_BYTES, TURN_BYTES_MAX,
};
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::stats::{CloseCause, RecordLayer};
use crate::tier::{Block, BlockKey, Damage};
use crate::transport::Sent;

/// Why bytes in memory could not be sent.
enum ResidentError {
    /// The socket has failed, or the record layer.
    Send(io::Error),
    /// What is in memory is not to be sent any more. None of it was: the disk has it, or says what is wrong.
    Unsent(Damage),
    /// The same, found after records were made of it: they cannot be taken back out of the record layer.
    Sealed(Damage),
}

impl Connection {
    /// Sends the head, if it is not sent, and what the socket takes of `range`, which is in one block.
    pub(super) fn send_resident(
        &mut self,
        range: ByteRange,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        // What the kernel seals it copies, as we do.
        if self.transport.record_layer().is_none() {
            if range.len() > RESIDENT_SHORT_BYTES {
                self.let_socket_hold(RESIDENT_UNSENT_BYTES);
            }
        } else {
            let more_bytes = if self.keeps_up { SEALED_UNSENT_BYTES } else { 0 };
            self.let_socket_hold(service.notsent_lowat_bytes.max(more_bytes));
        }
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
        // Between a look and the network there is always time in which the file can change. A look is a system call:
        // so there is one in a turn, and where that is long one every now and then.
        let now = reactor.clock_read_at;
        let looked_since =
            now.checked_sub(RESIDENT_LOOK_AGE_MAX).map_or(reactor.now, |moment| moment.max(reactor.now));
        let sent = residency.with(key, |block| {
            // Whoever wrote to the file or cut it before is noticed.
            if let Some(damage) = block.damage_since(looked_since, now) {
                return Err(ResidentError::Unsent(damage));
            }
            if !transport.takes_files() {
                return send_sealed(block, range, |bytes| {
                    let slices = [IoSlice::new(unsent_head), IoSlice::new(bytes)];
                    transport.send(socket, &slices, seal_buffer)
                });
            }
            if !transport.make_way(socket).map_err(ResidentError::Send)? {
                return Ok(Sent::NOTHING);
            }
            let kernel_seals = transport.record_layer() == Some(RecordLayer::Kernel);
            let sent = send_head_and_file(socket, kernel_seals, unsent_head, block, range)?;
            transport.took(sent.taken_bytes);
            Ok(sent)
        });
        match sent {
            None => {
                exchange.body.rewind(&mut reactor.reads.buffers);
                Step::Again
            }
            Some(Err(ResidentError::Unsent(damage))) => {
                report(bundle.bundle(), damage, service);
                exchange.body.rewind(&mut reactor.reads.buffers);
                Step::Again
            }
            Some(Ok(sent)) => {
                let of_head = unsent_head.len().min(sent.taken_bytes);
                exchange.ram_bytes += (sent.taken_bytes - of_head) as u64;
                self.on_sent(sent, reactor, service)
            }
            Some(Err(ResidentError::Sealed(damage))) => {
                report(bundle.bundle(), damage, service);
                // Nothing more can be sent, neither of the response nor of anything else.
                let outcome = match damage {
                    Damage::CutShort | Damage::Changed => Outcome::AbortedCorrupt,
                    Damage::Failed => Outcome::AbortedReadError,
                };
                self.abort(outcome, CloseCause::ContentFailed, reactor, service);
                Step::Wait
            }
            Some(Err(ResidentError::Send(error))) => {
                self.on_send_failed(&error, service, reactor);
                Step::Wait
            }
        }
    }
}

/// Tells the store of a file that cannot be whole any more. Of any other, nothing is known to be wrong: what is read of it from
/// now on is compared with its checksums.
fn report(bundle: &Arc<Bundle>, damage: Damage, service: &Service) {
    let path = bundle.key().path.as_str();
    tracing::warn!(path, %damage, "a file is not sent from memory any more");
    if damage == Damage::CutShort {
        service.store.report_corrupt(bundle, QuarantineReason::Truncated);
    }
}

impl Exchange {
    /// Whether what is to be read next is in memory.
    pub(super) fn is_next_resident(&mut self, service: &Service) -> bool {
        let (Some(residency), Some(open)) = (&service.residency, &self.bundle) else { return false };
        let next = self.body.next_range();
        next.is_some_and(|range| residency.has(BlockKey::at(open.bundle(), range.start)))
    }
}

/// The head, if it is not sent, and of the body what the socket takes.
fn send_head_and_file(
    socket: BorrowedFd<'_>,
    kernel_seals: bool,
    head: &[u8],
    block: &Block,
    range: ByteRange,
) -> Result<Sent, ResidentError> {
    if head.is_empty() {
        return send_file(socket, kernel_seals, block, range);
    }
    let of_head = send_head(socket, head)?;
    if of_head.taken_bytes < head.len() {
        return Ok(of_head);
    }
    match send_file(socket, kernel_seals, block, range) {
        Ok(of_file) => Ok(Sent {
            taken_bytes: of_head.taken_bytes + of_file.taken_bytes,
            wire_bytes: of_head.wire_bytes + of_file.wire_bytes,
            blocked: of_file.blocked,
        }),
        // The socket may say it only once.
        Err(ResidentError::Send(error)) => Err(ResidentError::Send(error)),
        // What is wrong with the file shows itself again, when it is alone.
        Err(_) => Ok(of_head),
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

/// From locked pages, which are there: no disk is waited for. `sendfile` takes what the file has now, locked or not.
fn send_file(
    socket: BorrowedFd<'_>,
    kernel_seals: bool,
    block: &Block,
    range: ByteRange,
) -> Result<Sent, ResidentError> {
    let (mut offset, length) = (range.start, range.len() as usize);
    match sendfile(socket, block.file(), Some(&mut offset), length) {
        Ok(0) => {
            block.mark_broken();
            Err(ResidentError::Unsent(block.damage().unwrap_or(Damage::Failed)))
        }
        Ok(sent) => Ok(Sent { taken_bytes: sent, wire_bytes: sent as u64, blocked: sent < length }),
        Err(Errno::AGAIN) => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: true }),
        Err(Errno::INTR) => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: false }),
        Err(error) => {
            if let Some(error) = of_the_socket(socket, kernel_seals, error) {
                return Err(ResidentError::Send(error));
            }
            // The memory's, the file system's, or ours.
            tracing::warn!(%error, "a block in memory could not be sent");
            block.mark_broken();
            Err(ResidentError::Unsent(block.damage().unwrap_or(Damage::Failed)))
        }
    }
}

/// What was made of the mapping leaves only if the mapping was intact still: `send` asks that.
fn send_sealed(
    block: &Block,
    range: ByteRange,
    send: impl FnOnce(&[u8]) -> io::Result<Sent>,
) -> Result<Sent, ResidentError> {
    let mut sent = None;
    // Whether it was broken since is for the next send.
    let _ = block.read(range, |bytes| sent = Some(send(bytes)));
    match sent {
        Some(Ok(sent)) => Ok(sent),
        Some(Err(error)) => Err(block.damage().map_or(ResidentError::Send(error), ResidentError::Sealed)),
        None => Err(ResidentError::Unsent(Damage::Failed)),
    }
}

/// What the socket, or the kernel's record layer, has to do with an error of `sendfile`; `None`: it is the file's, or ours.
fn of_the_socket(socket: BorrowedFd<'_>, kernel_seals: bool, error: Errno) -> Option<io::Error> {
    if is_of_the_network(error) {
        return Some(error.into());
    }
    match sockopt::socket_error(socket) {
        Ok(Err(error)) if is_of_the_network(error) || !kernel_seals => Some(error.into()),
        Ok(Err(error)) => Some(io::Error::other(error)),
        // A record layer fails in many ways, and a file whose pages are locked in one.
        _ if kernel_seals && error != Errno::IO => Some(io::Error::other(error)),
        _ => None,
    }
}

/// Whether an error is of the client's or the network's making.
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
    )
}

#[cfg(test)]
mod tests;
