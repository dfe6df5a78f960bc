//! What is remembered of keys of which nothing is held: whether answers can be shared, what they vary by, and that upstream failed.
//!
//! All of it is only about whom to wait for: forgetting it costs a request to upstream and no more.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::header::VARY;
use http::{HeaderMap, HeaderName};
use moka::sync::Cache;

use super::failure::PullFailure;
use crate::limits::{HABIT_LIFETIME, HABITS_MAX};

/// Bounded in keys and time.
pub(super) struct Habits {
    unshared: Cache<Arc<str>, ()>,
    vary: Cache<Arc<str>, Arc<[HeaderName]>>,
    failed: Cache<Arc<str>, PullFailure>,
}

impl Habits {
    /// Failures are remembered for `error_ttl`.
    pub(super) fn new(error_ttl: Duration) -> Self {
        Self {
            unshared: Cache::builder().max_capacity(HABITS_MAX).time_to_live(HABIT_LIFETIME).build(),
            vary: Cache::builder().max_capacity(HABITS_MAX).time_to_live(HABIT_LIFETIME).build(),
            // A lifetime of zero would be none at all.
            failed: Cache::builder()
                .max_capacity(if error_ttl.is_zero() { 0 } else { HABITS_MAX })
                .time_to_live(error_ttl.max(Duration::from_millis(1)))
                .build(),
        }
    }

    /// An answer under the key was for one client only.
    pub(super) fn is_unshared(&self, key: &str) -> bool {
        self.unshared.contains_key(key)
    }

    pub(super) fn note_unshared(&self, key: &Arc<str>) {
        self.unshared.insert(Arc::clone(key), ());
    }

    /// Answers under the key vary by what this one varies by.
    pub(super) fn note_vary(&self, key: &Arc<str>, response: &HeaderMap) {
        let lines = response.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
        let names = lines.flat_map(|line| line.split(',')).map(str::trim);
        let mut names: Vec<HeaderName> = names.filter_map(|name| name.parse().ok()).collect();
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        if !names.is_empty() || self.vary.contains_key(key) {
            self.vary.insert(Arc::clone(key), names.into());
        }
    }

    /// A number that is the same for requests which say the same in the fields that answers vary by, as far as these are known.
    pub(super) fn variant(&self, key: &str, request: &HeaderMap) -> u64 {
        let Some(names) = self.vary.get(key) else { return 0 };
        let mut hasher = DefaultHasher::new();
        for name in names.iter() {
            for value in request.get_all(name) {
                (name.as_str(), value.as_bytes()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// No upstream could answer, a moment ago.
    pub(super) fn failure(&self, key: &str) -> Option<PullFailure> {
        self.failed.get(key)
    }

    pub(super) fn note_failure(&self, key: &Arc<str>, failure: PullFailure) {
        self.failed.insert(Arc::clone(key), failure);
    }
}
