//! Bytes are digested in small pieces, and the processor is offered to others between two of them.
//!
//! The scheduling policy *idle* alone does not make way for the daemon at once. The kernel's scheduler (EEVDF, since 6.6) picks by
//! lag first and by weight second: where a thread of the daemon that becomes ready has just had a little more than its share, one of
//! the agent is picked before it, and keeps the core until it sleeps or the next tick, which is milliseconds. So threads that work
//! for long have it pick again.

use std::thread;

use crate::limits::PIECE_BYTES;

/// The bytes in pieces of [`PIECE_BYTES`] at most. Before each but the first, whoever else is ready may run.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(PIECE_BYTES).enumerate().map(|(number, piece)| {
        if number > 0 {
            thread::yield_now();
        }
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_small_and_together_they_are_the_bytes() {
        let bytes: Vec<u8> = (0..2 * PIECE_BYTES + 7).map(|at| (at % 251) as u8).collect();
        assert!(pieces(&bytes).all(|piece| (1..=PIECE_BYTES).contains(&piece.len())));
        assert_eq!(pieces(&bytes).collect::<Vec<_>>().concat(), bytes);
        assert_eq!(pieces(&[]).count(), 0);
    }
}
