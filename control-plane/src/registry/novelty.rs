use crate::limits;

/// What the number of a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It was not seen before.
    New,
    /// It was not seen before, and its sender begins to count anew.
    NewInstance,
    /// Its number is an older one, and it was made after the newest: its sender's state folder was put back from a copy, and
    /// counts on from there.
    RolledBack,
    /// It is the newest one, once more: its acknowledgement was lost. What it counts is counted already; what
    /// it tells of the present holds.
    Repeated,
    /// It is an older one, late. Nothing in it is news.
    Late,
}

impl Novelty {
    /// Whether what it counts was not counted before.
    pub const fn counts(self) -> bool {
        matches!(self, Self::New | Self::NewInstance | Self::RolledBack)
    }

    /// Whether it has nothing to do with what was told before.
    pub const fn begins_anew(self) -> bool {
        matches!(self, Self::NewInstance | Self::RolledBack)
    }
}

/// The newest report of an appliance that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest<'a> {
    /// Whose numbers these are.
    pub instance: &'a str,
    /// Its number.
    pub sequence: u64,
    /// When it was made, by the appliance's clock.
    pub at: u64,
}

/// Decides what the number of a report says, from the newest one that is known.
pub fn novelty(known: Option<Newest<'_>>, instance: &str, sequence: u64, at: u64) -> Novelty {
    match known {
        None => Novelty::New,
        Some(known) if known.instance != instance => Novelty::NewInstance,
        Some(known) if sequence > known.sequence => Novelty::New,
        Some(known) if sequence == known.sequence => Novelty::Repeated,
        Some(known) if at > known.at.saturating_add(limits::ROLLED_BACK_SECONDS) => Novelty::RolledBack,
        Some(_) => Novelty::Late,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let newest = Some(Newest { instance: "a", sequence: 7, at: 1_000 });
        assert_eq!(novelty(None, "a", 7, 0), Novelty::New);
        assert_eq!(novelty(newest, "a", 8, 1_060), Novelty::New);
        assert_eq!(novelty(newest, "a", 12, 0), Novelty::New);
        assert_eq!(novelty(newest, "a", 7, 2_000), Novelty::Repeated);
        assert_eq!(novelty(newest, "a", 6, 940), Novelty::Late);
        assert_eq!(novelty(newest, "b", 1, 0), Novelty::NewInstance);
    }

    #[test]
    fn an_old_number_that_was_made_after_the_newest_is_of_a_folder_that_was_put_back() {
        let newest = Some(Newest { instance: "a", sequence: 7, at: 1_000 });
        let after = 1_000 + limits::ROLLED_BACK_SECONDS;
        assert_eq!(novelty(newest, "a", 6, after), Novelty::Late, "a clock may have been set a little");
        assert_eq!(novelty(newest, "a", 6, after + 1), Novelty::RolledBack);
    }
}
