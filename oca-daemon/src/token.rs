//! What a completion is about: the 64 bits that travel with an operation through the ring and come back.
//!
//! Layout of the `user_data`: kind in bits 56–63, slot in bits 32–55, generation in bits 0–31. A slot is used
//! again by later connections and reads; the generation tells a late completion from one for the present
//! owner.

/// A connection of one worker: its place in the slab, and which of the connections that lived there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Place in the worker's slab, below 2²⁴.
    pub slot: u32,
    /// Counts the connections that this worker has had; wraps.
    pub generation: u32,
}

/// The operation that a completion ends or reports on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Multishot accept on the worker's listener with this index.
    Accept(u32),
    /// The eventfd with which other threads wake the worker.
    Wake,
    /// Receive into a provided buffer.
    Receive(ConnectionId),
    /// Poll for room in the socket's send buffer.
    Writable(ConnectionId),
    /// Poll for what the peer does to the connection beside sending.
    Peer(ConnectionId),
    /// A disk read, by its slot in the table of reads in flight; the kernel owns its buffers until this completion.
    Read(u32),
    /// A cancellation's own completion, of no interest.
    Cancel,
}

const SLOT_BITS: u32 = 24;
const SLOT_MAX: u32 = (1 << SLOT_BITS) - 1;

impl Token {
    /// The token as an operation's `user_data`.
    pub fn pack(self) -> u64 {
        let (kind, slot, generation) = match self {
            Token::Accept(listener) => (1, listener, 0),
            Token::Wake => (2, 0, 0),
            Token::Receive(id) => (3, id.slot, id.generation),
            Token::Writable(id) => (4, id.slot, id.generation),
            Token::Read(slot) => (5, slot, 0),
            Token::Cancel => (6, 0, 0),
            Token::Peer(id) => (7, id.slot, id.generation),
        };
        debug_assert!(slot <= SLOT_MAX);
        (kind << 56) | (u64::from(slot & SLOT_MAX) << 32) | u64::from(generation)
    }

    /// Reads a completion's `user_data`; `None` for a value that `pack` never made.
    pub fn unpack(user_data: u64) -> Option<Self> {
        let slot = ((user_data >> 32) as u32) & SLOT_MAX;
        let id = ConnectionId { slot, generation: user_data as u32 };
        match user_data >> 56 {
            1 => Some(Token::Accept(slot)),
            2 => Some(Token::Wake),
            3 => Some(Token::Receive(id)),
            4 => Some(Token::Writable(id)),
            5 => Some(Token::Read(slot)),
            6 => Some(Token::Cancel),
            7 => Some(Token::Peer(id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_comes_back_from_the_ring_as_it_went(slot in 0..=SLOT_MAX, generation: u32, kind in 0..7) {
            let id = ConnectionId { slot, generation };
            let token = match kind {
                0 => Token::Accept(slot),
                1 => Token::Wake,
                2 => Token::Receive(id),
                3 => Token::Writable(id),
                4 => Token::Read(slot),
                5 => Token::Peer(id),
                _ => Token::Cancel,
            };
            prop_assert_eq!(Token::unpack(token.pack()), Some(token));
        }
    }

    #[test]
    fn a_value_that_was_never_packed_is_no_token() {
        assert_eq!(Token::unpack(0), None);
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
