//! When to report next. Pure.

use std::time::Duration;

/// When there is more to tell; and nothing makes two reports follow each other faster.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// What a report that was taken has left untold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// More waits than one report takes, or directives have results.
    pub(super) has_more: bool,
    /// The control plane wants all of the inventory, and this report did not tell it. One that did, and is asked for again, has
    /// nothing to add.
    pub(super) lacks_inventory: bool,
    /// A manifest was refused, and is the first one since a report that was not hurried for that.
    pub(super) has_refused: bool,
}

impl Told {
    /// How long to wait, where the control plane says `interval`. `jitter` is evenly spread over 0 to 1.
    pub(super) fn pause(self, interval: Duration, jitter: f64) -> Duration {
        if self.has_more || self.lacks_inventory || self.has_refused {
            return interval.min(SOON);
        }
        // A little less each time another part, so that a thousand appliances spread out.
        interval - interval.mul_f64(jitter / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_untold_is_told_soon_and_else_the_control_plane_says_when() {
        let minute = Duration::from_secs(60);
        assert_eq!(Told::default().pause(minute, 0.0), minute);
        assert_eq!(Told::default().pause(minute, 1.0), Duration::from_secs(54));
        for told in [
            Told { has_more: true, ..Told::default() },
            Told { lacks_inventory: true, ..Told::default() },
            Told { has_refused: true, ..Told::default() },
        ] {
            assert_eq!(told.pause(minute, 0.5), SOON);
        }
    }
}
