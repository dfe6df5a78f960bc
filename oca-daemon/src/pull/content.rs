//! The bytes of one answer, wherever they are: in memory, in a flight, on disk, or still upstream.
//!
//! A flight may bring less than the answer wants, leave it behind, or break off. Where the parts of an object can be told to belong
//! together, the answer goes on with another request for the rest; else it ends.

mod tries;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::blocks::{block_of, is_held, missing_from};
use super::caching::StoredHead;
use super::clients::Client;
use super::demand_store::DiskEntry;
use super::failure::PullFailure;
use super::flight::{Flights, Landing, Passenger, Rest, Sight, Wish};
use super::held::{Held, HeldBody};
use super::leading::Mission;
use super::service::Pull;
use crate::limits::{FLIGHTS_BOARDED_MAX, RANGE_IGNORED_BYTES_MAX, RANGE_IGNORED_PATIENCE};
use tries::Tries;

/// Where the bytes of an object come from.
pub(super) struct Content {
    key: Arc<str>,
    /// Its head, where parts of it can be asked for.
    head: Option<Arc<StoredHead>>,
    /// The fields of the request, for those that ask for more of it.
    fields: HeaderMap,
    memory: Option<Bytes>,
    passenger: Option<Passenger>,
    /// Where it is on disk, if it is; of what is in memory, too.
    entry: Option<DiskEntry>,
    /// The blocks that the entry had when it was looked at, those lost since left out.
    blocks: Arc<[Range<u32>]>,
    /// Until when its first bytes may be far away; `None`: some were given.
    patience: Option<Instant>,
    /// How many were given.
    given_bytes: u64,
    tries: Tries,
}

/// Why there are no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The object is another one now.
    Changed,
    /// They were in the flight, and are gone.
    Missed,
    /// They come late, after much else of the object, or are for one client alone; none was given.
    Far,
    /// They cannot be had.
    Failed(PullFailure),
}

impl Content {
    /// Of what is held.
    pub(super) fn held(key: &Arc<str>, held: &Held, fields: HeaderMap) -> Self {
        let (memory, entry, blocks) = match &held.body {
            HeldBody::Memory { body, entry } => (Some(body.clone()), *entry, Arc::default()),
            HeldBody::Disk { entry, blocks } => (None, Some(*entry), Arc::clone(blocks)),
        };
        let head = Some(Arc::clone(&held.head));
        Self { memory, entry, blocks, ..Self::new(key, head, fields) }
    }

    /// Of what a flight brings.
    pub(super) fn flown(
        key: &Arc<str>,
        passenger: Passenger,
        head: Option<Arc<StoredHead>>,
        fields: HeaderMap,
    ) -> Self {
        Self { passenger: Some(passenger), ..Self::new(key, head, fields) }
    }

    fn new(key: &Arc<str>, head: Option<Arc<StoredHead>>, fields: HeaderMap) -> Self {
        Self {
            key: Arc::clone(key),
            head,
            fields,
            memory: None,
            passenger: None,
            entry: None,
            blocks: Arc::default(),
            patience: Some(Instant::now() + RANGE_IGNORED_PATIENCE),
            given_bytes: 0,
            tries: Tries::default(),
        }
    }

    /// Takes a seat in the flight that brings the byte at `place`, if there is one, so that it does not end for want of passengers
    /// while what comes before is read from disk. Whether that byte can be had at all.
    pub(super) fn follow(&mut self, flights: &Flights, place: u64) -> bool {
        if let Some(wish) = self.wish(place, None) {
            self.passenger = flights.join(&self.key, &wish);
        }
        self.passenger.is_some() || self.is_divisible()
    }

    /// The next bytes at `place`, which is before `end`; `end` is not known where the object's length is not. Never empty; `None`
    /// where the object ends.
    pub(super) async fn next(
        &mut self,
        pull: &Arc<Pull>,
        client: &mut Client,
        place: u64,
        end: Option<u64>,
    ) -> Result<Option<Bytes>, Lack> {
        if let Some(body) = &self.memory {
            let bytes = cut(&body.slice((place as usize).min(body.len())..), place, end);
            if bytes.is_empty() {
                return Ok(None);
            }
            pull.stats.memory_bytes_sent.add(bytes.len() as u64);
            if let Some(entry) = self.entry {
                // Its disk is not read, and would take it for what nobody wants.
                pull.demand.note_use(entry);
            }
            return Ok(Some(bytes));
        }
        for _ in 0..FLIGHTS_BOARDED_MAX {
            let mut is_behind = false;
            if let Some(passenger) = &self.passenger {
                match passenger.read(place, self.patience).await {
                    Ok(Sight::Bytes(bytes)) => {
                        return Ok(Some(self.give(cut(&bytes, place, end))));
                    }
                    Ok(Sight::End) if end.is_none() => return Ok(None),
                    Ok(Sight::End) => {}
                    Ok(Sight::Behind) => is_behind = true,
                    Ok(Sight::Far) => return Err(Lack::Far),
                    Err(failure) => self.bear(place, failure).await?,
                }
            }
            self.entry = self.passenger.as_ref().and_then(Passenger::entry).or(self.entry);
            if !is_behind {
                // It brings no more.
                self.passenger = None;
            }
            let (Some(block), Some(wish)) = (block_of(place), self.wish(place, end)) else {
                return Err(self.lack());
            };
            let is_on_disk = self.entry.is_some() && (is_behind || is_held(block, &self.blocks));
            if !is_on_disk && self.join(pull, &wish, place).await? {
                continue;
            }
            // Looked for on disk after the flights: what has just left these is there.
            if let Some(bytes) = self.read(pull, block, place, end).await? {
                return Ok(Some(self.give(bytes)));
            }
            if !self.is_divisible() {
                return Err(self.lack());
            }
            self.blocks = without(&self.blocks, block);
            // Not the flight that has left it behind and does not have it any more either.
            let left_by = self.passenger.as_ref().filter(|_| is_behind).map(|behind| behind.flight().began);
            let not_before = left_by.map(|began| began + Duration::from_nanos(1));
            self.fill(pull, client, place, end, not_before).await?;
        }
        Err(Lack::Failed(PullFailure::Unreadable))
    }

    fn give(&mut self, bytes: Bytes) -> Bytes {
        self.patience = None;
        self.given_bytes += bytes.len() as u64;
        bytes
    }

    /// A flight has failed before it brought the byte at `place`: another request can ask for the rest, where that can be told to
    /// belong to what was sent; and not too often.
    async fn bear(&mut self, place: u64, failure: PullFailure) -> Result<(), Lack> {
        let pause = self.tries.failed_at(place).filter(|_| self.is_divisible());
        let pause = pause.ok_or(Lack::Failed(failure))?;
        tracing::debug!(key = %self.key, place, failure = failure.word(), "upstream is asked for the rest");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Why what is wanted is not waited for: a request of its own can bring it, as long as nothing was given.
    fn far(&self) -> Lack {
        if self.patience.is_some() { Lack::Far } else { Lack::Failed(PullFailure::Invalid) }
    }

    /// Why there is no more of what cannot be asked for in parts.
    fn lack(&self) -> Lack {
        match self.passenger.as_ref().and_then(Passenger::failure) {
            Some(failure) => Lack::Failed(failure),
            None if self.entry.is_some() => Lack::Failed(PullFailure::Unreadable),
            None => Lack::Missed,
        }
    }

    /// What a block on disk has from `place` on.
    async fn read(
        &self,
        pull: &Pull,
        block: u32,
        place: u64,
        end: Option<u64>,
    ) -> Result<Option<Bytes>, Lack> {
        let Some(entry) = self.entry else { return Ok(None) };
        let bytes = match pull.demand.read_block(entry, block).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(fault) => {
                tracing::debug!(key = %self.key, %fault, "a block was not read");
                return Err(Lack::Failed(PullFailure::Unreadable));
            }
        };
        let within = (place % super::blocks::BLOCK_BYTES) as usize;
        if within >= bytes.len() {
            return Ok(None);
        }
        let bytes = cut(&bytes.slice(within..), place, end);
        pull.stats.disk_bytes_sent.add(bytes.len() as u64);
        Ok(Some(bytes))
    }

    /// Boards a flight that brings the block already, if there is one.
    async fn join(&mut self, pull: &Pull, wish: &Wish, place: u64) -> Result<bool, Lack> {
        match pull.flights.join(&self.key, wish) {
            Some(passenger) => self.travel(passenger, place).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Boards a flight that brings the missing blocks and did not begin before, a new one if there is none. Where the client has all of
    /// its part, only waits for that: they may have come meanwhile.
    async fn fill(
        &mut self,
        pull: &Arc<Pull>,
        client: &mut Client,
        place: u64,
        end: Option<u64>,
        not_before: Option<std::time::Instant>,
    ) -> Result<(), Lack> {
        let Some(wish) = self.wish(place, end) else { return Err(self.lack()) };
        let wish = Wish { not_before, ..wish };
        let mission = || Mission {
            key: Arc::clone(&self.key),
            fields: self.fields.clone(),
            revalidating: None,
            filling: wish.filling.clone(),
            is_background: false,
        };
        match pull.board(&self.key, &wish, client, mission) {
            Some(passenger) => self.travel(passenger, place).await,
            None => pull.wait_to_board(&self.key, &wish, client).await.map_err(Lack::Failed),
        }
    }

    /// Waits for the flight to land, and reads from it from then on. What fails after bytes were given is tried again.
    ///
    /// Where upstream sends all of it instead, no more is passed over than that limit, or than was given: so who has read what is held
    /// gets the rest, and nobody has upstream send much for a little.
    async fn travel(&mut self, passenger: Passenger, place: u64) -> Result<(), Lack> {
        self.passenger = None;
        match passenger.landing().await {
            Landing::Arrived(_) => {
                let far = place.saturating_sub(passenger.flight().received_to());
                if far > RANGE_IGNORED_BYTES_MAX.max(self.given_bytes) {
                    return Err(self.far());
                }
                self.passenger = Some(passenger);
                Ok(())
            }
            Landing::Unshared if self.patience.is_some() => Err(Lack::Far),
            Landing::Unshared => self.bear(place, PullFailure::Invalid).await,
            Landing::Failed(failure) if self.patience.is_none() => self.bear(place, failure).await,
            Landing::Failed(failure) => Err(Lack::Failed(failure)),
            Landing::Changed | Landing::Confirmed(_) | Landing::Held => Err(Lack::Changed),
        }
    }

    /// Whether missing parts of it can be asked for.
    fn is_divisible(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.is_divisible() && head.total_length.is_some())
    }

    /// What is missing from `place` on. `None` where there is nothing by which a flight could be told to bring it.
    fn wish(&self, place: u64, end: Option<u64>) -> Option<Wish> {
        let rest = Rest { head: Arc::clone(self.head.as_ref()?), entry: self.entry };
        let part = missing_from(block_of(place)?, end.unwrap_or(u64::MAX), &self.blocks);
        Some(Wish { part, place, variant: 0, filling: Some(rest), not_before: None })
    }
}

/// The bytes before `end`, of those that begin at `place`.
fn cut(bytes: &Bytes, place: u64, end: Option<u64>) -> Bytes {
    let wanted = end.map_or(u64::MAX, |end| end.saturating_sub(place));
    bytes.slice(..bytes.len().min(usize::try_from(wanted).unwrap_or(usize::MAX)))
}

/// The runs without one block.
fn without(runs: &[Range<u32>], block: u32) -> Arc<[Range<u32>]> {
    let parts = runs.iter().flat_map(|run| {
        let (before, after) =
            (run.start..run.end.min(block), run.start.max(block.saturating_add(1))..run.end);
        if run.contains(&block) { [before, after] } else { [run.clone(), 0..0] }
    });
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "runs of blocks")]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_was_lost_splits_its_run() {
        assert_eq!(*without(&[0..3, 5..6], 1), [0..1, 2..3, 5..6]);
        assert_eq!(*without(&[0..3, 5..6], 5), [0..3]);
        assert_eq!(*without(&[0..3], 7), [0..3]);
        assert_eq!(*without(&[0..3], 0), [1..3]);
    }

    #[test]
    fn no_byte_at_the_end_or_after_it_is_given() {
        let bytes = Bytes::from_static(b"abcdef");
        assert_eq!(cut(&bytes, 10, Some(13)), "abc");
        assert_eq!(cut(&bytes, 10, Some(100)), "abcdef");
        assert_eq!(cut(&bytes, 10, Some(10)), "");
        assert_eq!(cut(&bytes, 10, None), "abcdef");
    }
}
