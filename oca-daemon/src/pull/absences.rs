//! Clients that ask for one absent name after another: after a while upstream is not asked for them, until they have been quiet.
//!
//! What is absent is remembered by name for seconds, in memory; whoever makes names up would pass that by, and cost upstream a request
//! each.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use moka::sync::Cache;

use crate::limits::{ABSENCES_CLIENTS_MAX, ABSENCES_MAX, ABSENCES_WINDOW};

/// How many absent names each client has asked for lately.
pub(super) struct Absences {
    by_client: Cache<IpAddr, Arc<AtomicU32>>,
}

impl Absences {
    /// None yet.
    pub(super) fn new() -> Self {
        let by_client =
            Cache::builder().max_capacity(ABSENCES_CLIENTS_MAX).time_to_live(ABSENCES_WINDOW).build();
        Self { by_client }
    }

    /// Upstream has said that what this client asks for is absent.
    pub(super) fn note(&self, client: IpAddr) {
        self.by_client.get_with(client, Arc::default).fetch_add(1, Relaxed);
    }

    /// Whether upstream is not asked for this client.
    pub(super) fn are_too_many(&self, client: IpAddr) -> bool {
        self.by_client.get(&client).is_some_and(|count| count.load(Relaxed) >= ABSENCES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_too_many_absent_names_is_told_apart_from_his_neighbours() {
        let absences = Absences::new();
        let [first, second] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        for _ in 0..ABSENCES_MAX {
            assert!(!absences.are_too_many(first));
            absences.note(first);
        }
        assert!(absences.are_too_many(first));
        assert!(!absences.are_too_many(second));
    }
}
