//! How much each client has upstreams asked for at once: no more than its part, so that others are fetched for however much it asks for
//! and however slowly it takes what comes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control_client::config::PullConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::PullFailure;
use crate::limits::CLIENT_PART;

/// The clients for whom upstreams are asked now, or who wait for that; no more than there are requests.
pub(super) struct Clients {
    asking: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    /// For each of them.
    places_max: usize,
    /// How long a request waits for such a place.
    patience: Duration,
}

/// One answer for which upstream is asked, until it is dropped.
pub(super) struct ClientPart<'a> {
    // Given back before it is looked whether anybody else holds one.
    _place: OwnedSemaphorePermit,
    _known: Known<'a>,
}

/// A client is known while anybody has this.
struct Known<'a> {
    clients: &'a Clients,
    client: IpAddr,
    places: Arc<Semaphore>,
}

impl Clients {
    /// As configured.
    pub(super) fn new(config: &PullConfig) -> Self {
        let places_max = (config.fetches as usize / CLIENT_PART).max(1);
        Self { asking: Mutex::default(), places_max, patience: config.first_byte_timeout }
    }

    /// `None` where the client has all of its part.
    pub(super) fn part_now(&self, peer: SocketAddr) -> Option<ClientPart<'_>> {
        let known = self.know(client_of(peer));
        let place = Arc::clone(&known.places).try_acquire_owned().ok()?;
        Some(ClientPart { _place: place, _known: known })
    }

    /// Waits until the client has less than its part.
    ///
    /// # Errors
    /// [`PullFailure::Busy`] where that takes too long.
    pub(super) async fn part(&self, peer: SocketAddr) -> Result<ClientPart<'_>, PullFailure> {
        let known = self.know(client_of(peer));
        let place = tokio::time::timeout(self.patience, Arc::clone(&known.places).acquire_owned());
        let place = place.await.map_err(|_| PullFailure::Busy)?.map_err(|_| PullFailure::Stopping)?;
        Ok(ClientPart { _place: place, _known: known })
    }

    fn know(&self, client: IpAddr) -> Known<'_> {
        let places = || Arc::new(Semaphore::new(self.places_max));
        let places = Arc::clone(self.lock().entry(client).or_insert_with(places));
        Known { clients: self, client, places }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        // Nothing in here can panic with the map half changed.
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        let mut asking = self.clients.lock();
        // The map's and our own; nobody makes another without the lock.
        if Arc::strong_count(&self.places) == 2 {
            asking.remove(&self.client);
        }
    }
}

/// Who counts as one: an IPv4 address, or the 64 bits of IPv6 that one subscriber has at least.
pub(super) fn client_of(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(fetches: u32) -> Clients {
        Clients::new(&PullConfig {
            fetches,
            first_byte_timeout: Duration::from_millis(20),
            ..PullConfig::default()
        })
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_client_has_its_part_and_waits_for_more_until_it_gives_one_back() {
        run(async {
            let clients = clients(5);
            let part = |peer: &str| clients.part(peer.parse().unwrap());
            let (first, second) = (part("192.0.2.1:1").await, part("192.0.2.1:2").await);
            assert!(first.is_ok() && second.is_ok());
            assert_eq!(part("[::ffff:192.0.2.1]:3").await.err(), Some(PullFailure::Busy));
            assert!(clients.part_now("192.0.2.1:4".parse().unwrap()).is_none());
            assert!(part("192.0.2.2:1").await.is_ok());
            let (third, ()) = tokio::join!(part("192.0.2.1:3"), async { drop(first) });
            assert!(third.is_ok());
            drop((second, third));
            assert!(clients.lock().is_empty(), "nobody is known for whom nothing is asked");
        });
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_client_and_has_a_part_however_few_fetches_there_are() {
        run(async {
            let clients = clients(1);
            let part = |peer: &str| clients.part(peer.parse().unwrap());
            let first = part("[2001:db8::1]:1").await;
            assert!(first.is_ok() && part("[2001:db8::2]:1").await.is_err());
            assert!(part("[2001:db8:0:1::1]:1").await.is_ok());
            assert_eq!(clients.lock().len(), 1);
        });
    }
}
