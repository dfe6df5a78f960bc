//! What came from each source, useful or not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use control_client::fill::SourceBytes;
use control_client::sources::{FillSource, SourceKind};

/// The tallies of one run.
#[derive(Debug, Default)]
pub struct Tallies {
    sources: Mutex<HashMap<(SourceKind, String), Arc<SourceTally>>>,
}

/// The tally of one source.
#[derive(Debug, Default)]
pub struct SourceTally {
    bytes: AtomicU64,
    wasted_bytes: AtomicU64,
}

impl Tallies {
    /// The tally of a source.
    pub fn of(&self, source: &FillSource) -> Arc<SourceTally> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sources.entry((source.kind, source.name.clone())).or_default())
    }

    /// All that sent something, by kind and name.
    pub fn sums(&self) -> Vec<SourceBytes> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums: Vec<SourceBytes> = sources
            .iter()
            .map(|((kind, name), tally)| SourceBytes {
                kind: *kind,
                name: name.clone(),
                bytes: tally.bytes.load(Ordering::Relaxed),
                wasted_bytes: tally.wasted_bytes.load(Ordering::Relaxed),
            })
            .filter(|sum| sum.bytes > 0)
            .collect();
        sums.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        sums
    }
}

impl SourceTally {
    /// So many bytes of an object came.
    pub fn receive(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many of the bytes that came were of no use.
    pub fn waste(&self, bytes: u64) {
        self.wasted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_summed_by_source_and_silent_sources_are_left_out() {
        let tallies = Tallies::default();
        let source = |kind, name: &str| FillSource {
            kind,
            name: name.to_owned(),
            url: "http://o".to_owned(),
            after_seconds: 0,
        };
        tallies.of(&source(SourceKind::Origin, "origin")).receive(5);
        tallies.of(&source(SourceKind::Peer, "b")).receive(10);
        tallies.of(&source(SourceKind::Peer, "b")).waste(4);
        tallies.of(&source(SourceKind::Peer, "a"));
        let sums: Vec<_> =
            tallies.sums().into_iter().map(|sum| (sum.name, sum.bytes, sum.wasted_bytes)).collect();
        assert_eq!(sums, [("b".to_owned(), 10, 4), ("origin".to_owned(), 5, 0)]);
    }
}
