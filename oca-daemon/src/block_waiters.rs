//! Which connections of one worker wait for blocks that are on their way into memory.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::key_hasher::KeyHasher;
use crate::limits::{TIER_WAITERS_MAX, TIER_WAITERS_OF_ONE_MAX};
use crate::tier::BlockKey;
use crate::token::ConnectionId;

/// The waiting connections, by block; those that have given up, or have gone, among them.
#[derive(Default)]
pub struct BlockWaiters {
    by_block: HashMap<BlockKey, Vec<ConnectionId>, BuildHasherDefault<KeyHasher>>,
    count: usize,
}

/// What became of somebody who wanted to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Waits, as the first for this block: the tier is to be asked.
    First,
    /// Waits with others.
    Joined,
    /// There are too many.
    Refused,
}

impl BlockWaiters {
    /// A connection wants to wait.
    pub fn wait(&mut self, key: BlockKey, id: ConnectionId) -> Wait {
        let waiters = self.by_block.entry(key).or_default();
        if self.count >= TIER_WAITERS_MAX || waiters.len() >= TIER_WAITERS_OF_ONE_MAX {
            if waiters.is_empty() {
                self.by_block.remove(&key);
            }
            return Wait::Refused;
        }
        self.count += 1;
        waiters.push(id);
        if waiters.len() == 1 { Wait::First } else { Wait::Joined }
    }

    /// The block is settled: who has waited for it.
    pub fn take(&mut self, key: BlockKey) -> Vec<ConnectionId> {
        let waiters = self.by_block.remove(&key).unwrap_or_default();
        self.count -= waiters.len();
        waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 0 }
    }

    #[test]
    fn only_the_first_who_waits_for_a_block_asks_for_it() {
        let (mut waiters, one, other) =
            (BlockWaiters::default(), BlockKey::numbered(1), BlockKey::numbered(2));
        assert_eq!(waiters.wait(one, id(1)), Wait::First);
        assert_eq!(waiters.wait(one, id(2)), Wait::Joined);
        assert_eq!(waiters.wait(other, id(3)), Wait::First);
        assert_eq!(waiters.take(one), [id(1), id(2)]);
        assert_eq!(waiters.take(one), []);
        assert_eq!(waiters.wait(one, id(4)), Wait::First);
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut waiters = BlockWaiters::default();
        let blocks = TIER_WAITERS_MAX / TIER_WAITERS_OF_ONE_MAX;
        for key in (0..blocks as u64).map(BlockKey::numbered) {
            let mut slots = 0..TIER_WAITERS_OF_ONE_MAX as u32;
            assert!(slots.all(|slot| waiters.wait(key, id(slot)) != Wait::Refused));
            assert_eq!(waiters.wait(key, id(0)), Wait::Refused, "others have room");
        }
        let further = BlockKey::numbered(blocks as u64);
        assert_eq!(waiters.wait(further, id(1)), Wait::Refused);
        waiters.take(BlockKey::numbered(0));
        assert_eq!(waiters.wait(further, id(1)), Wait::First);
    }
}
