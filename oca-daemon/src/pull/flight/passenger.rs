//! A passenger: one answer that is made of what a flight brings.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::window::View;
use super::{Flight, Landing, State};
use crate::pull::blocks::BLOCK_BYTES;
use crate::pull::demand_store::DiskEntry;
use crate::pull::failure::PullFailure;

/// A seat in a flight, free again when it is dropped.
pub(in crate::pull) struct Passenger {
    flight: Arc<Flight>,
    seat: usize,
    /// Whether this request caused the flight.
    pub is_first: bool,
}

/// What a passenger finds where it reads.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pull) enum Sight {
    /// Bytes from there on; never empty.
    Bytes(Bytes),
    /// What was there is not in memory any more; it may be on disk.
    Behind,
    /// Bytes come, and those from there on not soon: upstream sends all of the object, and there is far to go.
    Far,
    /// The flight has ended before that place, and well.
    End,
}

impl Passenger {
    /// Takes a seat in the flight, of which `state` is.
    pub(super) fn board(
        flight: &Arc<Flight>,
        mut state: MutexGuard<'_, State>,
        place: u64,
        is_first: bool,
    ) -> Self {
        let seat = state.seats.take(place);
        drop(state);
        // Its leader may wait for somebody who is further on than all the others.
        flight.moved.notify_one();
        Self { flight: Arc::clone(flight), seat, is_first }
    }

    /// Its flight.
    pub(in crate::pull) fn flight(&self) -> &Flight {
        &self.flight
    }

    /// Waits for what becomes of the request.
    pub(in crate::pull) async fn landing(&self) -> Landing {
        loop {
            let came = self.flight.came.notified();
            if let Some(landing) = &self.flight.lock().landing {
                return landing.clone();
            }
            came.await;
        }
    }

    /// The head is all that it needs: reckoned as the first byte, so that what it asked for is there for the next as far as a block goes.
    pub(in crate::pull) fn take_head(&self, start: u64) {
        let mut state = self.flight.lock();
        state.seats.read_at(self.seat, start);
        state.seats.give(self.seat, start.saturating_add(1));
    }

    /// Where its blocks are stored, if they are.
    pub(in crate::pull) fn entry(&self) -> Option<DiskEntry> {
        self.flight.lock().entry
    }

    /// Why the flight has not brought everything, if it has ended so.
    pub(in crate::pull) fn failure(&self) -> Option<PullFailure> {
        self.flight.lock().end.and_then(Result::err)
    }

    /// What is at `place`, when it has come. After `patience` ([`Sight::Far`]) no more than a block is waited for.
    ///
    /// # Errors
    /// Why it never comes.
    pub(in crate::pull) async fn read(
        &self,
        place: u64,
        patience: Option<Instant>,
    ) -> Result<Sight, PullFailure> {
        let mut is_late = false;
        loop {
            let came = self.flight.came.notified();
            {
                let mut state = self.flight.lock();
                if state.seats.read_at(self.seat, place) {
                    self.flight.moved.notify_one();
                }
                let is_far = place.saturating_sub(state.window.end()) > BLOCK_BYTES;
                match (state.window.view(place), state.end) {
                    (View::Bytes(bytes), _) => {
                        state.seats.give(self.seat, place + bytes.len() as u64);
                        return Ok(Sight::Bytes(bytes));
                    }
                    (View::Behind, _) => return Ok(Sight::Behind),
                    (View::Ahead, Some(Ok(()))) => return Ok(Sight::End),
                    (View::Ahead, Some(Err(failure))) => return Err(failure),
                    (View::Ahead, None) if is_late && is_far => return Ok(Sight::Far),
                    (View::Ahead, None) => {}
                }
            }
            match patience.filter(|_| !is_late) {
                Some(moment) => is_late = timeout_at(moment, came).await.is_err(),
                None => came.await,
            }
        }
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        self.flight.lock().seats.leave(self.seat);
        self.flight.moved.notify_one();
    }
}
