//! Where a body is stored as it comes: block by block on disk; or, when it has come whole, is no longer than a block and not worth a disk's
//! while, in memory. What is longer than a block is on disk whatever it is: no flight has more than that to itself. Of what is small there
//! is a copy in memory beside.
//!
//! Nothing is stored as a whole that is not: what breaks off is forgotten, unless its parts can be told to belong together, and then
//! its missing blocks are asked for when they are wanted.

use std::sync::Arc;

use http::StatusCode;

use super::Mission;
use crate::limits::{SHORT_LIFETIME, SMALL_BODY_BYTES};
use crate::pull::blocks::{BLOCK_BYTES, block_of};
use crate::pull::caching::StoredHead;
use crate::pull::demand_store::{Asked, DiskEntry, DiskFault};
use crate::pull::failure::PullFailure;
use crate::pull::flight::Flight;
use crate::pull::memory_store::MemoryObject;
use crate::pull::service::Pull;

/// The storing of one flight's body.
pub(super) struct Filing {
    place: Place,
    head: Option<Arc<StoredHead>>,
    asked: Option<Asked>,
    /// The first byte that came.
    start: u64,
    /// The first byte that is not on disk; the first of a block.
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the flight's window, until it is known how long it is.
    Window,
    /// On disk, block by block.
    Disk(DiskEntry),
    /// Nowhere.
    Nowhere,
}

impl Filing {
    /// A body that may be stored, from `start` on.
    pub(super) fn new(head: Arc<StoredHead>, start: u64, asked: Option<Asked>) -> Self {
        Self {
            place: Place::Window,
            head: Some(head),
            asked,
            start,
            next: start.next_multiple_of(BLOCK_BYTES),
        }
    }

    /// Blocks of an entry that is there.
    pub(super) fn into(head: Arc<StoredHead>, start: u64, entry: DiskEntry, asked: Option<Asked>) -> Self {
        Self { place: Place::Disk(entry), ..Self::new(head, start, asked) }
    }

    /// A body that is not stored.
    pub(super) fn none() -> Self {
        Self { place: Place::Nowhere, head: None, asked: None, start: 0, next: 0 }
    }

    /// Whether what comes is stored, or may be.
    pub(super) fn is_storing(&self) -> bool {
        self.place != Place::Nowhere
    }

    /// Bytes have come: whole blocks of what is longer than one go to disk.
    pub(super) async fn take(&mut self, pull: &Pull, flight: &Flight, mission: &Mission, end: Option<u64>) {
        while self.is_storing() && flight.received_to() >= self.next.saturating_add(BLOCK_BYTES) {
            if self.place == Place::Window && self.is_one_block(end) {
                // It may be for memory.
                return;
            }
            self.store_block(pull, flight, mission, self.next + BLOCK_BYTES).await;
        }
    }

    /// Whether a whole object comes that has exactly one block.
    fn is_one_block(&self, end: Option<u64>) -> bool {
        let total = self.head.as_ref().and_then(|head| head.total_length);
        self.start == 0 && end == Some(BLOCK_BYTES) && total == end
    }

    /// The body has ended, well or not.
    pub(super) async fn close(
        &mut self,
        pull: &Pull,
        flight: &Flight,
        mission: &Mission,
        result: Result<(), PullFailure>,
    ) {
        let Some(head) = self.head.clone() else { return };
        let received_to = flight.received_to();
        match (result, self.place) {
            (_, Place::Nowhere) => {}
            (Ok(()), Place::Window) => self.store_short(pull, flight, mission, &head, received_to).await,
            (Ok(()), Place::Disk(_)) => {
                self.store_rest(pull, flight, mission, &head, received_to).await;
                pull.memory.remove(&mission.key);
            }
            (Err(_), Place::Disk(entry)) if !has_parts(&head) => {
                pull.demand.forget(entry);
            }
            (Err(_), _) => {}
        }
    }

    /// All that came, which is in the flight's window: a part, or a whole of which it is known now how long it is.
    async fn store_short(
        &mut self,
        pull: &Pull,
        flight: &Flight,
        mission: &Mission,
        head: &StoredHead,
        end: u64,
    ) {
        let is_whole = self.start == 0 && head.total_length.is_none_or(|total| total == end);
        if !is_whole {
            return self.store_rest(pull, flight, mission, head, end).await;
        }
        let head = Arc::new(StoredHead { total_length: Some(end), ..head.clone() });
        self.head = Some(Arc::clone(&head));
        if self.asked.is_some() && end > 0 && is_for_disk(pull, mission, &head) {
            self.store_rest(pull, flight, mission, &head, end).await;
        }
        let entry = match self.place {
            Place::Disk(entry) => Some(entry),
            Place::Window | Place::Nowhere => None,
        };
        if entry.is_some() && end > SMALL_BODY_BYTES {
            // What is in memory would be found first.
            pull.memory.remove(&mission.key);
        } else if let Some(body) = flight.copy(0, end) {
            let object = MemoryObject { head, body, entry };
            flight.unless_purged(|| pull.memory.insert(&mission.key, object));
        }
    }

    /// The last block, where the body ends the object, and a length that was not known before.
    async fn store_rest(
        &mut self,
        pull: &Pull,
        flight: &Flight,
        mission: &Mission,
        head: &StoredHead,
        end: u64,
    ) {
        let is_objects_end = head.total_length.is_none_or(|total| total == end);
        if is_objects_end && end > self.next {
            self.store_block(pull, flight, mission, end).await;
        }
        if let (Place::Disk(entry), None, Some(asked)) = (self.place, head.total_length, self.asked) {
            let known = StoredHead { total_length: Some(end), ..head.clone() };
            let updated = pull.demand.update_head(asked, entry, known.to_bytes(), Some(end)).await;
            if let Err(fault) = updated {
                self.give_up(pull, mission, &fault);
            }
        }
    }

    async fn store_block(&mut self, pull: &Pull, flight: &Flight, mission: &Mission, end: u64) {
        match self.try_store_block(pull, flight, mission, end).await {
            Ok(()) => {
                self.next = end;
                flight.stored(end);
            }
            Err(fault) => self.give_up(pull, mission, &fault),
        }
    }

    async fn try_store_block(
        &mut self,
        pull: &Pull,
        flight: &Flight,
        mission: &Mission,
        end: u64,
    ) -> Result<(), DiskFault> {
        let asked = self.asked.ok_or(DiskFault::Unavailable)?;
        let entry = match self.place {
            Place::Disk(entry) => entry,
            _ => self.begin_entry(pull, flight, mission, asked).await?,
        };
        let number = block_of(self.next).ok_or(DiskFault::Unavailable)?;
        let bytes = flight.copy(self.next, end).ok_or(DiskFault::Unavailable)?;
        pull.demand.append_block(asked, entry, number, bytes).await
    }

    /// An entry for the body: of a part, the one that has other parts of the same representation already.
    async fn begin_entry(
        &mut self,
        pull: &Pull,
        flight: &Flight,
        mission: &Mission,
        asked: Asked,
    ) -> Result<DiskEntry, DiskFault> {
        let head = self.head.as_ref().ok_or(DiskFault::Unavailable)?;
        let _alone = pull.lock_entries(&mission.key).await;
        let secondary = head.secondary_key();
        let entries = pull.demand.entries(&mission.key).await;
        let same = entries.into_iter().find(|(_, view)| {
            let is_same = |held: StoredHead| held.is_divisible() && held.same_representation(&head.fields);
            *view.secondary == *secondary
                && view.total_bytes.is_some()
                && view.total_bytes == head.total_length
                && StoredHead::from_bytes(&view.metadata).is_ok_and(is_same)
        });
        let entry = match same {
            Some((entry, _)) => {
                pull.demand.update_head(asked, entry, head.to_bytes(), head.total_length).await?;
                entry
            }
            None => {
                let total = head.total_length;
                pull.demand.append_head(asked, &mission.key, secondary, head.to_bytes(), total).await?
            }
        };
        self.place = Place::Disk(entry);
        flight.store_in(entry);
        if !has_parts(head) {
            flight.keep(pull.demand.keep(entry));
        }
        Ok(entry)
    }

    /// The body goes on without being stored. What is on disk of it is for those who are on board; alone it is not served.
    fn give_up(&mut self, pull: &Pull, mission: &Mission, fault: &DiskFault) {
        tracing::debug!(key = %mission.key, %fault, "it is sent and not stored");
        let volume = match self.place {
            Place::Disk(entry) => Some(entry.volume),
            _ => self.asked.map(|asked| asked.volume),
        };
        let stats = volume.and_then(|volume| pull.stats.volumes.get(volume));
        if let Some(stats) = stats.filter(|_| !fault.is_gone()) {
            stats.write_failures.add(1);
        }
        self.place = Place::Nowhere;
    }
}

/// Whether parts of a body can be asked for and told to belong together.
fn has_parts(head: &StoredHead) -> bool {
    head.is_divisible() && head.total_length.is_some()
}

/// Whether a body is worth a disk's while: content that stays what it is for a while. Playlists and MPDs are not, nor is what upstream
/// has not; a restart may well ask for these anew.
fn is_for_disk(pull: &Pull, mission: &Mission, head: &StoredHead) -> bool {
    head.status == StatusCode::OK
        && !head.is_playlist(&mission.key)
        && head.lifetime(&mission.key, &pull.policy) >= SHORT_LIFETIME
}
