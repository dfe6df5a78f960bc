//! Who waits for one read of the disk, each for a piece of it.
//!
//! A read that never comes back is joined by each who asks for its chunks, again after each refusal. Those who have given up are
//! taken out when the others have doubled, so that a disk that hangs for an evening costs no memory for each request.

use smallvec::SmallVec;

use crate::body::PieceRead;
use crate::token::ConnectionId;

/// The readers of one read, in the order in which they came.
pub struct Readers {
    waiting: SmallVec<[(ConnectionId, PieceRead); 1]>,
    /// So many are looked through.
    crowd: usize,
}

/// Fewer are not looked through.
const CROWD_MIN: usize = 256;

impl Readers {
    /// The one for whom it is begun.
    pub fn new(reader: ConnectionId, piece: PieceRead) -> Self {
        Self { waiting: SmallVec::from_elem((reader, piece), 1), crowd: CROWD_MIN }
    }

    /// Another; `true`: it is time for [`Self::retain`].
    pub fn push(&mut self, reader: ConnectionId, piece: PieceRead) -> bool {
        self.waiting.push((reader, piece));
        self.is_crowd()
    }

    /// Whether they are so many that they are to be looked through.
    pub fn is_crowd(&self) -> bool {
        self.waiting.len() >= self.crowd
    }

    /// Keeps those who still wait.
    pub fn retain(&mut self, waits: impl Fn(ConnectionId, PieceRead) -> bool) {
        self.waiting.retain(|(reader, piece)| waits(*reader, *piece));
        self.crowd = (2 * self.waiting.len()).max(CROWD_MIN);
    }
}

impl IntoIterator for Readers {
    type Item = (ConnectionId, PieceRead);
    type IntoIter = smallvec::IntoIter<[(ConnectionId, PieceRead); 1]>;

    fn into_iter(self) -> Self::IntoIter {
        self.waiting.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_have_given_up_do_not_pile_up_behind_a_read_that_never_returns() {
        let id = ConnectionId { slot: 0, generation: 0 };
        let piece = |ticket| PieceRead { ticket, first_chunk: 0, chunk_count: 1 };
        let mut readers = Readers::new(id, piece(0));
        for ticket in 1..100_000 {
            // Only the first and the last ten still wait.
            if readers.push(id, piece(ticket)) {
                readers.retain(|_, piece| piece.ticket == 0 || piece.ticket + 10 > ticket);
            }
            assert!(readers.waiting.len() <= CROWD_MIN);
        }
        let tickets: Vec<u64> = readers.into_iter().map(|(_, piece)| piece.ticket).collect();
        assert!(tickets.starts_with(&[0]) && tickets.ends_with(&[99_998, 99_999]));
    }

    #[test]
    fn as_many_as_wait_are_kept() {
        let id = ConnectionId { slot: 0, generation: 0 };
        let piece = |ticket| PieceRead { ticket, first_chunk: 0, chunk_count: 1 };
        let mut readers = Readers::new(id, piece(0));
        let looked = (1..10_000).filter(|ticket| {
            let is_crowd = readers.push(id, piece(*ticket));
            if is_crowd {
                readers.retain(|_, _| true);
            }
            is_crowd
        });
        assert!(looked.count() < 10, "they are looked through when they have doubled");
        assert_eq!(readers.into_iter().count(), 10_000);
    }
}
