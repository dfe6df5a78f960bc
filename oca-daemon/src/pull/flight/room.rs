//! Keeping a flight's memory within its bound, and the flight near its passengers. Its leader waits here, and nobody else does.

use std::time::Duration;

use super::{Flight, State};
use crate::limits::{FLIGHT_LEAD_BYTES_MAX, FLIGHT_LEAD_BYTES_MIN};

impl Flight {
    /// Lets go of bytes beyond `window_bytes` which are on disk, and keeps all that are not.
    pub(in crate::pull) fn trim_stored(&self, window_bytes: u64) {
        let mut state = self.lock();
        let place = state.stored_to.min(state.window.end().saturating_sub(window_bytes));
        state.window.trim(place);
    }

    /// Waits until no more than `window_bytes` wait for passengers. Whoever holds up others for longer than `patience` loses its
    /// seat's bytes; for how long it held up nobody is no matter.
    pub(in crate::pull) async fn trim_read(&self, window_bytes: u64, patience: Duration) {
        let mut deadline = None;
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
                state.seats.places().count() == 1
            };
            if is_alone {
                deadline = None;
                moved.await;
                continue;
            }
            let deadline = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + patience);
            if tokio::time::timeout_at(deadline, moved).await.is_err() {
                let mut state = self.lock();
                let place = state.window.end().saturating_sub(window_bytes);
                state.window.trim(place);
                return;
            }
        }
    }

    /// Waits until what came is not far ahead of the passenger who is furthest: by no more than one of them has taken, within bounds.
    /// Not where there is none.
    pub(in crate::pull) async fn wait_for_fastest(&self) {
        loop {
            let moved = self.moved.notified();
            {
                let state = self.lock();
                let lead_bytes = lead(state.seats.taken_bytes());
                let fastest = state.seats.places().max();
                if fastest.is_none_or(|place| state.window.end() <= place.saturating_add(lead_bytes)) {
                    return;
                }
            }
            moved.await;
        }
    }

    /// Waits until no more than `few_bytes` are in memory that somebody still reads.
    pub(in crate::pull) async fn drain(&self, few_bytes: u64) {
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
}

impl State {
    /// What the passenger who is furthest behind wants next of what is in memory. Who has lost bytes for good is not reckoned with.
    fn slowest(&self) -> Option<u64> {
        let start = self.window.start();
        let on_disk = self.entry.map_or(0, |_| self.stored_to);
        let wanted = self.seats.places().map(|place| place.max(on_disk.min(start)));
        wanted.filter(|&place| place >= start).min()
    }
}

/// How far a flight runs ahead of its passengers, of whom one has taken so many bytes.
fn lead(taken_bytes: u64) -> u64 {
    taken_bytes.clamp(FLIGHT_LEAD_BYTES_MIN, FLIGHT_LEAD_BYTES_MAX)
}
