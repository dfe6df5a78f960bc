//! A flight: one request to upstream, and all who travel with it.
//!
//! Whoever wants what a flight brings boards it instead of asking upstream too, before its head has landed or while its bytes come. One
//! task leads it ([`super::leading`]) and depends on no passenger: who leaves does not end it for the others. Its latest bytes are in a
//! window in memory; passengers who fall behind the window read on from the disk, where what came is stored by then. What cannot be
//! stored waits for the slowest, for a while.

mod registry;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::blocks::Part;
use super::caching::{StoredHead, Unstorable};
use super::demand_store::DiskEntry;
use super::failure::PullFailure;
use super::held::Held;
pub(super) use registry::{Boarded, Flights, Wish};
use window::{View, Window};

/// One request to upstream.
pub(super) struct Flight {
    /// What is asked for.
    pub part: Part,
    /// When it began: it answers whoever came before that as well as a request of their own would.
    pub began: Instant,
    /// Which variant is asked for, as far as that is known.
    variant: u64,
    /// The entry whose missing blocks are asked for.
    filling: Option<DiskEntry>,
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
    /// All bytes from the first one of a block up to here are on disk.
    stored_to: u64,
    end: Option<Result<(), PullFailure>>,
    /// Where each passenger reads; `None`: the seat is free.
    seats: Vec<Option<u64>>,
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

/// What a passenger finds where it reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Bytes from there on; never empty.
    Bytes(Bytes),
    /// What was there is not in memory any more; it may be on disk.
    Behind,
    /// The flight has ended before that place, and well.
    End,
}

/// A seat in a flight, free again when it is dropped.
pub(super) struct Passenger {
    flight: Arc<Flight>,
    seat: usize,
    /// Whether this request caused the flight.
    pub is_first: bool,
}

impl Flight {
    fn new(wish: &Wish) -> Arc<Self> {
        let state = State {
            landing: None,
            window: Window::at(wish.part.start().unwrap_or(0)),
            entry: wish.filling,
            stored_to: 0,
            end: None,
            seats: Vec::new(),
            is_purged: false,
        };
        Arc::new(Self {
            part: wish.part,
            began: Instant::now(),
            variant: wish.variant,
            filling: wish.filling,
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
        self.lock().seats.iter().all(Option::is_none)
    }

    /// Lets go of bytes beyond `window_bytes` which are on disk, and keeps all that are not.
    pub(super) fn trim_stored(&self, window_bytes: u64) {
        let mut state = self.lock();
        let place = state.stored_to.min(state.window.end().saturating_sub(window_bytes));
        state.window.trim(place);
    }

    /// Waits until no more than `window_bytes` wait for passengers. Whoever holds up others for longer than `patience` loses its
    /// seat's bytes.
    pub(super) async fn trim_read(&self, window_bytes: u64, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let moved = self.moved.notified();
            let is_alone = {
                let mut state = self.lock();
                let place = state.slowest().unwrap_or(state.window.end());
                let keep = state.window.end().saturating_sub(window_bytes);
                state.window.trim(place.min(keep));
                // Whole chunks are let go of: a part of one more may stay.
                if place >= keep {
                    return;
                }
                state.seats.iter().flatten().count() == 1
            };
            if is_alone {
                moved.await;
            } else if tokio::time::timeout_at(deadline, moved).await.is_err() {
                let mut state = self.lock();
                let place = state.window.end().saturating_sub(window_bytes);
                state.window.trim(place);
                return;
            }
        }
    }

    /// Waits until what came is no more than `lead_bytes` ahead of the passenger who is furthest; not where there is none.
    pub(super) async fn wait_for_fastest(&self, lead_bytes: u64) {
        loop {
            let moved = self.moved.notified();
            {
                let state = self.lock();
                let fastest = state.seats.iter().flatten().copied().max();
                if fastest.is_none_or(|place| state.window.end() <= place.saturating_add(lead_bytes)) {
                    return;
                }
            }
            moved.await;
        }
    }

    /// Waits until no more than `few_bytes` are in memory that somebody still reads.
    pub(super) async fn drain(&self, few_bytes: u64) {
        loop {
            let moved = self.moved.notified();
            {
                let mut state = self.lock();
                let Some(slowest) = state.slowest() else { return };
                state.window.trim(slowest);
                if state.window.len() <= few_bytes {
                    return;
                }
            }
            moved.await;
        }
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
    /// What the passenger who is furthest behind wants next of what is in memory. Who has lost bytes for good is not reckoned with.
    fn slowest(&self) -> Option<u64> {
        let start = self.window.start();
        let on_disk = self.entry.map_or(0, |_| self.stored_to);
        let wanted = self.seats.iter().flatten().map(|&place| place.max(on_disk.min(start)));
        wanted.filter(|&place| place >= start).min()
    }
}

impl Passenger {
    /// Takes a seat.
    fn board(flight: &Arc<Flight>, place: u64, is_first: bool) -> Self {
        let mut state = flight.lock();
        let seat = state.seats.iter().position(Option::is_none).unwrap_or(state.seats.len());
        if seat == state.seats.len() {
            state.seats.push(None);
        }
        state.seats[seat] = Some(place);
        drop(state);
        Self { flight: Arc::clone(flight), seat, is_first }
    }

    /// Its flight.
    pub(super) fn flight(&self) -> &Flight {
        &self.flight
    }

    /// Waits for what becomes of the request.
    pub(super) async fn landing(&self) -> Landing {
        loop {
            let came = self.flight.came.notified();
            if let Some(landing) = &self.flight.lock().landing {
                return landing.clone();
            }
            came.await;
        }
    }

    /// Where its blocks are stored, if they are.
    pub(super) fn entry(&self) -> Option<DiskEntry> {
        self.flight.lock().entry
    }

    /// Why the flight has not brought everything, if it has ended so.
    pub(super) fn failure(&self) -> Option<PullFailure> {
        self.flight.lock().end.and_then(Result::err)
    }

    /// What is at `place`, when it has come.
    ///
    /// # Errors
    /// Why it never comes.
    pub(super) async fn read(&self, place: u64) -> Result<Sight, PullFailure> {
        loop {
            let came = self.flight.came.notified();
            {
                let mut state = self.flight.lock();
                let moved = state.seats[self.seat].replace(place) != Some(place);
                if moved {
                    self.flight.moved.notify_one();
                }
                match (state.window.view(place), state.end) {
                    (View::Bytes(bytes), _) => return Ok(Sight::Bytes(bytes)),
                    (View::Behind, _) => return Ok(Sight::Behind),
                    (View::Ahead, Some(Ok(()))) => return Ok(Sight::End),
                    (View::Ahead, Some(Err(failure))) => return Err(failure),
                    (View::Ahead, None) => {}
                }
            }
            came.await;
        }
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        self.flight.lock().seats[self.seat] = None;
        self.flight.moved.notify_one();
    }
}

#[cfg(test)]
mod tests;
