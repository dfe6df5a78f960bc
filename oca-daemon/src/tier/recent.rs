//! Which blocks were asked for lately without being in memory: what is asked for once is not worth a place there.
//!
//! A viewer who plays a title asks for most blocks several times, segment after segment, and must not be taken for several
//! viewers. So a block counts as asked for again when a request begins where the first one did.

use std::collections::HashMap;

use super::block::BlockKey;

/// The blocks of the last while: of two generations, each of at most so many blocks.
pub(super) struct Recent {
    young: HashMap<BlockKey, Asked>,
    old: HashMap<BlockKey, Asked>,
    blocks_max: usize,
}

#[derive(Clone, Copy)]
struct Asked {
    /// Where the first request began.
    position: u16,
    /// Requests that began elsewhere since.
    elsewhere: u16,
}

/// So many requests for one block are several viewers', wherever they begin: a block holds 32 chunks, and one viewer's segments of
/// less than that are few.
const ELSEWHERE_MAX: u16 = 64;

impl Recent {
    pub(super) fn new(blocks_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), blocks_max: blocks_max.max(1) }
    }

    /// Notes a request; `true`: the block was asked for before, and is forgotten here.
    pub(super) fn note(&mut self, key: BlockKey, position: u16) -> bool {
        let before = self.young.remove(&key).or_else(|| self.old.remove(&key));
        let asked = match before {
            None => Asked { position, elsewhere: 0 },
            Some(asked) if asked.position == position || asked.elsewhere == ELSEWHERE_MAX => return true,
            Some(asked) => Asked { elsewhere: asked.elsewhere + 1, ..asked },
        };
        if self.young.len() >= self.blocks_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, asked);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> BlockKey {
        BlockKey::numbered(number)
    }

    #[test]
    fn one_viewer_who_plays_segment_after_segment_asks_for_a_block_once() {
        let mut recent = Recent::new(8);
        assert!((0..32).all(|segment| !recent.note(key(1), segment * 16)));
    }

    #[test]
    fn a_second_viewer_asks_where_the_first_one_did() {
        let mut recent = Recent::new(8);
        for position in [100, 300] {
            assert!(!recent.note(key(1), position));
        }
        assert!(recent.note(key(1), 100));
        assert!(!recent.note(key(1), 100), "what was told is forgotten");
    }

    #[test]
    fn a_block_whose_first_request_was_like_no_other_is_noticed_all_the_same() {
        let mut recent = Recent::new(8);
        assert!(!recent.note(key(1), 511));
        let asked = (0..1000).position(|request| recent.note(key(1), request % 4));
        assert_eq!(asked, Some(usize::from(ELSEWHERE_MAX)));
    }

    #[test]
    fn what_was_asked_for_long_ago_is_forgotten() {
        let mut recent = Recent::new(4);
        for number in 0..9 {
            assert!(!recent.note(key(number), 0));
        }
        assert!(recent.note(key(4), 0), "one generation ago");
        assert!(!recent.note(key(0), 0), "two generations ago");
        assert!(recent.young.len() <= 4 && recent.old.len() <= 4);
    }
}
