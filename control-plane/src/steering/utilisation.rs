use std::fmt;

use control_client::health::Headroom;
use control_client::load::Load;
use control_client::units::BitRate;

/// How much of an appliance is in use, in whole percent: what is scarcest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utilisation(u8);

impl Utilisation {
    /// Taken for an appliance that has not told its load: neither preferred nor avoided.
    pub const UNKNOWN: Self = Self(50);
    /// From here on, an appliance comes after all that have room, wherever they are: a client who is refused
    /// has lost more than one who is served from the next tier.
    pub const FULL: Self = Self(90);

    /// So many percent; more than 100 are 100.
    pub const fn percent(percent: u8) -> Self {
        if percent > 100 { Self(100) } else { Self(percent) }
    }

    /// Of what an appliance tells: connections against those that are still free, and egress against what its
    /// links carry where an operator said how much that is.
    pub fn of(load: Option<&Load>, headroom: Option<&Headroom>, egress: Option<BitRate>) -> Self {
        let Some(load) = load else { return Self::UNKNOWN };
        let connections = headroom.map(|headroom| {
            share(load.connections, load.connections.saturating_add(headroom.connections_free))
        });
        let egress = egress.map(|egress| share(load.egress_bits_per_second, egress.bits_per_second()));
        connections.max(egress).unwrap_or(Self::UNKNOWN)
    }

    /// Whether it comes after all that have room.
    pub fn is_full(self) -> bool {
        self >= Self::FULL
    }

    /// What is left, in percent, at least 1: the weight with which it draws clients.
    pub(super) fn room(self) -> f64 {
        f64::from(100_u8.saturating_sub(self.0).max(1))
    }
}

impl Default for Utilisation {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl fmt::Display for Utilisation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} %", self.0)
    }
}

fn share(used: u64, all: u64) -> Utilisation {
    if all == 0 {
        // Nothing is free and nothing in use: it can take nobody.
        return Utilisation(100);
    }
    let percent = u128::from(used) * 100 / u128::from(all);
    Utilisation(percent.min(100) as u8)
}
