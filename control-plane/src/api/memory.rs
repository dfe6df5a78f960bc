//! Memory for large contents and answers: so many bytes in all, and so many for each who asks, so that nobody takes all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What there is.
pub(super) struct Memory {
    free: Arc<Semaphore>,
    each_bytes_max: usize,
    taken: Arc<Taken>,
}

/// Bytes that are somebody's until this is dropped.
pub(super) struct Share {
    _bytes: OwnedSemaphorePermit,
    _part: Part,
}

#[derive(Default)]
struct Taken(Mutex<HashMap<String, usize>>);

struct Part {
    whose: String,
    bytes: usize,
    taken: Arc<Taken>,
}

impl Memory {
    /// So much in all, and so much for each.
    pub(super) fn new(bytes_max: usize, each_bytes_max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes_max)), each_bytes_max, taken: Arc::default() }
    }

    /// The most that is one's.
    pub(super) fn each_bytes_max(&self) -> usize {
        self.each_bytes_max
    }

    /// A share of it; nothing where there is no room now, or that would be too much for one.
    pub(super) fn take(&self, whose: &str, bytes: usize) -> Option<Share> {
        let part = self.part(whose, bytes)?;
        let bytes = Arc::clone(&self.free).try_acquire_many_owned(permits(bytes)).ok()?;
        Some(Share { _bytes: bytes, _part: part })
    }

    /// The same, where others give their shares back in time.
    pub(super) async fn wait(&self, whose: &str, bytes: usize, patience: Duration) -> Option<Share> {
        let part = self.part(whose, bytes)?;
        let free = Arc::clone(&self.free).acquire_many_owned(permits(bytes));
        let bytes = tokio::time::timeout(patience, free).await.ok()?.ok()?;
        Some(Share { _bytes: bytes, _part: part })
    }

    fn part(&self, whose: &str, bytes: usize) -> Option<Part> {
        let mut taken = self.taken.lock();
        let sum = taken.get(whose).copied().unwrap_or_default().saturating_add(bytes);
        if sum > self.each_bytes_max {
            return None;
        }
        taken.insert(whose.to_owned(), sum);
        Some(Part { whose: whose.to_owned(), bytes, taken: Arc::clone(&self.taken) })
    }
}

impl Taken {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        let rest = taken.get(&self.whose).copied().unwrap_or_default().saturating_sub(self.bytes);
        if rest == 0 {
            taken.remove(&self.whose);
        } else {
            taken.insert(std::mem::take(&mut self.whose), rest);
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_a_part_and_all_no_more_than_there_is() {
        let memory = Memory::new(100, 60);
        let first = memory.take("oca-1", 40).unwrap();
        assert!(memory.take("oca-1", 21).is_none(), "that is too much for one");
        let second = memory.take("oca-2", 60).unwrap();
        assert!(memory.take("oca-3", 1).is_none(), "there is no more");
        drop(first);
        let third = memory.take("oca-1", 40).unwrap();
        drop((second, third));
        assert!(memory.taken.lock().is_empty());
        assert_eq!(memory.free.available_permits(), 100);
    }

    #[tokio::test]
    async fn who_waits_gets_what_another_gives_back() {
        let memory = Memory::new(100, 100);
        let first = memory.take("oca-1", 100).unwrap();
        assert!(memory.wait("oca-2", 1, Duration::from_millis(1)).await.is_none());
        let (second, ()) =
            tokio::join!(memory.wait("oca-2", 1, Duration::from_secs(60)), async { drop(first) });
        assert!(second.is_some());
    }
}
