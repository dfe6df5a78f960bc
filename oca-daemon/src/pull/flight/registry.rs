//! Which flights are under way, and which of them has a seat for a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{ArrivalHead, Flight, Landing, Passenger, Sharing, State};
use crate::limits::FLIGHT_AHEAD_BYTES;
use crate::pull::blocks::Part;
use crate::pull::caching::StoredHead;
use crate::pull::demand_store::DiskEntry;

/// The flights under way that can be boarded, by primary key.
#[derive(Default)]
pub(in crate::pull) struct Flights {
    by_key: Mutex<ByKey>,
}

type ByKey = HashMap<Arc<str>, Vec<Arc<Flight>>>;

/// What a request wants of a flight.
#[derive(Clone, Debug)]
pub(in crate::pull) struct Wish {
    /// What is asked of upstream where no flight fits.
    pub part: Part,
    /// The first byte that is wanted.
    pub place: u64,
    /// Which variant, as far as that is known.
    pub variant: u64,
    /// Missing parts of this, and of nothing else.
    pub filling: Option<Rest>,
    /// A flight that began before is of no use.
    pub not_before: Option<Instant>,
}

/// A representation of which a part is held, or was sent, and more is asked for.
#[derive(Clone, Debug)]
pub(in crate::pull) struct Rest {
    /// Its head: what comes has the same validator, or is of no use.
    pub head: Arc<StoredHead>,
    /// Where its blocks are stored, if they are.
    pub entry: Option<DiskEntry>,
}

/// A seat.
pub(in crate::pull) struct Boarded {
    /// The seat.
    pub passenger: Passenger,
    /// The flight, where it was made for this request, and somebody has to lead it.
    pub new_flight: Option<Arc<Flight>>,
}

impl Flights {
    /// A seat in a flight that fits, if there is one.
    pub(in crate::pull) fn join(&self, key: &str, wish: &Wish) -> Option<Passenger> {
        self.lock().get(key)?.iter().find_map(|flight| flight.board(wish))
    }

    /// A seat in a flight that fits, or in a new one where one may be made; that is asked only where none fits.
    pub(in crate::pull) fn board_if(
        &self,
        key: &Arc<str>,
        wish: &Wish,
        may_make: impl FnOnce() -> bool,
    ) -> Option<Boarded> {
        let mut by_key = self.lock();
        let flights = by_key.get(key).map_or(&[][..], Vec::as_slice);
        if let Some(passenger) = flights.iter().find_map(|flight| flight.board(wish)) {
            return Some(Boarded { passenger, new_flight: None });
        }
        if !may_make() {
            return None;
        }
        let flight = Flight::new(wish);
        by_key.entry(Arc::clone(key)).or_default().push(Arc::clone(&flight));
        let passenger = Passenger::board(&flight, flight.lock(), wish.place, true);
        Some(Boarded { passenger, new_flight: Some(flight) })
    }

    /// Nobody boards it any more.
    pub(in crate::pull) fn remove(&self, key: &str, flight: &Arc<Flight>) {
        remove(&mut self.lock(), key, flight);
    }

    /// Where nobody is on board, nobody boards it any more either. Whether that is so.
    pub(in crate::pull) fn remove_deserted(&self, key: &str, flight: &Arc<Flight>) -> bool {
        // Who boards it does so under this lock.
        let mut by_key = self.lock();
        let is_deserted = flight.is_deserted();
        if is_deserted {
            remove(&mut by_key, key, flight);
        }
        is_deserted
    }

    /// What the flights of those keys bring is not stored any more, and nobody boards them.
    pub(in crate::pull) fn purge(&self, is_meant: impl Fn(&str) -> bool) {
        let mut purged = Vec::new();
        self.lock().retain(|key, flights| {
            let is_meant = is_meant(key);
            if is_meant {
                purged.append(flights);
            }
            !is_meant
        });
        for flight in purged {
            flight.lock().is_purged = true;
        }
    }

    /// Whether a flight that is under way brings blocks of that entry.
    pub(in crate::pull) fn bring(&self, key: &str, entry: DiskEntry) -> bool {
        let flights = self.lock().get(key).cloned().unwrap_or_default();
        flights.iter().any(|flight| {
            let state = flight.lock();
            state.entry == Some(entry) && state.end.is_none()
        })
    }

    /// Bytes that they have in memory.
    pub(in crate::pull) fn bytes(&self) -> u64 {
        let flights: Vec<_> = self.lock().values().flatten().cloned().collect();
        flights.iter().map(|flight| flight.window_bytes()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, ByKey> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// A seat, where it brings what is wished for. It cannot end for want of passengers between the look and the taking.
    fn board(self: &Arc<Self>, wish: &Wish) -> Option<Passenger> {
        let state = self.lock();
        self.fits(&state, wish).then(|| Passenger::board(self, state, wish.place, false))
    }

    /// Whether it brings what is wished for, soon or now.
    fn fits(&self, state: &State, wish: &Wish) -> bool {
        if wish.not_before.is_some_and(|moment| self.began < moment) {
            return false;
        }
        let is_same = match &wish.filling {
            Some(rest) => self.brings(state, rest),
            None => self.filling.is_none() && self.variant == wish.variant,
        };
        if !is_same || state.end.is_some() {
            return false;
        }
        match &state.landing {
            None => match (self.part, wish.part) {
                (Part::Last(held), Part::Last(wanted)) => held == wanted,
                (Part::Last(_), _) | (_, Part::Last(_)) => false,
                (part, _) => covers(part, wish.place) && is_near(part.start().unwrap_or(0), wish.place),
            },
            Some(Landing::Arrived(arrival)) => {
                let is_there = wish.place >= state.window.start()
                    || (state.entry.is_some() && wish.place >= arrival.start && wish.place < state.stored_to);
                arrival.sharing == Sharing::Everyone
                    && !matches!(wish.part, Part::Last(_))
                    && covers(self.part, wish.place)
                    && is_there
                    && is_near(state.window.end(), wish.place)
            }
            Some(_) => false,
        }
    }

    /// Whether what it brings is of the same representation: it is stored in the same place; or, where it is not stored, those who
    /// want more of it were on board of the same flight before.
    fn brings(&self, state: &State, rest: &Rest) -> bool {
        let landed = match &state.landing {
            Some(Landing::Arrived(arrival)) => match &arrival.head {
                ArrivalHead::Storable(head) => Some(head),
                ArrivalHead::Passing { .. } => None,
            },
            _ => None,
        };
        let head = self.filling.as_ref().map(|rest| &rest.head).or(landed);
        (rest.entry.is_some() && state.entry == rest.entry)
            || head.is_some_and(|head| Arc::ptr_eq(head, &rest.head))
    }
}

fn remove(by_key: &mut ByKey, key: &str, flight: &Arc<Flight>) {
    if let Some(flights) = by_key.get_mut(key) {
        flights.retain(|other| !Arc::ptr_eq(other, flight));
        if flights.is_empty() {
            by_key.remove(key);
        }
    }
}

fn covers(part: Part, place: u64) -> bool {
    match part {
        Part::Whole => true,
        Part::Blocks { start, end } => place >= start && end.is_none_or(|end| place < end),
        Part::Last(_) => false,
    }
}

/// Whether a flight that is at `here` comes to `place` soon enough to be waited for.
fn is_near(here: u64, place: u64) -> bool {
    place <= here.saturating_add(FLIGHT_AHEAD_BYTES)
}
