//! A bucket that refuses us: for the operator, who alone can mend it, and not with every request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

/// The operator is told once in this time: any client can have a bucket refuse as much as it likes.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Those of one bucket.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    warned_at: Mutex<Option<Instant>>,
}

/// Whether a bucket's answer refuses us. It is not for the client: it may name the key and what was signed.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status)
}

impl Refusals {
    /// There is another one. Whether the operator is to be told.
    pub(super) fn note(&self, now: Instant) -> bool {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned_at.is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL);
        if is_due {
            *warned_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_told_of_the_first_and_then_of_one_a_minute() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        let told_at = |second| refusals.note(began + Duration::from_secs(second));
        let told = [0, 1, 59, 60, 61, 119, 120].map(told_at);
        assert_eq!(told, [true, false, false, true, false, false, true]);
    }
}
