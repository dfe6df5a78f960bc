//! What is remembered of keys of which nothing is held: whether answers can be shared, what they vary by, and that upstream failed.
//!
//! All of it is only about whom to wait for and what to ask with: forgetting it costs a request to upstream and no more.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use moka::sync::Cache;

use super::blocks::Part;
use super::caching::{is_common, varied_by};
use super::failure::PullFailure;
use crate::limits::{HABIT_LIFETIME, HABITS_MAX};

/// Bounded in keys and time.
pub(super) struct Habits {
    /// Requests whose answers are for one client each.
    unshared: Cache<Alike, ()>,
    /// By family.
    varying: Cache<String, Arc<[HeaderName]>>,
    /// Requests that upstream cannot bear, or that it cannot answer as it should.
    failed: Cache<Alike, PullFailure>,
    /// Keys for which nobody at upstream is there.
    unanswered: Cache<Arc<str>, PullFailure>,
    hashing: RandomState,
}

/// Requests of which what is seen of one is expected of the next. Others for the same key are none of them: what one client says, or
/// which part it wants, must not have all the rest ask for themselves, or be told that there is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alike {
    key: Arc<str>,
    variant: u64,
    is_part: bool,
}

impl Habits {
    /// Failures are remembered for `error_ttl`.
    pub(super) fn new(error_ttl: Duration) -> Self {
        // A lifetime of zero would be none at all.
        let (failures_max, error_ttl) =
            (if error_ttl.is_zero() { 0 } else { HABITS_MAX }, error_ttl.max(Duration::from_millis(1)));
        Self {
            unshared: Cache::builder().max_capacity(HABITS_MAX).time_to_live(HABIT_LIFETIME).build(),
            varying: Cache::builder().max_capacity(HABITS_MAX).time_to_live(HABIT_LIFETIME).build(),
            failed: Cache::builder().max_capacity(failures_max).time_to_live(error_ttl).build(),
            unanswered: Cache::builder().max_capacity(failures_max).time_to_live(error_ttl).build(),
            hashing: RandomState::new(),
        }
    }

    /// An answer to such a request was for one client only.
    pub(super) fn is_unshared(&self, key: &Arc<str>, variant: u64, part: Part) -> bool {
        self.unshared.contains_key(&Alike::of(key, variant, part))
    }

    pub(super) fn note_unshared(&self, key: &Arc<str>, variant: u64, part: Part) {
        self.unshared.insert(Alike::of(key, variant, part), ());
    }

    /// What answers under the key and its neighbours vary by, as far as that is known.
    pub(super) fn varying(&self, key: &str) -> Arc<[HeaderName]> {
        self.varying.get(&family(key)).unwrap_or_default()
    }

    /// They vary by what this one varies by. One that does not vary says nothing of its neighbours: it may be an error.
    pub(super) fn note_vary(&self, key: &str, response: &HeaderMap) {
        if let Some(names) = varied_by(response).filter(|names| !names.is_empty()) {
            self.varying.insert(family(key), names.into());
        }
    }

    /// A number that is the same for requests which go upstream with the same fields, those left aside by which servers are known to
    /// negotiate and by which no answer was seen to vary yet. Who asks is never left aside.
    pub(super) fn variant(&self, sent: &HeaderMap, varying: &[HeaderName]) -> u64 {
        let mut names: Vec<&HeaderName> =
            sent.keys().filter(|name| !is_common(name) || varying.contains(name)).collect();
        names.sort_by_key(|name| name.as_str());
        let mut hasher = self.hashing.build_hasher();
        for name in names {
            let values: Vec<&[u8]> = sent.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            (name.as_str(), values).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// No upstream could answer such a request, a moment ago.
    pub(super) fn failure(&self, key: &Arc<str>, variant: u64, part: Part) -> Option<PullFailure> {
        self.unanswered.get(key).or_else(|| self.failed.get(&Alike::of(key, variant, part)))
    }

    /// Whether upstream is there is the same for all who ask. Anything else may be due to what this request says.
    pub(super) fn note_failure(&self, key: &Arc<str>, variant: u64, part: Part, failure: PullFailure) {
        match failure {
            PullFailure::Unreachable | PullFailure::TimedOut => {
                self.unanswered.insert(Arc::clone(key), failure);
            }
            PullFailure::Invalid => self.failed.insert(Alike::of(key, variant, part), failure),
            // It is ours.
            _ => {}
        }
    }
}

impl Alike {
    fn of(key: &Arc<str>, variant: u64, part: Part) -> Self {
        Self { key: Arc::clone(key), variant, is_part: part != Part::Whole }
    }
}

/// What is made alike and asked for one after another: the directory of a key, and the ending of its name.
fn family(key: &str) -> String {
    let path = key.split('?').next().unwrap_or_default();
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    format!("{directory}/*.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_one_answer_varies_by_is_expected_of_its_neighbours() {
        let habits = Habits::new(Duration::ZERO);
        habits.note_vary("/t/1.m4s?a=b", &fields(&[("vary", "Origin, x-a")]));
        habits.note_vary("/t/3.m4s", &fields(&[]));
        habits.note_vary("/t/3.m4s", &fields(&[("vary", "*")]));
        for (key, count) in
            [("/t/1.m4s", 2), ("/t/2.m4s?c", 2), ("/t/2.mp4", 0), ("/t/u/2.m4s", 0), ("/t/m4s", 0), ("", 0)]
        {
            assert_eq!(habits.varying(key).len(), count, "{key}");
        }
    }

    #[test]
    fn requests_are_of_one_variant_where_they_say_the_same_of_who_asks_and_of_what_answers_vary_by() {
        let habits = Habits::new(Duration::ZERO);
        let same =
            |one: &[(&'static str, &'static str)], other: &[(&'static str, &'static str)], varying: &[_]| {
                habits.variant(&fields(one), varying) == habits.variant(&fields(other), varying)
            };
        let language = [http::header::ACCEPT_LANGUAGE];
        assert!(same(&[("accept-language", "de"), ("via", "a")], &[("accept-language", "en")], &[]));
        assert!(!same(&[("accept-language", "de")], &[("accept-language", "en")], &language));
        assert!(!same(&[("accept-language", "de")], &[], &language));
        assert!(same(&[("accept-language", "de"), ("cookie", "a")], &[("cookie", "a")], &[]));
        for name in ["cookie", "authorization", "x-let-through"] {
            assert!(!same(&[(name, "a")], &[(name, "b")], &[]), "{name}");
            assert!(!same(&[(name, "a")], &[], &[]), "{name}");
        }
        assert!(same(
            &[("cookie", "a"), ("authorization", "b")],
            &[("authorization", "b"), ("cookie", "a")],
            &[]
        ));
        assert!(!same(&[("cookie", "a"), ("cookie", "b")], &[("cookie", "ab")], &[]));
    }

    #[test]
    fn who_cannot_share_says_nothing_of_others() {
        let (habits, key) = (Habits::new(Duration::ZERO), Arc::<str>::from("/a"));
        let part = Part::Blocks { start: 0, end: None };
        habits.note_unshared(&key, 1, part);
        assert!(habits.is_unshared(&key, 1, Part::Last(5)));
        assert!(!habits.is_unshared(&key, 1, Part::Whole));
        assert!(!habits.is_unshared(&key, 2, part));
        assert!(!habits.is_unshared(&"/b".into(), 1, part));
    }

    #[test]
    fn what_upstream_cannot_bear_of_one_request_is_not_told_to_others_and_that_it_is_not_there_is() {
        let (habits, key) = (Habits::new(Duration::from_secs(60)), Arc::<str>::from("/a"));
        habits.note_failure(&key, 1, Part::Whole, PullFailure::Invalid);
        assert_eq!(habits.failure(&key, 1, Part::Whole), Some(PullFailure::Invalid));
        assert_eq!(habits.failure(&key, 2, Part::Whole), None);
        assert_eq!(habits.failure(&key, 1, Part::Last(5)), None);
        habits.note_failure(&key, 1, Part::Whole, PullFailure::Busy);
        assert_eq!(habits.failure(&key, 1, Part::Whole), Some(PullFailure::Invalid), "that is of us");
        for failure in [PullFailure::TimedOut, PullFailure::Unreachable] {
            habits.note_failure(&key, 1, Part::Whole, failure);
            assert_eq!(habits.failure(&key, 2, Part::Last(5)), Some(failure));
            assert_eq!(habits.failure(&"/b".into(), 1, Part::Whole), None);
        }
    }

    #[test]
    fn failures_are_not_remembered_where_that_is_not_wanted() {
        let (habits, key) = (Habits::new(Duration::ZERO), Arc::<str>::from("/a"));
        habits.note_failure(&key, 1, Part::Whole, PullFailure::Unreachable);
        habits.failed.run_pending_tasks();
        habits.unanswered.run_pending_tasks();
        assert_eq!(habits.failure(&key, 1, Part::Whole), None);
    }
}
