//! Whether the clock can be believed. Licences end by it, days of demand are forgotten by it, and sequences follow it: a clock that has
//! jumped must not be planned by.

use super::{ControlPlane, PlanError};
use crate::database::{DatabaseError, counter};

/// Between two rounds of planning, and between two clocks that are right.
const TOLERANCE_SECONDS: u64 = 24 * 3600;

/// Decides whether `now` can be. It can where planning ended not long ago, by the same clock; otherwise, as after a long rest, most of
/// the appliances that report have to agree: `offsets` is how far ahead the clock of each is. Where nobody ever reported, nobody is
/// hurt.
fn is_plausible(now: u64, planned_at: u64, offsets: &mut [i64], ever_reported: bool) -> bool {
    if planned_at == 0 || now.abs_diff(planned_at) <= TOLERANCE_SECONDS || !ever_reported {
        return true;
    }
    offsets.sort_unstable();
    offsets.get(offsets.len() / 2).is_some_and(|median| median.unsigned_abs() <= TOLERANCE_SECONDS)
}

impl ControlPlane {
    /// Refuses to plan by a clock that cannot be right.
    pub(super) async fn check_clock(&self, now: u64) -> Result<(), PlanError> {
        let planned_at = counter(&self.database, "planned_at").await?;
        let (mut offsets, ever_reported) = self.standings.clock_offsets(now, self.patience_seconds());
        if is_plausible(now, planned_at, &mut offsets, ever_reported) {
            return Ok(());
        }
        Err(PlanError::Clock { now, planned_at, reporting: offsets.len() })
    }

    /// Remembers when planning last succeeded.
    pub(super) async fn note_planned(&self, now: u64) -> Result<(), DatabaseError> {
        let mut change = self.database.change().await?;
        change.execute("UPDATE counters SET value = $1 WHERE name = 'planned_at'", vec![now.into()]).await?;
        change.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_219_200;
    const YEAR: u64 = 365 * 86_400;

    #[test]
    fn a_clock_that_jumped_is_believed_only_with_the_appliances() {
        let plausible = |now, offsets: &[i64]| is_plausible(now, NOW, &mut offsets.to_vec(), true);
        assert!(plausible(NOW + 3_600, &[]), "one that goes on is believed");
        assert!(!plausible(NOW + YEAR, &[]), "nobody has reported since");
        assert!(!plausible(NOW - YEAR, &[]));
        let behind = -(YEAR as i64);
        assert!(!plausible(NOW + YEAR, &[behind, behind, behind, 0]));
        assert!(plausible(NOW + YEAR, &[behind, 2, -1]), "it was off for a year, and one appliance is wrong");
        assert!(is_plausible(NOW, 0, &mut [], true), "it never planned");
        assert!(is_plausible(NOW + YEAR, NOW, &mut [], false), "nobody is there");
    }
}
