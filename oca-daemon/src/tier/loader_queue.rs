//! A volume's loaders as the steward sees them: what it was asked for, and when it may be asked for more.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use cache_store::OpenBundle;

use super::block::BlockKey;
use super::counters::Refusal;
use super::loader::Job;
use super::pace::Pace;
use super::resident_file::ResidentFile;
use crate::limits::{
    TIER_ASKED_LOADS_MAX, TIER_ASKED_LOADS_TIME, TIER_HINTED_BYTES_PER_SECOND, TIER_HINTED_LOADS_MAX,
    TIER_WAIT_MAX,
};

pub(super) struct LoaderQueue {
    jobs: Sender<Job>,
    /// Under way or waiting.
    loads: usize,
    loads_max: usize,
    /// Since when no load has ended, or since when there was nothing to do.
    working_since: Instant,
    /// How long after one load the next has ended of late.
    usual_load: Duration,
    paused_until: Option<Instant>,
    /// When all that was loaded for hints has been paid for, at the rate at which that may be.
    hinted_until: Instant,
    pace: Pace,
}

/// What a load is taken to last before one was seen: a good disk's that has other things to do.
const USUAL_LOAD_FIRST: Duration = Duration::from_millis(5);

/// How far hints may be ahead of their rate: an object comes at once, and several.
const HINTED_AHEAD: Duration = Duration::from_secs(1);

impl LoaderQueue {
    pub(super) fn new(jobs: Sender<Job>, loads_max: usize) -> Self {
        let now = Instant::now();
        Self {
            jobs,
            loads: 0,
            loads_max,
            working_since: now,
            usual_load: USUAL_LOAD_FIRST,
            paused_until: None,
            hinted_until: now,
            pace: Pace::default(),
        }
    }

    /// Whether it may be asked for a block that a viewer waits for, and would read himself otherwise: the disk has no more to do by it.
    pub(super) fn may_load_awaited(&self, now: Instant) -> Result<(), Refusal> {
        if self.loads >= self.loads_max.min(TIER_ASKED_LOADS_MAX) || self.is_stalled(now) || self.is_long() {
            return Err(Refusal::LoaderBusy);
        }
        if self.paused_until.is_some_and(|until| now < until) {
            return Err(Refusal::Paused);
        }
        Ok(())
    }

    /// Whether it may be asked for a block beside what viewers read now.
    pub(super) fn may_load(&self, now: Instant) -> Result<(), Refusal> {
        // Half of the room is for those that somebody waits for.
        if self.loads >= self.loads_max.min(TIER_ASKED_LOADS_MAX / 2) {
            return Err(Refusal::LoaderBusy);
        }
        if self.paused_until.is_some_and(|until| now < until) {
            return Err(Refusal::Paused);
        }
        if self.loads >= self.pace.loads_max(self.loads_max, now) {
            return Err(Refusal::Yielding);
        }
        Ok(())
    }

    /// Whether it may be asked for a block that nobody has asked for, because a player has named it.
    pub(super) fn may_load_hinted(&self, now: Instant) -> Result<(), Refusal> {
        if self.loads >= TIER_HINTED_LOADS_MAX || self.is_stalled(now) {
            return Err(Refusal::LoaderBusy);
        }
        if self.hinted_until > now + HINTED_AHEAD {
            return Err(Refusal::Yielding);
        }
        self.may_load(now)
    }

    /// So many bytes are loaded because a player has named them.
    pub(super) fn note_hinted(&mut self, bytes: u64, now: Instant) {
        let nanos = bytes.saturating_mul(1_000_000_000) / TIER_HINTED_BYTES_PER_SECOND;
        self.hinted_until = self.hinted_until.max(now) + Duration::from_nanos(nanos);
    }

    /// Whether who comes next would wait for longer than is worth it. With nothing to do it always takes one, or it would never learn
    /// that the disk is quick again.
    fn is_long(&self) -> bool {
        let with_one_more = u32::try_from(self.loads + 1).unwrap_or(u32::MAX);
        self.loads > 0 && self.usual_load.saturating_mul(with_one_more) > TIER_ASKED_LOADS_TIME
    }

    /// Whether none of what they work on comes within the time for which a viewer waits.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.loads > 0 && now.saturating_duration_since(self.working_since) > TIER_WAIT_MAX
    }

    /// Under way or waiting.
    pub(super) fn loads(&self) -> usize {
        self.loads
    }

    /// Asks for a block.
    pub(super) fn load(
        &mut self,
        key: BlockKey,
        bundle: Arc<OpenBundle>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.jobs.send(Job::Load(key, bundle)).map_err(|_| Refusal::LoaderBusy)?;
        if self.loads == 0 {
            self.working_since = now;
        }
        self.loads += 1;
        Ok(())
    }

    /// A load has ended.
    pub(super) fn loaded(&mut self, now: Instant) {
        self.loads -= 1;
        let took = now.saturating_duration_since(self.working_since);
        self.usual_load = (3 * self.usual_load + took) / 4;
        self.pace.rest_after(took, now);
        self.working_since = now;
    }

    /// Asks for nothing for a while.
    pub(super) fn pause(&mut self, pause: Duration, now: Instant) {
        self.paused_until = Some(now + pause);
    }

    /// Workers' reads of the volume since this was last told.
    pub(super) fn note_reads(&mut self, reads: u64, sum_micros: u64) {
        self.pace.look(reads, sum_micros);
    }

    /// Has a file closed.
    pub(super) fn close(&self, file: Arc<ResidentFile>) {
        // A loader ends after the steward.
        let _ = self.jobs.send(Job::Close(file));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::block::BLOCK_BYTES;
    use super::*;

    /// Of a disk that is quick.
    fn queue(loads: usize, working_since: Instant) -> LoaderQueue {
        let usual_load = Duration::from_millis(1);
        LoaderQueue { loads, working_since, usual_load, ..LoaderQueue::new(mpsc::channel().0, 64) }
    }

    #[test]
    fn nobody_waits_behind_a_loader_that_stands_still() {
        let now = Instant::now();
        let later = now + TIER_WAIT_MAX + Duration::from_millis(1);
        assert!(!queue(1, now).is_stalled(now) && queue(1, now).may_load_awaited(now).is_ok());
        assert!(queue(1, now).is_stalled(later));
        assert_eq!(queue(1, now).may_load_awaited(later), Err(Refusal::LoaderBusy));
        assert!(!queue(0, now).is_stalled(later), "it has nothing to do");
    }

    /// Found by measurement: beside a storm a load takes 50 ms, and whoever stood at the end of sixteen waited for all of them.
    #[test]
    fn viewers_are_let_to_wait_only_where_the_last_of_them_has_his_block_soon() {
        let now = Instant::now();
        let allowed = |millis: u64| {
            let usual_load = Duration::from_millis(millis);
            let may_load =
                |loads| LoaderQueue { usual_load, ..queue(loads, now) }.may_load_awaited(now).is_ok();
            (0..64).take_while(|&loads| may_load(loads)).count()
        };
        assert_eq!([1, 5, 12, 50, 400].map(allowed), [TIER_ASKED_LOADS_MAX, 5, 2, 1, 1]);

        let mut queue = queue(0, now);
        queue.usual_load = Duration::from_millis(50);
        for millis in 1..=20 {
            queue.loads = 1;
            queue.loaded(now + Duration::from_millis(millis));
        }
        assert!(queue.usual_load < Duration::from_millis(2), "it learns that the disk is quick again");
    }

    #[test]
    fn what_players_name_waits_for_all_that_is_asked_for() {
        let now = Instant::now();
        assert!(queue(0, now).may_load_hinted(now).is_ok());
        assert_eq!(queue(1, now).may_load_hinted(now), Err(Refusal::LoaderBusy));
        assert!(queue(1, now).may_load(now).is_ok());
    }

    #[test]
    fn what_players_name_takes_no_more_of_a_disk_than_its_rate() {
        let now = Instant::now();
        let mut queue = queue(0, now);
        let mut load_all = |now: Instant| {
            let mut bytes = 0;
            while queue.may_load_hinted(now).is_ok() {
                queue.note_hinted(BLOCK_BYTES, now);
                bytes += BLOCK_BYTES;
            }
            bytes
        };
        let second = Duration::from_secs(1);
        assert!(load_all(now) <= TIER_HINTED_BYTES_PER_SECOND + BLOCK_BYTES);
        assert!(load_all(now + second / 2) <= TIER_HINTED_BYTES_PER_SECOND / 2 + BLOCK_BYTES);
        // What was not used is not saved up.
        let later = load_all(now + 60 * second);
        assert!((TIER_HINTED_BYTES_PER_SECOND..=TIER_HINTED_BYTES_PER_SECOND + BLOCK_BYTES).contains(&later));
    }

    #[test]
    fn half_of_the_line_is_for_those_who_wait() {
        let now = Instant::now();
        let half = queue(TIER_ASKED_LOADS_MAX / 2, now);
        assert_eq!(half.may_load(now), Err(Refusal::LoaderBusy));
        assert!(half.may_load_awaited(now).is_ok());
        assert!(queue(TIER_ASKED_LOADS_MAX, now).may_load_awaited(now).is_err());
    }
}
