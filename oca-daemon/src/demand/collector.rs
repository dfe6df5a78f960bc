//! Gathers the workers' tables.
//!
//! A worker that is asked hands its table over and goes on with an empty one that came with the question.
//! What it hands over arrives in a queue that outlives the question: where a worker is late, its table is
//! added when it comes, so nothing is lost and nothing counted twice; and it is not asked again before that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use control_client::demand::Demand;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{DemandTable, DemandTotals};
use crate::limits::DEMAND_COLLECT_TIMEOUT;
use crate::mailbox::{Mailbox, Message};

/// A worker's answer.
#[derive(Debug)]
pub struct WorkerDemand {
    /// Its number.
    pub worker: usize,
    /// What it has counted since it was last asked.
    pub table: DemandTable,
}

/// What all workers have counted.
pub struct DemandCollector {
    workers: Mutex<Vec<Mailbox>>,
    state: Arc<AsyncMutex<State>>,
    figures: Arc<Figures>,
}

/// The totals after a collection. Nobody collects while it lives.
pub struct Collected(OwnedMutexGuard<State>);

/// What the metrics say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemandFigures {
    /// Directories with a bundle that demand has counted.
    pub held_paths: u64,
    /// Directories without one.
    pub absent_paths: u64,
    /// Answers that workers did not give in time.
    pub late_answers: u64,
}

#[derive(Default)]
struct Figures {
    held_paths: AtomicU64,
    absent_paths: AtomicU64,
    late_answers: AtomicU64,
}

struct State {
    totals: DemandTotals,
    workers: Vec<AskedWorker>,
    answers: UnboundedReceiver<WorkerDemand>,
    /// What workers answer with. At most one answer of each is under way.
    answer: UnboundedSender<WorkerDemand>,
    /// Everything that workers counted before this moment is in the totals, but for the late ones.
    complete_until: Option<Instant>,
    figures: Arc<Figures>,
}

#[derive(Clone, Copy, Default)]
struct AskedWorker {
    /// It has been asked, and has not answered.
    is_pending: bool,
    /// Bundles in its last table: so many will be in the next one, about.
    bundles: usize,
}

impl DemandCollector {
    /// Without workers.
    pub fn new() -> Self {
        let (answer, answers) = unbounded_channel();
        let figures = Arc::<Figures>::default();
        let state = State {
            totals: DemandTotals::begin(Instant::now()),
            workers: Vec::new(),
            answers,
            answer,
            complete_until: None,
            figures: Arc::clone(&figures),
        };
        Self { workers: Mutex::default(), state: Arc::new(AsyncMutex::new(state)), figures }
    }

    /// The next worker, by its number, listens here.
    pub fn add_worker(&self, mailbox: Mailbox) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(mailbox);
    }

    /// Collects from all workers: everything that they had counted when this was called. Takes at most
    /// [`DEMAND_COLLECT_TIMEOUT`], and as long again if somebody else is collecting.
    ///
    /// It may be dropped at any moment; the next call goes on.
    pub async fn collect(&self) -> Collected {
        let asked_at = Instant::now();
        let mut state = Arc::clone(&self.state).lock_owned().await;
        // A collection that began after we came, and ended before it was our turn, is as good as our own.
        if state.complete_until.is_none_or(|until| until < asked_at) {
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            state.collect(&workers).await;
        }
        Collected(state)
    }

    /// For the metrics; as of the last collection.
    pub fn figures(&self) -> DemandFigures {
        DemandFigures {
            held_paths: self.figures.held_paths.load(Relaxed),
            absent_paths: self.figures.absent_paths.load(Relaxed),
            late_answers: self.figures.late_answers.load(Relaxed),
        }
    }
}

impl Default for DemandCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl Collected {
    /// The totals as a document, see [`DemandTotals::tell`].
    pub fn tell(mut self) -> Demand {
        let demand = self.0.totals.tell(Instant::now());
        self.0.note_figures();
        demand
    }
}

impl State {
    async fn collect(&mut self, workers: &[Mailbox]) {
        let begun_at = Instant::now();
        self.workers.resize(workers.len(), AskedWorker::default());
        for (number, mailbox) in workers.iter().enumerate() {
            let worker = &mut self.workers[number];
            if !worker.is_pending {
                worker.is_pending = true;
                let next = DemandTable::with_room_for(worker.bundles);
                mailbox.send(Message::HandOverDemand { worker: number, next, answer: self.answer.clone() });
            }
        }
        let _ = tokio::time::timeout(DEMAND_COLLECT_TIMEOUT, self.receive()).await;
        let late = self.workers.iter().filter(|worker| worker.is_pending).count();
        if late > 0 {
            tracing::warn!(
                workers = late,
                "workers did not tell the demand that they counted in time; it comes later"
            );
            self.figures.late_answers.fetch_add(late as u64, Relaxed);
        }
        self.complete_until = Some(begun_at);
        self.note_figures();
    }

    /// Adds answers until none is missing.
    async fn receive(&mut self) {
        while self.workers.iter().any(|worker| worker.is_pending) {
            let Some(WorkerDemand { worker, table }) = self.answers.recv().await else { return };
            self.totals.add(&table);
            self.workers[worker] = AskedWorker { is_pending: false, bundles: table.bundles() };
        }
    }

    fn note_figures(&self) {
        self.figures.held_paths.store(self.totals.held_paths() as u64, Relaxed);
        self.figures.absent_paths.store(self.totals.absent_paths() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Asked;
    use crate::mailbox::{Letters, mailbox};
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn collector(workers: usize) -> (DemandCollector, Vec<Letters>) {
        let collector = DemandCollector::new();
        let letters = (0..workers).map(|_| {
            let (mailbox, letters) = mailbox().unwrap();
            collector.add_worker(mailbox);
            letters
        });
        let letters = letters.collect();
        (collector, letters)
    }

    /// The table that a worker goes on with, if it was asked to hand over the one that it has.
    fn hand_over(letters: &mut Letters, table: &mut DemandTable) -> bool {
        let Some(Message::HandOverDemand { worker, next, answer }) = letters.next() else { return false };
        let table = std::mem::replace(table, next);
        answer.send(WorkerDemand { worker, table }).unwrap();
        true
    }

    fn requests(collected: Collected) -> u64 {
        let demand = collected.tell();
        demand.paths.iter().map(|of| of.requests).sum::<u64>() + demand.other_absent_requests
    }

    fn count(table: &mut DemandTable) {
        table.count(&Asked::Absent("/none".into()), 0);
    }

    /// What is told by a collection in which this worker answers, and no other.
    fn collect_from(collector: &DemandCollector, letters: &mut Letters, table: &mut DemandTable) -> u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !hand_over(letters, table) {
                    std::thread::yield_now();
                }
            });
            runtime().block_on(collector.collect_and_sum())
        })
    }

    #[test]
    fn a_worker_that_is_late_is_left_out_not_asked_twice_and_counted_when_it_answers() {
        let (collector, mut letters) = collector(2);
        let mut tables = [DemandTable::default(), DemandTable::default()];
        tables.iter_mut().for_each(count);

        // Worker 1 hangs.
        assert_eq!(collect_from(&collector, &mut letters[0], &mut tables[0]), 1);
        assert_eq!(collector.figures().late_answers, 1);

        // It hangs still, while the other one goes on.
        count(&mut tables[0]);
        assert_eq!(collect_from(&collector, &mut letters[0], &mut tables[0]), 2);
        assert_eq!(collector.figures().late_answers, 2);

        // It answers, after it has counted one more; the question was put once.
        count(&mut tables[1]);
        assert!(hand_over(&mut letters[1], &mut tables[1]));
        assert!(!hand_over(&mut letters[1], &mut tables[1]));
        assert_eq!(collect_from(&collector, &mut letters[0], &mut tables[0]), 4);
        assert_eq!(collector.figures().late_answers, 2);
    }

    #[test]
    fn a_collection_that_is_given_up_loses_nothing() {
        let (collector, mut letters) = collector(1);
        let mut table = DemandTable::default();
        count(&mut table);
        let runtime = runtime();
        let given_up = runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(20), collector.collect()).await });
        assert!(given_up.is_err());
        assert!(hand_over(&mut letters[0], &mut table));
        assert_eq!(requests(runtime.block_on(collector.collect())), 1);
    }

    #[test]
    fn a_collection_that_began_before_somebody_asked_does_not_answer_them() {
        let (collector, mut letters) = collector(2);
        let mut tables = [DemandTable::default(), DemandTable::default()];
        std::thread::scope(|scope| {
            let first = scope.spawn(|| runtime().block_on(collector.collect_and_sum()));
            while !hand_over(&mut letters[0], &mut tables[0]) {
                std::thread::yield_now();
            }
            // Worker 0 counts after its answer, and before the second question.
            count(&mut tables[0]);
            let second = scope.spawn(|| runtime().block_on(collector.collect_and_sum()));
            std::thread::sleep(Duration::from_millis(50));
            assert!(hand_over(&mut letters[1], &mut tables[1]));
            assert_eq!(first.join().unwrap(), 0);
            while !second.is_finished() {
                letters.iter_mut().zip(&mut tables).for_each(|(letters, table)| {
                    hand_over(letters, table);
                });
            }
            assert_eq!(second.join().unwrap(), 1);
        });
    }

    #[test]
    fn many_collectors_at_once_lose_nothing_and_count_nothing_twice() {
        let (collector, mut letters) = collector(3);
        let is_over = AtomicBool::new(false);
        let counted = std::thread::scope(|scope| {
            let workers: Vec<_> = letters
                .iter_mut()
                .map(|letters| {
                    let is_over = &is_over;
                    scope.spawn(move || {
                        let (mut table, mut counted) = (DemandTable::default(), 0);
                        // After the last count it answers on, until everybody has what they asked for.
                        while !is_over.load(Relaxed) {
                            if counted < 20_000 {
                                count(&mut table);
                                counted += 1;
                            }
                            hand_over(letters, &mut table);
                        }
                        counted
                    })
                })
                .collect();
            let askers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let runtime = runtime();
                        let mut last = 0;
                        for _ in 0..200 {
                            let sum = runtime.block_on(collector.collect_and_sum());
                            assert!(sum >= last, "{sum} after {last}");
                            last = sum;
                        }
                    })
                })
                .collect();
            askers.into_iter().for_each(|asker| asker.join().unwrap());
            let deadline = Instant::now() + Duration::from_secs(20);
            while runtime().block_on(collector.collect_and_sum()) < 60_000 {
                assert!(Instant::now() < deadline);
            }
            is_over.store(true, Relaxed);
            workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u64>()
        });
        assert_eq!(counted, 60_000);
        let sum = runtime()
            .block_on(async { requests(Collected(Arc::clone(&collector.state).lock_owned().await)) });
        assert_eq!(sum, counted);
    }

    impl DemandCollector {
        async fn collect_and_sum(&self) -> u64 {
            requests(self.collect().await)
        }
    }
}
