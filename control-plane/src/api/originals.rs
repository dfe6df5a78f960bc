//! Titles' media manifests as they were published: from memory, or from the database.

use std::future::Future;
use std::sync::Arc;

use control_client::content::{BundleKey, ObjectName};
use moka::sync::Cache;
use tokio::sync::OnceCell;

use crate::catalogue;
use crate::database::{Database, DatabaseError};
use crate::limits::{ORIGINAL_ABSENT_TIME, ORIGINALS_ASKED_MAX, ORIGINALS_BYTES_MAX};

/// What an entry takes beside its content: keys and bookkeeping.
const ENTRY_BYTES: usize = 512;

type Key = (BundleKey, ObjectName);
type Answer = Arc<OnceCell<Option<Arc<str>>>>;

/// Media manifests that players have asked for. None is ever changed, so none grows old.
pub(super) struct Originals {
    known: Cache<Key, Arc<str>>,
    /// Those that are being read, each once however many want it; and for a while those that are not there.
    asked: Cache<Key, Answer>,
}

impl Originals {
    pub(super) fn new() -> Self {
        let weigh =
            |_: &Key, content: &Arc<str>| u32::try_from(content.len() + ENTRY_BYTES).unwrap_or(u32::MAX);
        let asked =
            Cache::builder().max_capacity(ORIGINALS_ASKED_MAX).time_to_live(ORIGINAL_ABSENT_TIME).build();
        Self { known: Cache::builder().max_capacity(ORIGINALS_BYTES_MAX).weigher(weigh).build(), asked }
    }

    /// The media manifest of a bundle; none where it was published with none of that name.
    pub(super) async fn of(
        &self,
        database: &Database,
        bundle: &BundleKey,
        name: &ObjectName,
    ) -> Result<Option<Arc<str>>, DatabaseError> {
        self.read_once((bundle.clone(), name.clone()), || catalogue::media_manifest(database, bundle, name))
            .await
    }

    async fn read_once<F>(
        &self,
        key: Key,
        read: impl FnOnce() -> F,
    ) -> Result<Option<Arc<str>>, DatabaseError>
    where
        F: Future<Output = Result<Option<String>, DatabaseError>>,
    {
        if let Some(known) = self.known.get(&key) {
            return Ok(Some(known));
        }
        let answer = self.asked.get_with_by_ref(&key, Answer::default);
        let content = answer
            .get_or_try_init(async || read().await.map(|content| content.map(Into::into)))
            .await?
            .clone();
        if let Some(content) = &content {
            self.known.insert(key.clone(), Arc::clone(content));
            self.asked.invalidate(&key);
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use control_client::content::{BundlePath, Generation};

    use super::*;

    fn key(name: &str) -> Key {
        let path = BundlePath::parse("/t").unwrap();
        (BundleKey { path, generation: Generation::new(1) }, ObjectName::parse(name).unwrap())
    }

    #[tokio::test]
    async fn what_many_want_is_read_once_and_what_is_not_there_too() {
        let originals = Originals::new();
        let reads = AtomicUsize::new(0);
        let counter = &reads;
        let of = |name: &'static str, content: Option<&'static str>| {
            originals.read_once(key(name), move || async move {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(content.map(str::to_owned))
            })
        };
        let (first, second) = tokio::join!(of("a.mpd", Some("text")), of("a.mpd", Some("text")));
        assert_eq!((first.unwrap().as_deref(), second.unwrap().as_deref()), (Some("text"), Some("text")));
        assert_eq!(of("a.mpd", None).await.unwrap().as_deref(), Some("text"));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        for _ in 0..3 {
            assert_eq!(of("b.mpd", None).await.unwrap(), None);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }
}
