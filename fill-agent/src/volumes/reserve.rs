//! What of a volume is not for bundles: what is to stay free, and the share of pulled content, whether that has taken it or not. The
//! daemon takes that share when it likes, and nobody is asked: so no bundle may stand there.

use std::io;
use std::sync::Arc;

use cache_store::{FileSystemSpace, Volume};
use control_client::config::{Config, PullConfig};

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

    /// What is free on a volume, without what pulled content has yet to take. Blocks.
    ///
    /// Nothing where that is more than is free: then bundles stand where pulled content should. They give way one by one to bundles
    /// that come, and not all at once to the next, which would have to be worth all of them.
    pub(super) fn free_bytes(&self, volume: &Volume) -> io::Result<u64> {
        let space = volume.space()?;
        Ok(space.free_bytes.saturating_sub(self.awaited_on(volume, space)))
    }

    /// What bundles may take on a volume beside those that are published, where so much of it is taken by what was begun; less than
    /// nothing where some of them stand where they should not. Blocks.
    pub(super) fn room_bytes(&self, volume: &Volume, begun_bytes: u64) -> io::Result<i128> {
        let space = volume.space()?;
        let not_theirs = i128::from(self.awaited_on(volume, space)) + i128::from(self.keep_free_bytes);
        Ok(i128::from(space.free_bytes) + i128::from(begun_bytes) - not_theirs)
    }

    fn awaited_on(&self, volume: &Volume, space: FileSystemSpace) -> u64 {
        if !self.pull.is_on() {
            return 0;
        }
        let taken = volume.demand_bytes().unwrap_or_else(|error| {
            // The fill goes on, with less room than there is.
            tracing::warn!(volume = %volume.path().display(), %error, "what pulled content takes cannot be counted");
            0
        });
        self.awaited_bytes(space, taken)
    }

    /// What pulled content that takes so much has yet to take.
    fn awaited_bytes(&self, space: FileSystemSpace, taken_bytes: u64) -> u64 {
        self.pull.share_of(space.total_bytes).saturating_sub(taken_bytes)
    }
}

#[cfg(test)]
mod tests {
    use control_client::config::{OnMiss, PullRule};

    use super::*;

    fn awaited(percent: Option<u32>, demand_bytes: u64) -> u64 {
        let mut config = Config::default();
        if let Some(percent) = percent {
            config.pull.rules = vec![PullRule::new("/", OnMiss::Pull, "")];
            config.pull.volume_percent = percent;
        }
        let space = FileSystemSpace { free_bytes: 0, total_bytes: 1_000 };
        Reserve::new(&config).awaited_bytes(space, demand_bytes)
    }

    #[test]
    fn pulled_content_has_yet_to_take_what_is_left_of_its_share() {
        assert_eq!([0, 40, 100, 250].map(|taken| awaited(Some(10), taken)), [100, 60, 0, 0]);
    }

    #[test]
    fn where_nothing_is_pulled_nothing_is_awaited() {
        assert_eq!(awaited(None, 0), 0);
    }
}
