//! The places of the objects that are fetched at once. One that becomes free goes to the bundle that comes first in the plan:
//! so bundles become whole one after another, and a night that is cut short has whole ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// All places.
#[derive(Debug)]
pub struct Places {
    count: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    /// By the bundle's place in the plan, then in the order of asking.
    waiting: BTreeMap<(usize, u64), oneshot::Sender<Place>>,
    asked: u64,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub struct Place(Option<Arc<Places>>);

impl Places {
    /// So many, all free.
    pub fn new(count: usize) -> Arc<Self> {
        let inner = Mutex::new(Inner { free: count, waiting: BTreeMap::new(), asked: 0 });
        Arc::new(Self { count, inner })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for a place for the bundle with that rank in the plan.
    pub async fn take(self: &Arc<Self>, rank: usize) -> Place {
        loop {
            let given = {
                let mut inner = self.locked();
                if inner.free > 0 {
                    inner.free -= 1;
                    return Place(Some(Arc::clone(self)));
                }
                inner.waiting.retain(|_, waiting| !waiting.is_closed());
                let (give, given) = oneshot::channel();
                inner.asked += 1;
                let order = (rank, inner.asked);
                inner.waiting.insert(order, give);
                given
            };
            if let Ok(place) = given.await {
                return place;
            }
        }
    }

    /// Gives a place to whoever waits for it.
    fn release(self: &Arc<Self>) {
        loop {
            let first = {
                let mut inner = self.locked();
                let first = inner.waiting.pop_first();
                inner.free += usize::from(first.is_none());
                first
            };
            let Some((_, waiting)) = first else { return };
            match waiting.send(Place(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // Nobody waits there any more.
                Err(mut place) => place.0 = None,
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    /// Whether a place is there at once.
    async fn is_ready(taking: &mut (impl Future<Output = Place> + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            let poll = std::pin::Pin::new(&mut *taking).poll(context);
            Poll::Ready(poll.is_ready())
        })
        .await
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_goes_to_the_first_bundle_of_the_plan() {
        let places = Places::new(1);
        let held = places.take(7).await;
        let (mut third, mut first) = (Box::pin(places.take(3)), Box::pin(places.take(1)));
        assert!(!is_ready(&mut third).await && !is_ready(&mut first).await);
        drop(held);
        assert!(!is_ready(&mut third).await);
        drop(first.await);
        drop(third.await);
        assert_eq!(places.locked().free, 1);
    }

    #[tokio::test]
    async fn a_place_is_not_lost_with_whoever_waited_for_it() {
        let places = Places::new(1);
        let held = places.take(0).await;
        for _ in 0..100 {
            assert!(!is_ready(&mut Box::pin(places.take(0))).await);
        }
        assert!(places.locked().waiting.len() <= 1, "those who left are forgotten");
        let mut given = Box::pin(places.take(0));
        assert!(!is_ready(&mut given).await);
        drop(held);
        // It was given, and nobody has looked.
        drop(given);
        assert_eq!(places.locked().free, 1);
    }
}
