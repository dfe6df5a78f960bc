//! Which purges there were. Pure.
//!
//! Purges are numbered. A head carries the number of purges that it is known to come after (its mark): a later one that
//! selects its key kills it, wherever it lies, and however often it was written. A purge can be forgotten when no head has
//! a mark before it.

use std::collections::{BTreeMap, HashMap};

use super::entry::{PurgeMark, Selector};

/// Bytes of memory of one purge beside its selector: a boxed slice, a number, and the map's free places.
const PURGE_MEMORY: u64 = 64;

/// The newest purge of each selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PurgeSet {
    last: u64,
    /// Up to that number they may be missing.
    forgotten: u64,
    exact: HashMap<Box<[u8]>, u64>,
    /// By length, so that a key is looked up once for each length, however many there are.
    prefixes: BTreeMap<usize, HashMap<Box<[u8]>, u64>>,
    memory: u64,
}

impl PurgeSet {
    /// One of which nothing is known but how many there have been, and up to which they may be missing.
    pub(super) fn restored(last: PurgeMark, forgotten: PurgeMark) -> Self {
        Self { last: last.0, forgotten: forgotten.0, ..Self::default() }
    }

    /// How many there have been.
    pub(super) fn last(&self) -> PurgeMark {
        PurgeMark(self.last)
    }

    /// Adds a purge and returns its number.
    pub(super) fn add(&mut self, selector: Selector<'_>) -> u64 {
        self.insert(selector, self.last + 1);
        self.last
    }

    /// Up to which they may be missing.
    pub(super) fn forgotten(&self) -> PurgeMark {
        PurgeMark(self.forgotten)
    }

    /// All that are known, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Selector<'_>, u64)> {
        let exact = self.exact.iter().map(|(key, number)| (Selector::Exact(key), *number));
        let prefixes = self.prefixes.values().flatten();
        exact.chain(prefixes.map(|(prefix, number)| (Selector::Prefix(prefix), *number)))
    }

    /// Whether a head with that key and mark must not be served.
    pub(super) fn kills(&self, key: &[u8], mark: PurgeMark) -> bool {
        mark.0 < self.forgotten || (mark.0 < self.last && self.newest(key) > mark.0)
    }

    /// Forgets the purges up to that number. Heads with an older mark are dead from now on, whatever their key.
    pub(super) fn forget(&mut self, through: PurgeMark) {
        let through = through.0.min(self.last);
        self.forgotten = self.forgotten.max(through);
        let (exact, prefixes, memory) = (&mut self.exact, &mut self.prefixes, &mut self.memory);
        let mut is_needed = |selector: &[u8], number: u64| {
            *memory -= if number > through { 0 } else { cost(selector) };
            number > through
        };
        exact.retain(|selector, number| is_needed(selector, *number));
        prefixes.retain(|_, of_length| {
            of_length.retain(|selector, number| is_needed(selector, *number));
            !of_length.is_empty()
        });
    }

    /// Forgets the older half of them; at least one.
    pub(super) fn forget_older_half(&mut self) {
        let mut numbers: Vec<u64> = self.iter().map(|(_, number)| number).collect();
        if let Some(middle) = numbers.len().checked_sub(1).map(|last| last / 2) {
            let (_, through, _) = numbers.select_nth_unstable(middle);
            self.forget(PurgeMark(*through));
        }
    }

    /// Bytes of memory, by this count.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// The number of the newest purge that selects a key; 0 where there is none.
    fn newest(&self, key: &[u8]) -> u64 {
        let exact = self.exact.get(key).copied();
        let prefixes = self
            .prefixes
            .iter()
            .filter_map(|(length, of_length)| of_length.get(key.get(..*length)?).copied());
        prefixes.chain(exact).max().unwrap_or(0)
    }

    /// Adds a purge that has its number.
    pub(super) fn insert(&mut self, selector: Selector<'_>, number: u64) {
        self.last = self.last.max(number);
        let (of_kind, bytes) = match selector {
            Selector::Exact(key) => (&mut self.exact, key),
            Selector::Prefix(prefix) => (self.prefixes.entry(prefix.len()).or_default(), prefix),
        };
        match of_kind.get_mut(bytes) {
            Some(known) => *known = number.max(*known),
            None => {
                of_kind.insert(bytes.into(), number);
                self.memory += cost(bytes);
            }
        }
    }
}

fn cost(selector: &[u8]) -> u64 {
    PURGE_MEMORY + selector.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purged(selectors: &[Selector<'_>]) -> PurgeSet {
        let mut set = PurgeSet::default();
        for selector in selectors {
            set.add(*selector);
        }
        set
    }

    #[test]
    fn a_purge_kills_what_came_before_it_and_nothing_that_came_after() {
        let set = purged(&[Selector::Exact(b"/a/1"), Selector::Prefix(b"/b/")]);
        assert!(set.kills(b"/a/1", PurgeMark(0)) && !set.kills(b"/a/1", PurgeMark(1)));
        assert!(set.kills(b"/b/2", PurgeMark(1)) && !set.kills(b"/b/2", PurgeMark(2)));
        assert!(!set.kills(b"/a/11", PurgeMark(0)) && !set.kills(b"/b", PurgeMark(0)));
        assert!(purged(&[Selector::Prefix(b"")]).kills(b"", PurgeMark(0)));
    }

    #[test]
    fn purging_the_same_again_takes_no_more_memory() {
        let mut set = purged(&[Selector::Exact(b"/a"), Selector::Prefix(b"/a")]);
        let memory = set.memory();
        set.add(Selector::Exact(b"/a"));
        set.add(Selector::Prefix(b"/a"));
        assert_eq!(set.memory(), memory);
        assert!(set.kills(b"/a", PurgeMark(3)) && !set.kills(b"/a", PurgeMark(4)));
    }

    #[test]
    fn a_purge_that_was_forgotten_kills_all_that_may_have_come_before_it() {
        let mut set = purged(&[Selector::Exact(b"/a"), Selector::Prefix(b"/b"), Selector::Exact(b"/c")]);
        set.forget(PurgeMark(2));
        assert!(set.kills(b"/other", PurgeMark(1)) && !set.kills(b"/other", PurgeMark(2)));
        assert!(set.kills(b"/c", PurgeMark(2)));
        set.forget(PurgeMark(u64::MAX));
        assert_eq!(set.memory(), 0);
        assert!(!set.kills(b"/c", PurgeMark(3)));
    }

    #[test]
    fn of_a_list_that_is_too_long_the_older_half_is_forgotten() {
        let mut set = purged(&[Selector::Exact(b"/a"), Selector::Prefix(b"/b"), Selector::Exact(b"/c")]);
        set.forget_older_half();
        assert!(set.kills(b"/other", PurgeMark(1)) && !set.kills(b"/other", PurgeMark(2)));
        assert!(set.kills(b"/c", PurgeMark(2)) && set.memory() > 0);
        set.forget_older_half();
        assert_eq!(set.memory(), 0);
        set.forget_older_half();
    }
}
