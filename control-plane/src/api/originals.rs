//! Titles' media manifests as they were published: from memory, or from the database.

use std::sync::Arc;

use control_client::content::{BundleKey, ObjectName};
use moka::sync::Cache;

use crate::catalogue;
use crate::database::{Database, DatabaseError};
use crate::limits::ORIGINALS_BYTES_MAX;

/// What an entry takes beside its content: keys and bookkeeping.
const ENTRY_BYTES: usize = 512;

/// Media manifests that players have asked for. None is ever changed, so none grows old.
pub(super) struct Originals(Cache<(BundleKey, ObjectName), Arc<str>>);

impl Originals {
    pub(super) fn new() -> Self {
        let weigh = |_: &(BundleKey, ObjectName), content: &Arc<str>| {
            u32::try_from(content.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(ORIGINALS_BYTES_MAX).weigher(weigh).build())
    }

    /// The media manifest of a bundle; none where it was published with none of that name.
    pub(super) async fn of(
        &self,
        database: &Database,
        bundle: &BundleKey,
        name: &ObjectName,
    ) -> Result<Option<Arc<str>>, DatabaseError> {
        let key = (bundle.clone(), name.clone());
        if let Some(known) = self.0.get(&key) {
            return Ok(Some(known));
        }
        let content: Option<Arc<str>> =
            catalogue::media_manifest(database, bundle, name).await?.map(Into::into);
        if let Some(content) = &content {
            self.0.insert(key, Arc::clone(content));
        }
        Ok(content)
    }
}
