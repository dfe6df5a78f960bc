//! A flight: one request to upstream, and all who travel with it.
//!
//! Whoever wants what a flight brings boards it instead of asking upstream too, before its head has landed or while its bytes come. One
//! task leads it ([`super::leading`]) and depends on no passenger: who leaves does not end it for the others. Its latest bytes are in a
//! window in memory; passengers who fall behind the window read on from the disk, where what came is stored by then. What cannot be
//! stored waits for the slowest, for a while.
//!
//! What passengers take is counted (`seats`): a flight runs no further ahead of them, and goes on no longer after they have left
//! (`finishing`), than that is worth.

mod finishing;
mod passenger;
mod registry;
mod room;
mod seats;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::blocks::Part;
use super::caching::{Selecting, StoredHead, Unstorable};
use super::demand_store::{DiskEntry, KeptEntry};
use super::failure::PullFailure;
use super::held::Held;
pub(super) use finishing::Progress;
pub(super) use passenger::{Passenger, Sight};
pub(super) use registry::{Boarded, Flights, Rest, Wish};
use seats::Seats;
use window::Window;

/// One request to upstream.
pub(super) struct Flight {
    /// What is asked for.
    pub part: Part,
    /// When it began: it answers whoever came before that as well as a request of their own would.
    pub began: Instant,
    /// Which variant is asked for, as far as that is known.
    pub variant: u64,
    /// What missing parts are asked for of.
    filling: Option<Rest>,
    state: Mutex<State>,
    /// Something has come: the head, bytes, the end.
    came: Notify,
    /// A passenger has moved on, or left.
    moved: Notify,
}

struct State {
    landing: Option<Landing>,
    window: Window,
    /// Where its blocks are stored, once they are, and as far as [`Self::stored_to`].
    entry: Option<DiskEntry>,
    /// That one, where nobody who falls behind could have its bytes from elsewhere: until the last passenger has left.
    kept: Option<KeptEntry>,
    /// All bytes from the first one of a block up to here are on disk.
    stored_to: u64,
    end: Option<Result<(), PullFailure>>,
    seats: Seats,
    is_purged: bool,
}

/// What became of the request.
#[derive(Clone)]
pub(super) enum Landing {
    /// An answer, whose body follows.
    Arrived(Arc<Arrival>),
    /// 304: what was held is still right.
    Confirmed(Held),
    /// Nothing.
    Failed(PullFailure),
    /// The object of which missing blocks were asked for is another one now.
    Changed,
    /// An answer that is of no use for more than one request: each makes its own.
    Unshared,
    /// Upstream was not asked: what is wanted is held by now.
    Held,
}

/// An answer whose body follows.
pub(super) struct Arrival {
    /// Its head.
    pub head: ArrivalHead,
    /// Who may have it.
    pub sharing: Sharing,
    /// The first byte of the object that follows.
    pub start: u64,
}

/// The head of an answer.
pub(super) enum ArrivalHead {
    /// Of what may be stored.
    Storable(Arc<StoredHead>),
    /// Of what may not.
    Passing {
        /// Its status.
        status: StatusCode,
        /// Its end-to-end fields, without Content-Length.
        fields: HeaderMap,
        /// Bytes of its body, where that is known.
        length: Option<u64>,
        /// Whose requests it answers as well; `None`: nobody else's.
        selecting: Option<Selecting>,
        /// Why it may not be stored; `None`: its end cannot be told from a break.
        why: Option<Unstorable>,
    },
}

/// Who may have an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Everybody whose request it answers, and who would be given it from a store.
    Everyone,
    /// Everybody who waits for it now: upstream is in trouble, and would not be helped by being asked by each of them.
    Waiting,
    /// Who asked for it.
    First,
}

impl Flight {
    fn new(wish: &Wish) -> Arc<Self> {
        let state = State {
            landing: None,
            window: Window::at(wish.part.start().unwrap_or(0)),
            entry: wish.filling.as_ref().and_then(|rest| rest.entry),
            kept: None,
            stored_to: 0,
            end: None,
            seats: Seats::default(),
            is_purged: false,
        };
        Arc::new(Self {
            part: wish.part,
            began: Instant::now(),
            variant: wish.variant,
            filling: wish.filling.clone(),
            state: Mutex::new(state),
            came: Notify::new(),
            moved: Notify::new(),
        })
    }

    // ---- what its leader does ----

    /// The request was answered, or was not.
    pub(super) fn land(&self, landing: Landing) {
        let mut state = self.lock();
        if let Landing::Arrived(arrival) = &landing {
            state.window = Window::at(arrival.start);
            state.stored_to = arrival.start;
            state.seats.wait_at(arrival.start);
        }
        state.landing = Some(landing);
        drop(state);
        self.came.notify_waiters();
    }

    /// Bytes have come.
    pub(super) fn push(&self, bytes: Bytes) {
        self.lock().window.push(bytes);
        self.came.notify_waiters();
    }

    /// The body has ended, well or not.
    pub(super) fn end(&self, end: Result<(), PullFailure>) {
        self.lock().end = Some(end);
        self.came.notify_waiters();
    }

    /// Its leader has gone. It has landed and ended before, or else never will.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        let failure = match state.landing.get_or_insert(Landing::Failed(PullFailure::Defect)) {
            Landing::Failed(failure) => *failure,
            _ => PullFailure::Invalid,
        };
        state.end.get_or_insert(Err(failure));
        drop(state);
        self.came.notify_waiters();
    }

    /// The byte after the last one that came.
    pub(super) fn received_to(&self) -> u64 {
        self.lock().window.end()
    }

    /// Bytes that came and are still in memory.
    pub(super) fn copy(&self, from: u64, to: u64) -> Option<Bytes> {
        self.lock().window.copy(from, to)
    }

    /// From now on its blocks are stored there.
    pub(super) fn store_in(&self, entry: DiskEntry) {
        self.lock().entry = Some(entry);
    }

    /// What is stored of it is kept for as long as anybody is on board.
    pub(super) fn keep(&self, kept: Option<KeptEntry>) {
        self.lock().kept = kept;
    }

    /// Everything before `place` is on disk.
    pub(super) fn stored(&self, place: u64) {
        self.lock().stored_to = place;
    }

    /// Does something unless what it brings was purged meanwhile; a purge that comes later waits for it.
    pub(super) fn unless_purged(&self, store: impl FnOnce()) {
        let state = self.lock();
        if !state.is_purged {
            store();
        }
    }

    /// Whether nobody is on board.
    pub(super) fn is_deserted(&self) -> bool {
        self.lock().seats.are_empty()
    }

    /// Ends it, where nobody is on board and it is not worth going on. Whether it has. Who came between the look and the end would be told
    /// of a failure that is none.
    pub(super) fn end_if_deserted(&self, is_worth_finishing: impl FnOnce(Progress) -> bool) -> bool {
        let mut state = self.lock();
        let is_over = state.seats.are_empty() && !is_worth_finishing(state.progress());
        if is_over {
            state.end = Some(Err(PullFailure::Invalid));
        }
        is_over
    }

    /// Bytes of it that are in memory.
    fn window_bytes(&self) -> u64 {
        self.lock().window.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic with the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn progress(&self) -> Progress {
        let (given_to, taken_bytes) = (self.seats.given_to(), self.seats.taken_bytes());
        Progress { received_to: self.window.end(), given_to, taken_bytes }
    }
}

#[cfg(test)]
mod tests;
