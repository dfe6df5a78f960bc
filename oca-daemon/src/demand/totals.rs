//! What was asked of all workers since the instance began: the sum of their tables, bounded in memory.
//!
//! Totals only grow, so that a reader who misses an answer loses nothing: it takes the difference to the last
//! one that it has. What keeps them bounded is that they begin anew, as another instance, when a table is
//! full and was told: at once where directories with bundles fill it (that takes months, or a very large
//! appliance), after an hour at the earliest where names without a bundle do, which anybody can send. A
//! second reader beside the one who was told loses what came since its own last answer; so one program asks,
//! the fill agent.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use control_client::content::BundlePath;
use control_client::demand::{Demand, PathDemand};
use control_client::wire::DocumentVersion;

use super::DemandTable;
use crate::limits::{DEMAND_ABSENT_MAX, DEMAND_ENTRY_BYTES, DEMAND_INSTANCE_MIN, DEMAND_TOTALS_BYTES_MAX};

/// The sum of the workers' tables.
#[derive(Debug)]
pub struct DemandTotals {
    instance: String,
    began: Instant,
    paths: HashMap<BundlePath, PathTotal>,
    /// Those of `paths` that never had a bundle.
    absent_paths: usize,
    /// What `paths` takes, about.
    bytes: usize,
    other_absent_requests: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct PathTotal {
    requests: u64,
    bytes: u64,
    absent: u64,
}

impl PathTotal {
    fn was_never_held(self) -> bool {
        self.requests == self.absent
    }
}

impl DemandTotals {
    /// All at zero, as an instance of its own.
    pub fn begin(now: Instant) -> Self {
        Self {
            // Different at every start of the process, and at every call: its keys are drawn at random.
            instance: format!("{:016x}", RandomState::new().hash_one(now)),
            began: now,
            paths: HashMap::new(),
            absent_paths: 0,
            bytes: 0,
            other_absent_requests: 0,
        }
    }

    /// Adds what a worker has counted.
    pub fn add(&mut self, table: &DemandTable) {
        for (path, requests, bytes) in table.held() {
            self.add_held(path, requests, bytes);
        }
        for (path, requests) in table.absent() {
            self.add_absent(path, requests);
        }
        self.other_absent_requests += table.other_absent_requests();
    }

    fn add_held(&mut self, path: &BundlePath, requests: u64, bytes: u64) {
        if let Some(total) = self.paths.get_mut(path) {
            self.absent_paths -= usize::from(total.was_never_held());
            total.requests += requests;
            total.bytes += bytes;
        } else {
            self.insert(path, PathTotal { requests, bytes, absent: 0 });
        }
    }

    fn add_absent(&mut self, path: &BundlePath, requests: u64) {
        if let Some(total) = self.paths.get_mut(path) {
            total.requests += requests;
            total.absent += requests;
        } else if self.absent_paths < DEMAND_ABSENT_MAX {
            self.absent_paths += 1;
            self.insert(path, PathTotal { requests, bytes: 0, absent: requests });
        } else {
            self.other_absent_requests += requests;
        }
    }

    fn insert(&mut self, path: &BundlePath, total: PathTotal) {
        self.bytes += path.as_str().len() + DEMAND_ENTRY_BYTES;
        self.paths.insert(path.clone(), total);
    }

    /// Directories that had a bundle when they were asked for.
    pub fn held_paths(&self) -> usize {
        self.paths.len() - self.absent_paths
    }

    /// Directories that never had one.
    pub fn absent_paths(&self) -> usize {
        self.absent_paths
    }

    /// The totals as a document; where a table is full they begin anew with that.
    pub fn tell(&mut self, now: Instant) -> Demand {
        let paths = self.paths.iter().map(|(path, total)| PathDemand {
            path: path.clone(),
            requests: total.requests,
            bytes: total.bytes,
            absent: total.absent,
        });
        let demand = Demand {
            version: DocumentVersion,
            instance: self.instance.clone(),
            paths: paths.collect(),
            other_absent_requests: self.other_absent_requests,
        };
        if self.is_full(now.saturating_duration_since(self.began)) {
            *self = Self::begin(now);
        }
        demand
    }

    fn is_full(&self, age: Duration) -> bool {
        let is_full_of_absent = self.absent_paths >= DEMAND_ABSENT_MAX && age >= DEMAND_INSTANCE_MIN;
        self.bytes > DEMAND_TOTALS_BYTES_MAX || is_full_of_absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn path(number: usize) -> BundlePath {
        BundlePath::parse(&format!("/titles/{number}")).unwrap()
    }

    fn totals() -> DemandTotals {
        DemandTotals::begin(Instant::now())
    }

    fn told(totals: &mut DemandTotals) -> BTreeMap<String, (u64, u64, u64)> {
        let now = totals.began;
        let paths = totals.tell(now).paths.into_iter();
        paths.map(|of| (of.path.as_str().to_owned(), (of.requests, of.bytes, of.absent))).collect()
    }

    proptest! {
        #[test]
        fn the_totals_are_the_sum_of_what_was_added_in_whatever_order_bundles_come_and_go(
            steps in proptest::collection::vec((0usize..12, 1u64..50, 0u64..1000, any::<bool>()), 0..200),
        ) {
            let mut totals = totals();
            let mut model = BTreeMap::<String, (u64, u64, u64)>::new();
            for (number, requests, bytes, is_held) in steps {
                let entry = model.entry(path(number).as_str().to_owned()).or_default();
                entry.0 += requests;
                if is_held {
                    totals.add_held(&path(number), requests, bytes);
                    entry.1 += bytes;
                } else {
                    totals.add_absent(&path(number), requests);
                    entry.2 += requests;
                }
                let never_held = model.values().filter(|(requests, _, absent)| requests == absent).count();
                prop_assert_eq!(totals.absent_paths(), never_held);
                prop_assert_eq!(totals.held_paths(), model.len() - never_held);
            }
            prop_assert_eq!(told(&mut totals), model);
        }
    }

    #[test]
    fn names_without_a_bundle_are_bounded_and_no_request_for_one_is_lost() {
        let mut totals = totals();
        for number in 0..DEMAND_ABSENT_MAX + 5 {
            totals.add_absent(&path(number), 2);
        }
        totals.add_absent(&path(0), 1);
        let demand = totals.tell(totals.began);
        assert_eq!(demand.paths.len(), DEMAND_ABSENT_MAX);
        assert_eq!(demand.other_absent_requests, 10);
        assert_eq!(demand.paths.iter().map(|of| of.absent).sum::<u64>(), 2 * DEMAND_ABSENT_MAX as u64 + 1);

        // One of them is filled, which makes room for another name.
        totals.add_held(&path(7), 1, 100);
        totals.add_absent(&path(1_000_000), 1);
        let told = told(&mut totals);
        assert_eq!(told["/titles/7"], (3, 100, 2));
        assert_eq!(told["/titles/1000000"], (1, 0, 1));
    }

    #[test]
    fn a_table_full_of_names_is_told_and_begins_anew_once_an_hour_at_most() {
        let mut totals = totals();
        for number in 0..DEMAND_ABSENT_MAX {
            totals.add_absent(&path(number), 1);
        }
        let early = totals.began + DEMAND_INSTANCE_MIN - Duration::from_millis(1);
        let first = totals.tell(early);
        let last = totals.tell(early + Duration::from_millis(1));
        assert_eq!(first.instance, last.instance);
        assert_eq!(last.paths.len(), DEMAND_ABSENT_MAX, "all of it is told before it is forgotten");
        let next = totals.tell(early + Duration::from_secs(1));
        assert_ne!(next.instance, last.instance);
        assert_eq!((next.paths.len(), next.other_absent_requests), (0, 0));
    }

    #[test]
    fn totals_of_more_directories_than_fit_are_told_and_begin_anew() {
        let mut totals = totals();
        let long = "x".repeat(1000);
        let mut count = 0;
        while totals.bytes <= DEMAND_TOTALS_BYTES_MAX {
            totals.add_held(&BundlePath::parse(&format!("/{count}{long}")).unwrap(), 1, 1);
            count += 1;
        }
        let full = totals.tell(totals.began);
        assert_eq!(full.paths.len(), count);
        let fresh = totals.tell(totals.began);
        assert_ne!(full.instance, fresh.instance);
        assert_eq!((fresh.paths.len(), totals.held_paths()), (0, 0));
    }

    #[test]
    fn each_instance_has_a_name_of_its_own() {
        let now = Instant::now();
        assert_ne!(DemandTotals::begin(now).instance, DemandTotals::begin(now).instance);
    }
}
