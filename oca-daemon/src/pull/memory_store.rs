//! Pulled content in memory: playlists, what is fresh for seconds, what is absent, and what no disk takes, of each no more than a block;
//! and copies of what is small, which would cost a disk two reads each time.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use moka::sync::Cache;

use super::PurgeSelector;
use super::caching::StoredHead;
use super::demand_store::DiskEntry;
use crate::limits::MEMORY_VARIANTS_MAX;

/// Objects in memory, bounded in bytes; what is asked for most stays (W-TinyLFU).
pub(super) struct MemoryStore {
    /// By primary key: the variants of one object, the newest first.
    objects: Cache<Arc<str>, Arc<[MemoryObject]>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct MemoryObject {
    /// Its head.
    pub head: Arc<StoredHead>,
    /// All of its body.
    pub body: Bytes,
    /// Where it was stored on disk, too, if it was.
    pub entry: Option<DiskEntry>,
}

/// What an object takes beside its key, fields and body.
const OBJECT_OVERHEAD_BYTES: usize = 512;

impl MemoryStore {
    /// For so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let weigh = |key: &Arc<str>, variants: &Arc<[MemoryObject]>| {
            let bytes: usize = variants.iter().map(MemoryObject::bytes).sum();
            u32::try_from((key.len() + bytes).div_ceil(1024)).unwrap_or(u32::MAX)
        };
        Self { objects: Cache::builder().max_capacity(bytes / 1024).weigher(weigh).build() }
    }

    /// The variants of a key.
    pub(super) fn get(&self, key: &str) -> Option<Arc<[MemoryObject]>> {
        self.objects.get(key)
    }

    /// The object with that body under that key, for the requests that `head` answers.
    pub(super) fn find(&self, key: &str, head: &StoredHead, body: &Bytes) -> Option<MemoryObject> {
        let is_it = |held: &&MemoryObject| held.head.selecting == head.selecting && held.body == *body;
        self.get(key)?.iter().find(is_it).cloned()
    }

    /// Keeps a copy of an object in place of the one that answers the same requests.
    pub(super) fn insert(&self, key: &Arc<str>, object: MemoryObject) {
        let object = object.copied();
        self.objects.entry(Arc::clone(key)).and_upsert_with(|held| {
            let head = Arc::clone(&object.head);
            let others = held.iter().flat_map(|held| held.value().iter());
            let others = others.filter(|other| other.head.selecting != head.selecting).cloned();
            std::iter::once(object).chain(others).take(MEMORY_VARIANTS_MAX).collect()
        });
    }

    /// Lets go of what is selected; says how many objects that were that are on no disk.
    pub(super) fn purge(&self, selectors: &[PurgeSelector]) -> u64 {
        // The usual one names its key: others are looked for among all.
        if let [PurgeSelector::Exact(key)] = selectors {
            return self.remove(key);
        }
        let keys = self.objects.iter().map(|(key, _)| key);
        let meant: Vec<_> = keys.filter(|key| selectors.iter().any(|selector| selector.means(key))).collect();
        meant.iter().map(|key| self.remove(key)).sum()
    }

    /// Lets go of what it holds under a key; says how many objects that were that are on no disk.
    pub(super) fn remove(&self, key: &str) -> u64 {
        let held = self.objects.remove(key);
        held.iter().flat_map(|held| held.iter()).filter(|object| object.entry.is_none()).count() as u64
    }

    /// How many keys it holds; a moment old.
    pub(super) fn len(&self) -> u64 {
        self.objects.entry_count()
    }

    /// Bytes that it holds, as they were weighed; a moment old.
    pub(super) fn bytes(&self) -> u64 {
        self.objects.weighted_size() * 1024
    }
}

impl MemoryObject {
    /// With bytes of its own: those that arrive are parts of the buffers they were read into, and would keep all of these.
    fn copied(&self) -> Self {
        let mut fields = HeaderMap::with_capacity(self.head.fields.len());
        for (name, value) in &self.head.fields {
            // Valid, as it was before.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                fields.append(name, value);
            }
        }
        let head = StoredHead { fields, ..StoredHead::clone(&self.head) };
        Self { head: Arc::new(head), body: Bytes::copy_from_slice(&self.body), entry: self.entry }
    }

    fn bytes(&self) -> usize {
        let fields = self.head.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        self.body.len() + fields.sum::<usize>() + OBJECT_OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::caching::Selecting;
    use cache_store::Volume;
    use cache_store::demand::{DemandLimits, DemandLog, NewEntry};
    use cache_store::limits::DEMAND_CAPACITY_BYTES_MIN;
    use http::StatusCode;
    use std::time::SystemTime;

    fn object(language: &'static str, body: &'static str) -> MemoryObject {
        let request = HeaderMap::from_iter([(http::header::ACCEPT_LANGUAGE, language.parse().unwrap())]);
        let response = HeaderMap::from_iter([(http::header::VARY, "accept-language".parse().unwrap())]);
        let head = StoredHead {
            status: StatusCode::OK,
            is_to_credentials: false,
            fields: HeaderMap::new(),
            selecting: Selecting::of(&request, &response).unwrap(),
            request_time: SystemTime::UNIX_EPOCH,
            response_time: SystemTime::UNIX_EPOCH,
            total_length: Some(body.len() as u64),
        };
        MemoryObject { head: Arc::new(head), body: Bytes::from_static(body.as_bytes()), entry: None }
    }

    /// An entry of a log on a real disk: nobody else makes them.
    fn on_disk() -> DiskEntry {
        let folder = tempfile::tempdir().unwrap();
        Volume::init(folder.path()).unwrap();
        let volume = Volume::open(folder.path(), false).unwrap();
        let limits = DemandLimits { capacity_bytes: DEMAND_CAPACITY_BYTES_MIN, index_bytes_max: 1 << 20 };
        let (log, _) = DemandLog::open(&volume, limits).unwrap();
        let entry = NewEntry { key: b"/a", secondary: b"de", metadata: b"head", total_bytes: Some(1) };
        DiskEntry { volume: 0, id: log.append_head(&entry, log.mark()).unwrap() }
    }

    fn bodies(store: &MemoryStore, key: &str) -> Vec<Bytes> {
        store.get(key).iter().flat_map(|held| held.iter()).map(|object| object.body.clone()).collect()
    }

    #[test]
    fn a_variant_replaces_the_one_that_answers_the_same_requests_and_no_other() {
        let store = MemoryStore::new(1 << 20);
        let key: Arc<str> = "/a".into();
        store.insert(&key, object("de", "eins"));
        store.insert(&key, object("en", "one"));
        store.insert(&key, object("de", "zwei"));
        assert_eq!(bodies(&store, "/a"), ["zwei", "one"]);
    }

    #[test]
    fn variants_of_one_key_are_bounded() {
        let store = MemoryStore::new(1 << 20);
        for language in
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"]
        {
            store.insert(&"/a".into(), object(language, "x"));
        }
        assert_eq!(bodies(&store, "/a").len(), MEMORY_VARIANTS_MAX);
    }

    #[test]
    fn what_is_purged_is_gone_and_nothing_else() {
        let store = MemoryStore::new(1 << 20);
        for key in ["/a/1", "/a/%21?x", "/a!", "/a%21?y", "/b"] {
            store.insert(&key.into(), object("en", "x"));
        }
        assert_eq!(store.purge(&[PurgeSelector::Exact("/b".to_owned())]), 1);
        assert_eq!(store.purge(&[PurgeSelector::Exact("/b".to_owned())]), 0);
        assert_eq!(store.purge(&[PurgeSelector::Path("/a!".to_owned())]), 2, "however it is escaped");
        let below = [PurgeSelector::Path("/a".to_owned()), PurgeSelector::Prefix("/a/!".to_owned())];
        assert_eq!(store.purge(&below), 1);
        assert!(bodies(&store, "/a/%21?x").is_empty() && !bodies(&store, "/a/1").is_empty());
    }

    #[test]
    fn what_is_on_disk_too_is_let_go_of_and_counted_there() {
        let store = MemoryStore::new(1 << 20);
        store.insert(&"/a".into(), MemoryObject { entry: Some(on_disk()), ..object("de", "x") });
        store.insert(&"/a".into(), object("en", "x"));
        assert_eq!(store.purge(&[PurgeSelector::Prefix("/".to_owned())]), 1);
        assert!(bodies(&store, "/a").is_empty());
    }

    #[test]
    fn what_is_kept_keeps_no_buffer_that_it_was_read_into() {
        let buffer = Bytes::from(vec![b'x'; 64 << 10]);
        let within = |bytes: &[u8]| buffer.as_ptr_range().contains(&bytes.as_ptr());
        let value = HeaderValue::from_maybe_shared(buffer.slice(10..20)).unwrap();
        let mut head = StoredHead::clone(&object("en", "").head);
        head.fields = HeaderMap::from_iter([(http::header::ETAG, value)]);
        let object = MemoryObject { head: Arc::new(head), body: buffer.slice(100..200), entry: None };
        assert!(within(&object.body) && within(object.head.fields["etag"].as_bytes()));

        let store = MemoryStore::new(1 << 20);
        store.insert(&"/a".into(), object.clone());
        let kept = &store.get("/a").unwrap()[0];
        assert_eq!((&kept.head, &kept.body), (&object.head, &object.body));
        assert!(!within(&kept.body) && !within(kept.head.fields["etag"].as_bytes()));
    }
}
