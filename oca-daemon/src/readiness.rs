//! How far the daemon's life has come: `Starting → Recovering → Serving ⇄ Draining → Drained → Serving`.
//!
//! Only a `Serving` appliance may be steered to. `Draining` still serves whoever comes; it asks the control
//! plane to send nobody. `Drained` means that nobody came for a while, so that the machine can be unplugged.
//! One atomic byte, read by anybody; only the legal steps are taken.

use std::fmt;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use control_client::health::Readiness;

/// The current [`Readiness`], shared by all threads.
pub struct ReadinessState(AtomicU8);

/// A step that the life of the daemon does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalStep {
    /// The state it is in, and stays in.
    pub from: Readiness,
    /// The state that was asked for.
    pub to: Readiness,
}

impl ReadinessState {
    /// `Starting`.
    pub const fn new() -> Self {
        ReadinessState(AtomicU8::new(number(Readiness::Starting)))
    }

    /// The state now.
    pub fn current(&self) -> Readiness {
        readiness(self.0.load(Acquire))
    }

    /// Takes the step to `to`, or says why there is none. Of two threads that try the same step, one
    /// succeeds.
    pub fn advance(&self, to: Readiness) -> Result<(), IllegalStep> {
        self.0
            .fetch_update(AcqRel, Acquire, |from| is_legal(readiness(from), to).then_some(number(to)))
            .map(drop)
            .map_err(|from| IllegalStep { from: readiness(from), to })
    }
}

impl Default for ReadinessState {
    fn default() -> Self {
        ReadinessState::new()
    }
}

impl fmt::Display for IllegalStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = STATES.into_iter().filter(|&state| is_legal(self.from, state));
        let next = next.map(Readiness::as_str).collect::<Vec<_>>().join(" or ");
        write!(formatter, "the appliance is {}; from there it can become {next}, not {}", self.from, self.to)
    }
}

impl std::error::Error for IllegalStep {}

/// Every state, in the order of the daemon's life.
pub const STATES: [Readiness; 5] =
    [Readiness::Starting, Readiness::Recovering, Readiness::Serving, Readiness::Draining, Readiness::Drained];

fn is_legal(from: Readiness, to: Readiness) -> bool {
    matches!(
        (from, to),
        (Readiness::Starting, Readiness::Recovering)
            | (Readiness::Recovering, Readiness::Serving)
            | (Readiness::Serving, Readiness::Draining)
            | (Readiness::Draining, Readiness::Drained | Readiness::Serving)
            | (Readiness::Drained, Readiness::Serving)
    )
}

const fn number(readiness: Readiness) -> u8 {
    match readiness {
        Readiness::Starting => 0,
        Readiness::Recovering => 1,
        Readiness::Serving => 2,
        Readiness::Draining => 3,
        Readiness::Drained => 4,
    }
}

fn readiness(number: u8) -> Readiness {
    STATES[usize::from(number)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_at(readiness: Readiness) -> ReadinessState {
        ReadinessState(AtomicU8::new(number(readiness)))
    }

    #[test]
    fn the_life_of_the_daemon_has_exactly_six_steps() {
        use Readiness::{Drained, Draining, Recovering, Serving, Starting};
        let legal = [
            (Starting, Recovering),
            (Recovering, Serving),
            (Serving, Draining),
            (Draining, Drained),
            (Draining, Serving),
            (Drained, Serving),
        ];
        for from in STATES {
            for to in STATES {
                let state = state_at(from);
                let step = state.advance(to);
                assert_eq!(step.is_ok(), legal.contains(&(from, to)), "{from:?} to {to:?}");
                assert_eq!(state.current(), if step.is_ok() { to } else { from });
            }
        }
    }

    #[test]
    fn numbers_and_states_agree() {
        assert!(STATES.into_iter().all(|state| readiness(number(state)) == state));
    }

    #[test]
    fn a_refused_step_says_what_is_possible_instead() {
        let refused = state_at(Readiness::Draining).advance(Readiness::Recovering).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the appliance is draining; from there it can become serving or drained, not recovering"
        );
    }

    #[test]
    fn of_two_threads_that_take_one_step_one_succeeds() {
        for _ in 0..200 {
            let state = state_at(Readiness::Draining);
            let steps = std::thread::scope(|scope| {
                let step = || state.advance(Readiness::Drained).is_ok();
                [scope.spawn(step), scope.spawn(step)].map(|thread| thread.join().unwrap())
            });
            assert_eq!(steps.into_iter().filter(|&taken| taken).count(), 1);
        }
    }
}
