//! Messages to a worker from other threads. Sending never waits; the worker is woken through its ring.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use cache_store::{OpenBundle, OpenError};
use rustix::event::{EventfdFlags, eventfd};

use tokio::sync::mpsc::UnboundedSender;

use crate::demand::{DemandTable, WorkerDemand};
use crate::tier::BlockKey;
use crate::token::ConnectionId;

/// What a worker is told.
pub enum Message {
    /// The bundle that a connection waits for is open, or cannot be opened.
    Opened {
        /// Who waits.
        connection: ConnectionId,
        /// For which of its openings: an earlier one, that it has given up, may come late.
        ticket: u64,
        /// The bundle, or why not.
        result: Result<Arc<OpenBundle>, OpenError>,
    },
    /// A block that was asked for is in memory, or it is to be read: it does not come, or not for long.
    BlockSettled(BlockKey),
    /// There is something in the pipe that a connection waits for.
    Pulled {
        /// Who waits.
        connection: ConnectionId,
        /// For which of its answers: an earlier one, that it has given up, may come late.
        ticket: u64,
    },
    /// Hand over what was counted of demand.
    HandOverDemand {
        /// The worker's number, for the answer.
        worker: usize,
        /// The table to go on with.
        next: DemandTable,
        /// Where the present one goes.
        answer: UnboundedSender<WorkerDemand>,
    },
    /// Accept what is queued, finish what is in flight, and end.
    Stop {
        /// What is not finished by then is aborted.
        deadline: Instant,
    },
}

/// The sending end. For each connection of the worker at most one `Opened` and one `BlockSettled` are under way, and of each answer that
/// it has asked for one `Pulled`; besides one `HandOverDemand` and one `Stop`.
#[derive(Clone)]
pub struct Mailbox {
    messages: Sender<Message>,
    event: Arc<OwnedFd>,
}

/// The worker's end.
pub struct Letters {
    messages: Receiver<Message>,
    event: Arc<OwnedFd>,
}

/// A mailbox and its worker's end.
pub fn mailbox() -> std::io::Result<(Mailbox, Letters)> {
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let (sender, receiver) = mpsc::channel();
    Ok((Mailbox { messages: sender, event: event.clone() }, Letters { messages: receiver, event }))
}

impl Mailbox {
    /// Sends a message. After the worker has ended it goes nowhere, and nothing is lost by that.
    pub fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() {
            // The counter cannot overflow: a worker that wakes takes all of it.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl Letters {
    /// Becomes readable when there is a message.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// The next message, if there is one.
    pub fn next(&self) -> Option<Message> {
        self.messages.try_recv().ok()
    }
}
