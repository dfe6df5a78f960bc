use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::waiting::Counts;
use crate::content::BundlePath;
use crate::demand::Demand;
use crate::report::Dropped;

/// The daemon's totals that were counted already. As many directories as the daemon tells of, which
/// [`crate::limits::ANSWER_BYTES_MAX`] bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counted {
    instance: String,
    paths: BTreeMap<BundlePath, Counts>,
    other_absent_requests: u64,
}

impl Counted {
    /// Counts up to these totals: what is new, by directory, and what belongs to no directory.
    pub(super) fn advance(&mut self, totals: &Demand) -> (Vec<(BundlePath, Counts)>, Dropped) {
        if self.instance != totals.instance {
            *self = Self { instance: totals.instance.clone(), ..Self::default() };
        }
        let mut now: BTreeMap<BundlePath, Counts> = BTreeMap::new();
        for path in &totals.paths {
            // A directory that is told of twice is the sum of both.
            now.entry(path.path.clone()).or_default().add(&Counts::of(path));
        }
        let new = now
            .iter()
            .map(|(path, total)| (path, total.since(self.paths.get(path))))
            .filter(|(_, new)| *new != Counts::default())
            .map(|(path, new)| (path.clone(), new))
            .collect();
        let absent = since(totals.other_absent_requests, self.other_absent_requests);
        self.paths = now;
        self.other_absent_requests = totals.other_absent_requests;
        (new, Dropped { requests: absent, absent, ..Dropped::default() })
    }
}

impl Counts {
    /// What was added since `before`; everything where any of the counts is lower than it was.
    fn since(&self, before: Option<&Self>) -> Self {
        match before {
            Some(before)
                if self.requests >= before.requests
                    && self.bytes >= before.bytes
                    && self.absent >= before.absent =>
            {
                Self {
                    requests: self.requests - before.requests,
                    bytes: self.bytes - before.bytes,
                    absent: self.absent - before.absent,
                }
            }
            _ => *self,
        }
    }
}

fn since(total: u64, before: u64) -> u64 {
    if total >= before { total - before } else { total }
}
