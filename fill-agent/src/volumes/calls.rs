//! Calls that block on a volume, each with an end to the waiting: the kernel lets nobody take back what a hung disk was asked.
//!
//! One question is asked of a volume at a time, so that a disk that hangs costs one thread, and one wait. Until it answers, it
//! counts as silent, and whoever asks is told so at once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::limits::{DISK_TIMEOUT, VOLUME_QUESTION_TIMEOUT};

/// The calls on all volumes.
#[derive(Debug)]
pub struct VolumeCalls {
    places: Vec<Arc<Place>>,
    patience: Patience,
}

/// How long a volume may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a question.
    pub question: Duration,
    /// For work.
    pub work: Duration,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The volume has not answered in time, and still owes the answer.
    Silent(Duration),
    /// The call ended in a panic, or no volume has that index.
    Failed,
}

/// What one volume was asked.
#[derive(Debug)]
struct Place {
    index: u8,
    /// Of the question that was begun.
    turn: Arc<Semaphore>,
    /// The calls that were begun and have not ended: when each is late.
    late_at: Mutex<Vec<Instant>>,
}

/// A call that was begun. Dropping it ends it.
struct Begun {
    place: Arc<Place>,
    late_at: Instant,
}

impl Default for Patience {
    fn default() -> Self {
        Self { question: VOLUME_QUESTION_TIMEOUT, work: DISK_TIMEOUT }
    }
}

impl VolumeCalls {
    /// Of so many volumes, none of which was asked anything.
    pub fn new(volumes: usize, patience: Patience) -> Self {
        let place =
            |index| Arc::new(Place { index, turn: Arc::new(Semaphore::new(1)), late_at: Mutex::default() });
        Self { places: (0..=u8::MAX).take(volumes).map(place).collect(), patience }
    }

    /// Whether the volume owes somebody an answer for too long.
    pub fn is_silent(&self, volume: u8) -> bool {
        self.places.get(usize::from(volume)).is_some_and(|place| place.is_silent())
    }

    /// Asks a question when it is its turn. Who is not patient any more leaves it to end by itself.
    pub async fn ask<T: Send + 'static>(
        &self,
        volume: u8,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let place = self.place(volume)?;
        let asking = async {
            let turn = Arc::clone(&place.turn).acquire_owned().await.ok()?;
            let begun = place.begin(self.patience.question);
            let asked = spawn_blocking(move || {
                let _turn = turn;
                let _begun = begun;
                question()
            });
            asked.await.ok()
        };
        place.within(self.patience.question, asking).await
    }

    /// Does what takes longer than a question, beside the questions and other work.
    pub async fn work<T: Send + 'static>(
        &self,
        volume: u8,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        self.work_within(volume, self.patience.work, work).await
    }

    /// The same, for work that has a time of its own.
    pub async fn work_within<T: Send + 'static>(
        &self,
        volume: u8,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let place = self.place(volume)?;
        let begun = place.begin(patience);
        let working = spawn_blocking(move || {
            let _begun = begun;
            work()
        });
        place.within(patience, async { working.await.ok() }).await
    }

    fn place(&self, volume: u8) -> Result<&Arc<Place>, NoAnswer> {
        let place = self.places.get(usize::from(volume)).ok_or(NoAnswer::Failed)?;
        if place.is_silent() { Err(NoAnswer::Silent(self.patience.question)) } else { Ok(place) }
    }
}

impl Place {
    fn is_silent(&self) -> bool {
        let now = Instant::now();
        self.late_at.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|late_at| *late_at <= now)
    }

    fn begin(self: &Arc<Self>, patience: Duration) -> Begun {
        let late_at = Instant::now() + patience;
        self.late_at.lock().unwrap_or_else(PoisonError::into_inner).push(late_at);
        Begun { place: Arc::clone(self), late_at }
    }

    async fn within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Option<T>>,
    ) -> Result<T, NoAnswer> {
        match timeout(patience, answer).await {
            Ok(answer) => answer.ok_or(NoAnswer::Failed),
            Err(_) => {
                tracing::error!(
                    volume = self.index,
                    ?patience,
                    "a volume does not answer; it is left alone until it does"
                );
                Err(NoAnswer::Silent(patience))
            }
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut late_at = self.place.late_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = late_at.iter().position(|one| *one == self.late_at) {
            late_at.swap_remove(place);
        }
        if self.late_at <= Instant::now() {
            tracing::warn!(volume = self.place.index, "a volume that was silent has answered");
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(patience) => {
                write!(formatter, "it has not answered for {} s; look after its disk", patience.as_secs())
            }
            Self::Failed => {
                formatter.write_str("a call on it ended in a panic; please report it with the log")
            }
        }
    }
}

impl std::error::Error for NoAnswer {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Two volumes, and what lets the first one answer.
    fn volumes(question: Duration) -> (VolumeCalls, mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let calls = VolumeCalls::new(2, Patience { question, work: question });
        let (release, hung) = mpsc::channel::<()>();
        (calls, release, move || {
            let _ = hung.recv();
        })
    }

    #[tokio::test]
    async fn a_volume_that_hangs_costs_one_thread_and_one_wait_until_it_answers() {
        let (calls, release, hang) = volumes(Duration::from_secs(1));
        assert_eq!(calls.ask(0, hang).await, Err(NoAnswer::Silent(Duration::from_secs(1))));
        let asked = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let counting = Arc::clone(&asked);
            let answer = calls.ask(0, move || counting.fetch_add(1, Ordering::SeqCst)).await;
            assert!(matches!(answer, Err(NoAnswer::Silent(_))));
        }
        assert!(calls.work(0, || ()).await.is_err(), "nothing is begun on it");
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody else asks it");
        assert_eq!(calls.ask(1, || 7).await, Ok(7), "the others answer");
        release.send(()).unwrap();
        while calls.is_silent(0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(calls.ask(0, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn questions_take_turns_and_work_goes_on_beside_them() {
        let (calls, release, hang) = volumes(Duration::from_secs(60));
        let calls = Arc::new(calls);
        let (first, second) = (Arc::clone(&calls), Arc::clone(&calls));
        let first = tokio::spawn(async move { first.ask(0, hang).await });
        while calls.places[0].turn.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn(async move { second.ask(0, || 2).await });
        assert_eq!(calls.work(0, || 3).await, Ok(3));
        assert!(!calls.is_silent(0) && !second.is_finished());
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        assert_eq!(second.await.unwrap(), Ok(2));
    }

    #[tokio::test]
    async fn a_call_that_panics_holds_no_turn() {
        let (calls, _release, _hang) = volumes(Duration::from_secs(60));
        assert_eq!(calls.ask(0, || panic!("scripted")).await, Err::<(), _>(NoAnswer::Failed));
        assert_eq!(calls.ask(0, || 7).await, Ok(7));
        assert_eq!(calls.ask(9, || 7).await, Err(NoAnswer::Failed));
    }
}
