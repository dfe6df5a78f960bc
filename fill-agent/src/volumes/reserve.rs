//! What of a volume is not for bundles: what is to stay free, and the share of pulled content, whether that has taken it or not. The
//! daemon takes that share when it likes, and nobody is asked: so no bundle may stand there.
//!
//! Where bundles stand there all the same, because pulling was turned on over a full volume, two things hold. Bundles still take the
//! place of others: what pulled content takes of what is to stay free, while it has no other place, is not counted against them. And
//! they let go of some of it in each plan, the least worth first: as much as pulled content has used up since the one before.

use std::io;
use std::sync::Arc;

use cache_store::{FileSystemSpace, Volume};
use control_client::config::{Config, PullConfig};

/// The part of the share of pulled content that is kept free for it at once, where bundles have to go for it: one in so many. What nobody
/// pulls drives out no more than that.
const SHARE_AT_ONCE: u64 = 16;

/// By the configuration.
#[derive(Clone, Debug)]
pub struct Reserve {
    keep_free_bytes: u64,
    pull: Arc<PullConfig>,
}

impl Reserve {
    /// Of every volume.
    pub fn new(config: &Config) -> Self {
        Self { keep_free_bytes: config.fill.keep_free.bytes(), pull: Arc::new(config.pull.clone()) }
    }

    /// What of a volume bundles may count with. Blocks.
    pub(super) fn leaves(&self, volume: &Volume) -> io::Result<Left> {
        let occupied = self.look(volume)?;
        Ok(Left {
            free_bytes: occupied.free_for_bundles(self.keep_free_bytes),
            owed_bytes: occupied.owed_bytes(self.keep_free_bytes),
        })
    }

    /// Whether less is free on a volume than is to stay free, and pulled content is not to blame. Blocks.
    pub(crate) fn is_short(&self, volume: &Volume) -> bool {
        let is_enough = |space: FileSystemSpace| space.free_bytes >= self.keep_free_bytes;
        // Counting takes a look at each of its files.
        !volume.space().is_ok_and(is_enough)
            && self.look(volume).is_ok_and(|occupied| occupied.spare_bytes() < self.keep_free_bytes)
    }

    /// What bundles may take on a volume beside those that are published, where so much of it is taken by what was begun; less than
    /// nothing where some of them stand where they should not. Blocks.
    pub(super) fn room_bytes(&self, volume: &Volume, begun_bytes: u64) -> io::Result<i128> {
        let occupied = self.look(volume)?;
        let not_theirs = i128::from(occupied.awaited_bytes()) + i128::from(self.keep_free_bytes);
        Ok(i128::from(occupied.free_bytes) + i128::from(begun_bytes) - not_theirs)
    }

    fn look(&self, volume: &Volume) -> io::Result<Occupied> {
        let space = volume.space()?;
        let share_bytes = self.pull.share_of(space.total_bytes);
        let pulled = || {
            volume.demand_bytes().unwrap_or_else(|error| {
                // The fill goes on, with less room than there is.
                tracing::warn!(volume = %volume.path().display(), %error, "what pulled content takes cannot be counted");
                0
            })
        };
        let pulled_bytes = if self.pull.is_on() { pulled() } else { 0 };
        Ok(Occupied { free_bytes: space.free_bytes, pulled_bytes, share_bytes })
    }
}

/// What bundles may count with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// As if it were free.
    pub(super) free_bytes: u64,
    /// What they have to let go of now.
    pub(super) owed_bytes: u64,
}

/// A volume, as far as pulled content is concerned. Pure.
#[derive(Clone, Copy, Debug)]
struct Occupied {
    free_bytes: u64,
    /// What pulled content takes.
    pulled_bytes: u64,
    /// What it may take; nothing where nothing is pulled.
    share_bytes: u64,
}

impl Occupied {
    /// What pulled content has yet to take.
    fn awaited_bytes(self) -> u64 {
        self.share_bytes.saturating_sub(self.pulled_bytes)
    }

    /// What bundles and all others leave. Pulled content that has not got its share takes what there is, be it to stay free or not.
    fn spare_bytes(self) -> u64 {
        let pulled_bytes = if self.awaited_bytes() > 0 { self.pulled_bytes } else { 0 };
        self.free_bytes.saturating_add(pulled_bytes)
    }

    /// What is left of that for bundles: not the share of pulled content, but as far as they stand there already. Else none could take
    /// the place of another before there is room for all of that share.
    fn free_for_bundles(self, keep_free_bytes: u64) -> u64 {
        let share_bytes = if self.awaited_bytes() > 0 { self.share_bytes } else { 0 };
        let spare_bytes = self.spare_bytes();
        spare_bytes - share_bytes.min(spare_bytes.saturating_sub(keep_free_bytes))
    }

    /// What is to become free for pulled content now.
    fn owed_bytes(self, keep_free_bytes: u64) -> u64 {
        match self.awaited_bytes().min(self.share_bytes.div_ceil(SHARE_AT_ONCE)) {
            0 => 0,
            at_once => keep_free_bytes.saturating_add(at_once).saturating_sub(self.free_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use control_client::config::{OnMiss, PullRule};

    use super::*;

    const KEEP_FREE: u64 = 50;

    fn occupied(free_bytes: u64, pulled_bytes: u64, share_bytes: u64) -> Occupied {
        Occupied { free_bytes, pulled_bytes, share_bytes }
    }

    /// Room for a plan, which leaves what is to stay free.
    fn available(occupied: Occupied) -> i64 {
        occupied.free_for_bundles(KEEP_FREE) as i64 - KEEP_FREE as i64
    }

    #[test]
    fn pulled_content_has_yet_to_take_what_is_left_of_its_share() {
        assert_eq!([0, 40, 100, 250].map(|taken| occupied(0, taken, 100).awaited_bytes()), [100, 60, 0, 0]);
        assert_eq!([0, 40, 100, 250].map(|taken| available(occupied(500, taken, 100))), [350, 390, 450, 450]);
    }

    #[test]
    fn where_nothing_is_pulled_nothing_is_awaited_nor_owed() {
        assert_eq!([0, 50, 80].map(|free| available(occupied(free, 0, 0))), [-50, 0, 30]);
        assert_eq!(occupied(0, 0, 0).owed_bytes(KEEP_FREE), 0);
        let (volume, mut config) = (1_000, Config::default());
        assert_eq!(Reserve::new(&config).pull.share_of(volume), 0);
        config.pull.rules = vec![PullRule::new("/", OnMiss::Pull, "")];
        config.pull.volume_percent = 10;
        assert_eq!(Reserve::new(&config).pull.share_of(volume), 100);
    }

    /// Found in review: over a full volume no title could be updated before ten gibibytes had been won back for it.
    #[test]
    fn over_a_full_volume_bundles_take_the_place_of_others_whatever_pulled_content_has_taken_meanwhile() {
        for pulled in [0, 20, 50] {
            assert_eq!(available(occupied(50 - pulled, pulled, 1600)), 0, "{pulled}");
        }
        // Pulled content is not to blame for this.
        assert_eq!(available(occupied(30, 0, 1600)), -20);
        assert_eq!(available(occupied(0, 1600, 1600)), -50);
    }

    #[test]
    fn bundles_owe_a_part_of_the_share_beside_what_stays_free_until_pulled_content_has_it_all() {
        assert_eq!(occupied(50, 0, 1600).owed_bytes(KEEP_FREE), 100);
        assert_eq!(occupied(0, 50, 1600).owed_bytes(KEEP_FREE), 150);
        // It is free, and nobody has used it.
        assert_eq!(occupied(150, 0, 1600).owed_bytes(KEEP_FREE), 0);
        assert_eq!(occupied(50, 1570, 1600).owed_bytes(KEEP_FREE), 30);
        assert_eq!(occupied(0, 1600, 1600).owed_bytes(KEEP_FREE), 0);
        // Where nothing is to stay free, too.
        assert_eq!(occupied(0, 0, 1600).owed_bytes(0), 100);
    }
}
