//! Clients that ask for one absent name after another: after a while upstream is not asked for them, until they have been quiet.
//!
//! What is absent is remembered by name for seconds, in memory; whoever makes names up would pass that by, and cost upstream a request
//! each.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use moka::sync::Cache;

use super::clients::client_of;
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
    pub(super) fn note(&self, peer: SocketAddr) {
        self.by_client.get_with(client_of(peer), Arc::default).fetch_add(1, Relaxed);
    }

    /// Whether upstream is not asked for this client.
    pub(super) fn are_too_many(&self, peer: SocketAddr) -> bool {
        self.by_client.get(&client_of(peer)).is_some_and(|count| count.load(Relaxed) >= ABSENCES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_too_many_absent_names_is_told_apart_from_his_neighbours() {
        let absences = Absences::new();
        let peer = |text: &str| text.parse::<SocketAddr>().unwrap();
        for port in 0..ABSENCES_MAX {
            assert!(!absences.are_too_many(peer("192.0.2.1:1")));
            absences.note(SocketAddr::new(peer("192.0.2.1:1").ip(), port as u16));
            absences.note(peer("[2001:db8::1]:1"));
        }
        assert!(absences.are_too_many(peer("192.0.2.1:9")));
        assert!(absences.are_too_many(peer("[::ffff:192.0.2.1]:9")));
        assert!(!absences.are_too_many(peer("192.0.2.2:9")));
        assert!(absences.are_too_many(peer("[2001:db8::2]:1")));
        assert!(!absences.are_too_many(peer("[2001:db8:0:1::1]:1")));
    }
}
