//! Which volume has a key. Pure.
//!
//! Rendezvous hashing over the volumes' paths, which are known before any of them has answered: when a volume leaves, its keys move to
//! others, and no other key does; while one is being opened none do.

use std::path::Path;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Whether a volume's demand content can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It can.
    Open,
    /// Not yet. What belongs there is neither found nor stored elsewhere: it would be there twice.
    Opening,
    /// Not before the daemon is started again.
    Away,
}

/// What tells a volume from others when keys are placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u64);

impl Seed {
    /// Of the volume at that path.
    pub(super) fn of(path: &Path) -> Self {
        Self(xxh3_64(path.as_os_str().as_encoded_bytes()))
    }
}

/// The place of the volume that a key belongs to, of those that are not away.
pub(super) fn home(key: &str, volumes: impl Iterator<Item = (Seed, Standing)>) -> Option<usize> {
    let present = volumes.enumerate().filter(|(_, (_, standing))| *standing != Standing::Away);
    let weighed = present.map(|(place, (seed, _))| (xxh3_64_with_seed(key.as_bytes(), seed.0), place));
    weighed.max().map(|(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(standings: [Standing; 3]) -> Vec<Option<usize>> {
        let seeds = ["/a", "/b", "/c"].map(|path| Seed::of(Path::new(path)));
        let of = |key: usize| home(&format!("/films/{key}"), seeds.into_iter().zip(standings));
        (0..300).map(of).collect()
    }

    #[test]
    fn keys_are_spread_over_all_volumes() {
        let homes = homes([Standing::Open; 3]);
        for place in 0..3 {
            let count = homes.iter().filter(|home| **home == Some(place)).count();
            assert!((60..140).contains(&count), "{count} of 300 at {place}");
        }
    }

    #[test]
    fn no_key_moves_while_a_volume_is_opened() {
        assert_eq!(homes([Standing::Open, Standing::Opening, Standing::Open]), homes([Standing::Open; 3]));
    }

    #[test]
    fn the_keys_of_a_volume_that_is_away_move_and_no_others_do() {
        let (before, after) =
            (homes([Standing::Open; 3]), homes([Standing::Open, Standing::Away, Standing::Open]));
        for (before, after) in before.into_iter().zip(after) {
            assert!(if before == Some(1) { after != Some(1) } else { after == before });
        }
        assert!(homes([Standing::Away; 3]).iter().all(Option::is_none));
    }
}
