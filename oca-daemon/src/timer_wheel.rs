//! Deadlines of many connections; an idle one is looked at once per horizon, and costs nothing otherwise.
//!
//! A wheel of slots, one per tick. A connection has one live entry, at or before its deadline; when the entry
//! comes up and the deadline has moved, the entry moves on. So setting a later deadline costs nothing, and an
//! idle connection is looked at once per horizon. Entries left behind by an earlier deadline are told from
//! the live one by their tick, and dropped.

use std::time::{Duration, Instant};

use crate::limits::{TIMER_SLOTS, TIMER_TICK};
use crate::token::ConnectionId;

/// When an entry comes up, in ticks since the wheel was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

/// The wheel of one worker.
pub struct TimerWheel {
    slots: Vec<Vec<(ConnectionId, Tick)>>,
    started: Instant,
    next: Tick,
}

impl TimerWheel {
    /// An empty wheel that starts turning at `now`.
    pub fn new(now: Instant) -> Self {
        Self { slots: vec![Vec::new(); TIMER_SLOTS], started: now, next: Tick(0) }
    }

    /// Enters a deadline; the answer is the tick at which the entry will come up, which its owner remembers
    /// as the live one. A deadline beyond the wheel's horizon comes up early, and is entered again then.
    pub fn enter(&mut self, id: ConnectionId, deadline: Instant) -> Tick {
        let tick = Tick(self.tick_after(deadline).0.clamp(self.next.0, self.next.0 + TIMER_SLOTS as u64 - 1));
        self.slots[tick.0 as usize % TIMER_SLOTS].push((id, tick));
        tick
    }

    /// The tick at which a deadline has surely passed.
    pub fn tick_after(&self, deadline: Instant) -> Tick {
        let nanoseconds = deadline.saturating_duration_since(self.started).as_nanos();
        Tick((nanoseconds / TIMER_TICK.as_nanos()) as u64 + 1)
    }

    /// Moves the entries that have come up by `now` to `due`.
    pub fn turn(&mut self, now: Instant, due: &mut Vec<(ConnectionId, Tick)>) {
        let elapsed = now.saturating_duration_since(self.started).as_nanos() / TIMER_TICK.as_nanos();
        while u128::from(self.next.0) <= elapsed {
            due.append(&mut self.slots[self.next.0 as usize % TIMER_SLOTS]);
            self.next.0 += 1;
        }
    }

    /// How long until the next tick.
    pub fn until_next(&self, now: Instant) -> Duration {
        let next = self.started + TIMER_TICK * u32::try_from(self.next.0).unwrap_or(u32::MAX);
        next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 0 }
    }

    fn due_at(wheel: &mut TimerWheel, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.turn(now, &mut due);
        due.into_iter().map(|(id, _)| id.slot).collect()
    }

    #[test]
    fn an_entry_comes_up_within_two_ticks_after_its_deadline_and_never_before() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        let deadline = start + TIMER_TICK * 3 + TIMER_TICK / 2;
        wheel.enter(id(7), deadline);
        assert_eq!(due_at(&mut wheel, deadline - Duration::from_nanos(1)), [0; 0]);
        assert_eq!(due_at(&mut wheel, deadline + TIMER_TICK * 2), [7]);
        assert_eq!(due_at(&mut wheel, deadline + TIMER_TICK * 2 * TIMER_SLOTS as u32), [0; 0]);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_comes_up_early_to_be_entered_again() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        let horizon = TIMER_TICK * TIMER_SLOTS as u32;
        wheel.enter(id(1), start + horizon * 10);
        assert_eq!(due_at(&mut wheel, start + horizon), [1]);
    }

    #[test]
    fn a_deadline_in_the_past_comes_up_at_the_next_turn() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        due_at(&mut wheel, start + TIMER_TICK * 100);
        wheel.enter(id(2), start);
        assert_eq!(due_at(&mut wheel, start + TIMER_TICK * 101), [2]);
    }
}
