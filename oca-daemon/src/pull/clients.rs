//! How much each client has upstreams asked for at once: no more than its part, so that others are fetched for however much it asks for,
//! however slowly it takes what comes, and however soon it leaves.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control_client::config::PullConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::PullFailure;
use crate::limits::CLIENT_PART;

/// The clients for whom upstreams are asked now, or who wait for that; no more than there are requests and flights.
pub(super) struct Clients {
    asking: Mutex<HashMap<IpAddr, Asking>>,
    /// For each of them.
    places_max: usize,
    /// How long a request waits for such a place.
    patience: Duration,
}

/// Who wants one answer, and has one of its client's part once something is asked for that.
pub(super) struct Client {
    clients: Arc<Clients>,
    address: IpAddr,
    part: Option<Arc<ClientPart>>,
}

/// One of a client's part: of the answer for which something is asked, and of the flight that was made for it until it has landed.
pub(super) struct ClientPart {
    _place: OwnedSemaphorePermit,
    known: Known,
}

/// What is asked for one client.
struct Asking {
    places: Arc<Semaphore>,
    /// Who has such a place, or waits for one.
    users: usize,
}

/// A client is known while anybody has this.
struct Known {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    /// As configured.
    pub(super) fn new(config: &PullConfig) -> Self {
        let places_max = (config.fetches as usize / CLIENT_PART).max(1);
        Self { asking: Mutex::default(), places_max, patience: config.first_byte_timeout }
    }

    /// Who wants an answer at that address. Nothing is asked for it yet.
    pub(super) fn client(self: &Arc<Self>, peer: SocketAddr) -> Client {
        Client { clients: Arc::clone(self), address: client_of(peer), part: None }
    }

    fn know(self: &Arc<Self>, address: IpAddr) -> (Known, Arc<Semaphore>) {
        let new = || Asking { places: Arc::new(Semaphore::new(self.places_max)), users: 0 };
        let mut asking = self.lock();
        let client = asking.entry(address).or_insert_with(new);
        client.users += 1;
        (Known { clients: Arc::clone(self), address }, Arc::clone(&client.places))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Asking>> {
        // Nothing in here can panic with the map half changed.
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Which one it is ([`client_of`]).
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// One of the client's part: that which this answer has, or another. `None` where the client has all of it.
    pub(super) fn part_now(&mut self) -> Option<Arc<ClientPart>> {
        if self.part.is_none() {
            let (known, places) = self.clients.know(self.address);
            let place = places.try_acquire_owned().ok()?;
            self.part = Some(Arc::new(ClientPart { _place: place, known }));
        }
        self.part.clone()
    }

    /// Waits until this answer has one of the client's part.
    ///
    /// # Errors
    /// [`PullFailure::Busy`] where that takes too long.
    pub(super) async fn take_part(&mut self) -> Result<(), PullFailure> {
        if self.part.is_some() {
            return Ok(());
        }
        let (known, places) = self.clients.know(self.address);
        let place = tokio::time::timeout(self.clients.patience, places.acquire_owned());
        let place = place.await.map_err(|_| PullFailure::Busy)?.map_err(|_| PullFailure::Stopping)?;
        self.part = Some(Arc::new(ClientPart { _place: place, known }));
        Ok(())
    }

    /// Nothing is asked for this answer any more.
    pub(super) fn give_back(&mut self) {
        self.part = None;
    }
}

impl ClientPart {
    /// Whose it is.
    pub(super) fn address(&self) -> IpAddr {
        self.known.address
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut asking = self.clients.lock();
        if let Some(client) = asking.get_mut(&self.address) {
            client.users -= 1;
            if client.users == 0 {
                asking.remove(&self.address);
            }
        }
    }
}

/// Who counts as one: an IPv4 address, or the 64 bits of IPv6 that one subscriber has at least.
fn client_of(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    fn clients(fetches: u32) -> Arc<Clients> {
        Arc::new(Clients::new(&PullConfig {
            fetches,
            first_byte_timeout: Duration::from_millis(20),
            ..PullConfig::default()
        }))
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    /// An answer that has taken a part, or why not.
    async fn taken(clients: &Arc<Clients>, peer: &str) -> Result<Client, PullFailure> {
        let mut client = clients.client(peer.parse().unwrap());
        client.take_part().await.map(|()| client)
    }

    #[test]
    fn a_client_has_its_part_and_waits_for_more_until_it_gives_one_back() {
        run(async {
            let clients = clients(5);
            let (first, second) =
                (taken(&clients, "192.0.2.1:1").await.unwrap(), taken(&clients, "192.0.2.1:2").await);
            assert_eq!(taken(&clients, "[::ffff:192.0.2.1]:3").await.err(), Some(PullFailure::Busy));
            assert!(clients.client("192.0.2.1:4".parse().unwrap()).part_now().is_none());
            assert!(taken(&clients, "192.0.2.2:1").await.is_ok());
            let (third, ()) = tokio::join!(taken(&clients, "192.0.2.1:3"), async { drop(first) });
            assert!(second.is_ok() && third.is_ok());
            drop((second, third));
            assert!(clients.lock().is_empty(), "nobody is known for whom nothing is asked");
        });
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_client_and_has_a_part_however_few_fetches_there_are() {
        run(async {
            let clients = clients(1);
            let first = taken(&clients, "[2001:db8::1]:1").await;
            assert!(first.is_ok() && taken(&clients, "[2001:db8::2]:1").await.is_err());
            assert!(taken(&clients, "[2001:db8:0:1::1]:1").await.is_ok());
            assert_eq!(clients.lock().len(), 1);
        });
    }

    #[test]
    fn an_answer_has_one_part_for_all_it_asks_for_and_a_flight_keeps_it_though_the_answer_ends() {
        let clients = clients(2);
        let client = || clients.client("192.0.2.1:1".parse().unwrap());
        let mut first = client();
        let kept = first.part_now();
        assert!(first.part_now().is_some() && client().part_now().is_none());
        drop(first);
        assert!(client().part_now().is_none());
        drop(kept);
        assert!(client().part_now().is_some() && clients.lock().is_empty());
    }

    #[test]
    fn nobody_stays_known_of_whom_the_last_two_leave_together() {
        let (clients, arrived) = (clients(4), AtomicUsize::new(0));
        // A barrier would wake one after the other.
        let meet = |meetings: &mut usize| {
            *meetings += 1;
            arrived.fetch_add(1, SeqCst);
            while arrived.load(SeqCst) < 2 * *meetings {
                std::thread::yield_now();
            }
        };
        let come_and_go = || {
            let mut meetings = 0;
            for _ in 0..3000 {
                let mut client = clients.client("192.0.2.1:1".parse().unwrap());
                let has_part = client.part_now().is_some();
                meet(&mut meetings);
                drop(client);
                meet(&mut meetings);
                let is_empty = clients.lock().is_empty();
                meet(&mut meetings);
                // Not before: the other would wait for ever.
                if !has_part || !is_empty {
                    return false;
                }
            }
            true
        };
        let is_well = std::thread::scope(|scope| {
            [scope.spawn(come_and_go), scope.spawn(come_and_go)].map(|thread| thread.join().unwrap())
        });
        assert_eq!(is_well, [true, true]);
    }
}
