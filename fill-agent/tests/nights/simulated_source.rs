//! A peer or an origin of a simulated machine.

use std::time::Duration;

use control_client::content::BundlePath;
use control_client::sources::FillSource;
use control_client::units::BitRate;

use super::scenario::SourceFacts;

pub(crate) struct SimulatedSource {
    pub(crate) facts: FillSource,
    pub(crate) rate: BitRate,
    has: Option<Vec<BundlePath>>,
    pub(crate) mood: Mood,
    /// Bytes received from it, and bytes of these that were of no use.
    pub(crate) received: u64,
    pub(crate) wasted: u64,
}

/// What it does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Answers,
    Away,
    Lies,
    Busy(Duration),
}

impl SimulatedSource {
    pub(crate) fn new(facts: &SourceFacts) -> Self {
        Self {
            facts: FillSource {
                kind: facts.kind,
                name: facts.name.clone(),
                url: format!("http://{}.example.net", facts.name),
                after_seconds: u32::try_from(facts.after.as_secs()).unwrap(),
            },
            rate: facts.rate,
            has: facts.has.clone(),
            mood: Mood::Answers,
            received: 0,
            wasted: 0,
        }
    }

    pub(crate) fn has(&self, path: &BundlePath) -> bool {
        self.has.as_ref().is_none_or(|paths| paths.contains(path))
    }

    pub(crate) fn give(&mut self, path: BundlePath) {
        self.has.get_or_insert_default().push(path);
    }
}
