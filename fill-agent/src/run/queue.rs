//! The bundles of a run, several at once, in the order of the plan; those that wait for their sources stand aside.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use control_client::content::BundleKey;
use control_client::fill::FailureReason;
use tokio::task::{Id, JoinSet};

use super::shared::Run;
use crate::bundle::{Outcome, Work, attempt};
use crate::limits::BUNDLES_AT_ONCE;

/// What is known of a bundle while others have its work.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ticket {
    key: BundleKey,
    volume: u8,
    rank: usize,
}

/// A bundle whose work has ended, with its work and what came of that; `None` where it panicked.
type Ended = (Ticket, Option<(Work, Outcome)>);

/// The bundles that are worked on.
#[derive(Default)]
struct Active {
    tasks: JoinSet<(Work, Outcome)>,
    tickets: HashMap<Id, Ticket>,
}

impl Active {
    fn begin(&mut self, ticket: Ticket, work: impl Future<Output = (Work, Outcome)> + Send + 'static) {
        let task = self.tasks.spawn(work);
        self.tickets.insert(task.id(), ticket);
    }

    /// The next whose work ends; `None` where none is worked on.
    async fn next(&mut self) -> Option<Ended> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => (id, Some(ended)),
            Err(error) => {
                tracing::error!(%error, "the work on a bundle ended in a panic; please report it with the log");
                (error.id(), None)
            }
        };
        let ticket = self.tickets.remove(&id).expect("every task was begun here, and ends once");
        Some((ticket, ended))
    }
}

/// Ends when each bundle is published, given up, or left for the next run. How many are left: those that lack bytes when the
/// run is halted.
pub(super) async fn bring_in_all(run: &Arc<Run>, works: Vec<Work>) -> usize {
    let mut fresh = VecDeque::from(works);
    let mut waiting: Vec<(Duration, Work)> = Vec::new();
    let mut active = Active::default();
    let mut left = 0;
    loop {
        if run.halted().is_some() {
            // What is waited for is bytes, or the room for them.
            left += waiting.drain(..).count();
            let before = fresh.len();
            fresh.retain(|work| !work.lacks_bytes());
            left += before - fresh.len();
        }
        while active.tickets.len() < BUNDLES_AT_ONCE {
            let Some(mut work) = next(run, &mut fresh, &mut waiting) else { break };
            let run = Arc::clone(run);
            let ticket = Ticket { key: work.key().clone(), volume: work.planned.volume, rank: work.rank };
            active.begin(ticket, async move {
                let outcome = attempt(&run, &mut work).await;
                (work, outcome)
            });
        }
        let has_place = active.tickets.len() < BUNDLES_AT_ONCE;
        let wake = waiting.iter().map(|(until, _)| run.agent.pace.instant(*until)).min();
        tokio::select! {
            Some(ended) = active.next() => left += usize::from(take_in(run, ended, &mut waiting)),
            () = sleep_until(wake), if has_place && wake.is_some() => {}
            () = run.until_halted(), if run.halted().is_none() && wake.is_some() => {}
            else => return left,
        }
    }
}

/// The best bundle that can be worked on: one that has waited long enough comes before those that have not begun, for it
/// is better ranked than they are.
fn next(run: &Run, fresh: &mut VecDeque<Work>, waiting: &mut Vec<(Duration, Work)>) -> Option<Work> {
    let now = run.agent.pace.now();
    let due = waiting.iter().enumerate().filter(|(_, (until, _))| *until <= now);
    let best = due.min_by_key(|(_, (_, work))| work.rank).map(|(index, _)| index);
    best.map(|index| waiting.swap_remove(index).1).or_else(|| fresh.pop_front())
}

/// Takes in what became of a bundle. Whether it is left for the next run.
fn take_in(run: &Run, (ticket, ended): Ended, waiting: &mut Vec<(Duration, Work)>) -> bool {
    let key = &ticket.key;
    match ended {
        Some((work, Outcome::Wait(until))) => {
            run.agent.progress.suspend_bundle(key);
            waiting.push((until, work));
            return false;
        }
        Some((work, Outcome::Published)) => {
            run.record.publish(key, work.entry.bytes);
            run.agent.progress.publish(key, work.entry.bytes);
        }
        Some((_, Outcome::Failed(reason, detail))) => give_up(run, key, reason, detail),
        Some((_, Outcome::Left)) => {
            run.agent.progress.suspend_bundle(key);
            return true;
        }
        None => {
            let detail = "the work on it ended in a panic; please report it with the agent's log";
            give_up(run, key, FailureReason::DiskFailed, detail.to_owned());
        }
    }
    run.room.settle(ticket.volume, ticket.rank);
    false
}

fn give_up(run: &Run, key: &BundleKey, reason: FailureReason, detail: String) {
    tracing::warn!(bundle = %key, %reason, detail, "a bundle was given up for this run");
    run.agent.progress.give_up(key);
    run.record.fail(key.clone(), reason, detail);
}

async fn sleep_until(wake: Option<std::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_told_with_its_bundle_s_name() {
        let key = BundleKey { path: BundlePath::parse("/a").unwrap(), generation: Generation::new(1) };
        let ticket = Ticket { key, volume: 0, rank: 0 };
        let mut active = Active::default();
        active.begin(ticket.clone(), async { panic!("of this test") });
        assert!(matches!(active.next().await, Some((named, None)) if named == ticket));
        assert!(active.next().await.is_none() && active.tickets.is_empty());
    }
}
