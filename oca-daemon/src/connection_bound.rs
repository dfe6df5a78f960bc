//! How many connections all workers may have together. The kernel spreads clients over the workers by chance, so that a share for each
//! would turn some away while there is room: of 16,000 on two workers, one gets dozens more than the other.
//!
//! A worker counts its own and reads what the others count, with nothing that they would have to wait for. Workers that accept
//! at the same moment may exceed the bound by one each.

use std::sync::Arc;

use crate::limits::REFUSALS_PART;
use crate::stats::WorkerStats;

/// The bound.
pub struct ConnectionBound {
    max: u64,
    workers: Box<[Arc<WorkerStats>]>,
}

impl ConnectionBound {
    /// So many of all these workers.
    pub fn new(max: u32, workers: &[Arc<WorkerStats>]) -> Self {
        Self { max: u64::from(max), workers: workers.into() }
    }

    /// Whether there may be no more.
    pub fn is_reached(&self) -> bool {
        self.open() >= self.max
    }

    /// Whether those who are being told so are as many as they may be.
    pub fn is_exceeded(&self) -> bool {
        self.open() > self.max + self.max / REFUSALS_PART
    }

    fn open(&self) -> u64 {
        self.workers.iter().map(|worker| worker.open_connections()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{CloseCause, Transport};

    #[test]
    fn the_bound_is_that_of_all_workers_however_clients_are_spread() {
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerStats::new(1))).collect();
        let bound = ConnectionBound::new(32, &workers);
        (0..31).for_each(|_| workers[0].accepted(Transport::Cleartext));
        assert!(!bound.is_reached());
        workers[1].accepted(Transport::Tls);
        assert!(bound.is_reached() && !bound.is_exceeded());
        (0..3).for_each(|_| workers[1].accepted(Transport::Cleartext));
        assert!(bound.is_exceeded());
        (0..4).for_each(|_| workers[0].closed(Transport::Cleartext, CloseCause::PeerClosed));
        assert!(!bound.is_reached());
    }
}
