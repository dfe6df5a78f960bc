//! The way of one answer from the task that makes it to the connection that sends it: bounded in bytes, so that a slow client
//! slows its task down; and neither side ever waits for the other with a lock in hand.
//!
//! The worker is told when there is something where there was nothing: at most one message of a pipe is under way. What it does
//! not take now it takes when its socket has room again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::answer::AnswerHead;
use super::failure::PullFailure;
use crate::limits::{PIPE_BYTES_MAX, PIPE_CHUNK_BYTES_MAX};
use crate::mailbox::{Mailbox, Message};
use crate::token::ConnectionId;

/// What comes out of a pipe: a head, chunks, and an end; or a failure at any place.
#[derive(Debug)]
pub enum Piece {
    /// What the answer begins with, once.
    Head(Box<AnswerHead>),
    /// Bytes of the body; never empty.
    Chunk(Bytes),
    /// The answer is whole.
    End,
    /// Nothing more comes, and the answer is not whole.
    Failed(PullFailure),
}

/// Nobody takes the answer any more: the client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The end that an answer is written to.
pub struct Writer {
    shared: Arc<Shared>,
    mailbox: Mailbox,
    connection: ConnectionId,
    ticket: u64,
    has_ended: bool,
    /// The place among the requests under way; free when this is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

/// The end that a connection takes it from.
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The reader has made room, or is gone.
    changed: Notify,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    /// Of the chunks in it.
    bytes: usize,
    /// The worker was told of what is in it, and has not found it empty since.
    is_announced: bool,
    /// The writer waits for room.
    is_awaited: bool,
    reader_is_gone: bool,
}

/// A pipe to the connection; `ticket` tells its messages from those of an earlier one.
pub fn pipe(mailbox: Mailbox, connection: ConnectionId, ticket: u64) -> (Writer, Reader) {
    let shared = Arc::new(Shared { state: Mutex::default(), changed: Notify::new() });
    let reader = Reader { shared: Arc::clone(&shared) };
    (Writer { shared, mailbox, connection, ticket, has_ended: false, permit: None }, reader)
}

impl Writer {
    /// Keeps a place among the requests under way for as long as this writer lives.
    pub(super) fn holding(mut self, permit: OwnedSemaphorePermit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// Writes the head, before any chunk.
    ///
    /// # Errors
    /// [`Gone`] where nobody takes it.
    pub async fn head(&mut self, head: AnswerHead) -> Result<(), Gone> {
        self.push(Piece::Head(Box::new(head)))
    }

    /// Writes bytes of the body, when there is room for them. Cancelled, it has written a part of them.
    ///
    /// # Errors
    /// [`Gone`] where nobody takes them.
    pub async fn chunk(&mut self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let room = self.room().await?;
            let part = bytes.split_to(room.min(bytes.len()).min(PIPE_CHUNK_BYTES_MAX));
            self.push(Piece::Chunk(part))?;
        }
        Ok(())
    }

    /// The answer is whole.
    pub fn end(mut self) {
        self.has_ended = true;
        // That nobody is there is no matter any more.
        let _ = self.push(Piece::End);
    }

    /// The answer cannot be made, or not to its end.
    pub fn fail(mut self, cause: PullFailure) {
        self.has_ended = true;
        let _ = self.push(Piece::Failed(cause));
    }

    /// Waits until nobody takes the answer any more.
    pub async fn gone(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if self.shared.lock().reader_is_gone {
                return;
            }
            changed.await;
        }
    }

    /// Whether nobody takes the answer any more.
    pub fn is_gone(&self) -> bool {
        self.shared.lock().reader_is_gone
    }

    /// Waits for room; more than zero bytes.
    async fn room(&self) -> Result<usize, Gone> {
        loop {
            let changed = self.shared.changed.notified();
            {
                let mut state = self.shared.lock();
                if state.reader_is_gone {
                    return Err(Gone);
                }
                if state.bytes < PIPE_BYTES_MAX {
                    return Ok(PIPE_BYTES_MAX - state.bytes);
                }
                state.is_awaited = true;
            }
            changed.await;
        }
    }

    fn push(&self, piece: Piece) -> Result<(), Gone> {
        let is_first = {
            let mut state = self.shared.lock();
            if state.reader_is_gone {
                return Err(Gone);
            }
            if let Piece::Chunk(bytes) = &piece {
                state.bytes += bytes.len();
            }
            state.pieces.push_back(piece);
            !std::mem::replace(&mut state.is_announced, true)
        };
        if is_first {
            let (connection, ticket) = (self.connection, self.ticket);
            self.mailbox.send(Message::Pulled { connection, ticket });
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = self.push(Piece::Failed(PullFailure::Defect));
        }
    }
}

impl Reader {
    /// What there is, if there is something. `None`: a message will come.
    pub fn take(&mut self) -> Option<Piece> {
        let (piece, makes_room) = {
            let mut state = self.shared.lock();
            let Some(piece) = state.pieces.pop_front() else {
                state.is_announced = false;
                return None;
            };
            if let Piece::Chunk(bytes) = &piece {
                state.bytes -= bytes.len();
            }
            // Woken for half a pipe, the writer is woken seldom.
            let makes_room = state.is_awaited && state.bytes <= PIPE_BYTES_MAX / 2;
            state.is_awaited &= !makes_room;
            (piece, makes_room)
        };
        if makes_room {
            self.shared.changed.notify_waiters();
        }
        Some(piece)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let unsent = {
            let mut state = self.shared.lock();
            state.reader_is_gone = true;
            std::mem::take(&mut state.pieces)
        };
        self.shared.changed.notify_waiters();
        drop(unsent);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic with the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
