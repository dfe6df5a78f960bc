//! Where every object of a bundle lies. Pure: it follows from the objects' names and lengths alone, so that they can be
//! written in any order, and a file that was begun before a restart is the file that is gone on with.

use control_client::content::{BundleKey, ObjectName, Sha256};
use control_client::units::ByteRange;

use crate::format::{self, ALIGNMENT, CHUNK_BYTES, Contents, ObjectEntry, encode_tail, place};
use crate::inventory::BundleRecord;
use crate::limits::LAST_MODIFIED_MAX;
use crate::publish::PublishError;

/// What is known of an object before its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedObject {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub length: u64,
    /// Its media type: printable ASCII, at most 255 bytes.
    pub media_type: Box<str>,
    /// When it was last modified, in seconds since 1970.
    pub last_modified: u64,
    /// What its digest has to be, where that is known.
    pub sha256: Option<Sha256>,
}

/// The file of a bundle as far as it is known before its bytes are: which objects, where, and how long it will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    key: BundleKey,
    descriptor_digest: Sha256,
    objects: Vec<PlannedObject>,
    ranges: Vec<ByteRange>,
    data_bytes: u64,
    file_bytes: u64,
}

impl Layout {
    /// Of a bundle with these objects, given in any order. The descriptor's digest is zeroes where there is none.
    /// Refused ([`PublishError::Contents`]) where they cannot be one bundle: none, too many, one name twice, too long.
    pub fn new(
        key: BundleKey,
        descriptor_digest: Sha256,
        mut objects: Vec<PlannedObject>,
    ) -> Result<Self, PublishError> {
        objects.sort_by(|one, other| one.name.as_str().as_bytes().cmp(other.name.as_str().as_bytes()));
        if let Some(pair) = objects.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(PublishError::Contents(format!("two objects are called {}", pair[0].name)));
        }
        let (ranges, data_bytes) = place(objects.iter().map(|object| object.length))
            .ok_or_else(|| PublishError::Contents("larger than a bundle may be; divide it".to_owned()))?;
        let mut layout = Self { key, descriptor_digest, objects, ranges, data_bytes, file_bytes: 0 };
        // With digests and checksums that are not known yet, what will be written has the length of what is encoded
        // here.
        let tail = layout.tail(&[], vec![0; layout.chunk_count()])?;
        layout.file_bytes = data_bytes + tail.len() as u64;
        Ok(layout)
    }

    /// Bytes of the file of any bundle with that many objects of so many bytes in all: never less than
    /// [`Layout::file_bytes`] will be, and for objects of 1 MiB less than a hundredth more.
    pub fn file_bytes_bound(objects: u64, bytes: u64) -> u64 {
        let padding = objects.saturating_mul(ALIGNMENT - 1);
        let data_bytes = bytes.saturating_add(padding);
        let tail_bytes = format::tail_bytes_bound(objects, data_bytes.div_ceil(CHUNK_BYTES));
        data_bytes.saturating_add(tail_bytes).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
    }

    /// Which bundle.
    pub fn key(&self) -> &BundleKey {
        &self.key
    }

    /// The digest of the descriptor that it follows from; zeroes where there is none.
    pub fn descriptor_digest(&self) -> Sha256 {
        self.descriptor_digest
    }

    /// The objects, sorted by name.
    pub fn objects(&self) -> &[PlannedObject] {
        &self.objects
    }

    /// Where in the file the object with that place in [`Layout::objects`] lies; panics where there is none, as a slice
    /// does. Its start is a multiple of 4 KiB, and from its end to the next one the file holds zeroes.
    pub fn range(&self, index: usize) -> ByteRange {
        self.ranges[index]
    }

    /// Bytes of the data region, a multiple of 4 KiB: all objects with the zeroes after them.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Bytes of the whole file, a multiple of 4 KiB.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// How many checksums the data region has: one for each 64 KiB, the last of which may be short.
    pub fn chunk_count(&self) -> usize {
        self.data_bytes.div_ceil(CHUNK_BYTES) as usize
    }

    /// The bytes that follow the data region. Digests that are missing are taken as zeroes.
    pub(crate) fn tail(
        &self,
        digests: &[Sha256],
        chunk_checksums: Vec<u32>,
    ) -> Result<Vec<u8>, PublishError> {
        let digests = digests.iter().copied().chain(std::iter::repeat(Sha256::new([0; 32])));
        let objects = self.objects.iter().zip(&self.ranges).zip(digests);
        let objects = objects.map(|((object, range), sha256)| ObjectEntry {
            name: object.name.clone(),
            media_type: object.media_type.clone(),
            range: *range,
            last_modified: object.last_modified.min(LAST_MODIFIED_MAX),
            sha256,
        });
        let contents = Contents {
            path: self.key.path.clone(),
            generation: self.key.generation,
            descriptor_digest: self.descriptor_digest,
            objects: objects.collect(),
            data_bytes: self.data_bytes,
            chunk_checksums,
        };
        Ok(encode_tail(&contents)?)
    }

    /// What the inventory will say of it.
    pub(crate) fn record(&self) -> BundleRecord {
        BundleRecord {
            key: self.key.clone(),
            file_bytes: self.file_bytes,
            data_bytes: self.data_bytes,
            object_bytes: self.objects.iter().map(|object| object.length).sum(),
            object_count: self.objects.len() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};
    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> BundleKey {
        BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1) }
    }

    fn planned(name: &str, length: u64, media_type: &str) -> PlannedObject {
        PlannedObject {
            name: ObjectName::parse(name).unwrap(),
            length,
            media_type: media_type.into(),
            last_modified: u64::MAX,
            sha256: None,
        }
    }

    proptest! {
        #[test]
        fn a_layout_follows_from_the_objects_in_whatever_order_and_its_bound_holds(
            objects in prop::collection::btree_map("[a-z]{1,40}", (0..3_000_000_u64, "[ -~]{1,255}"), 1..60),
            path in "(/[a-z]{1,60}){1,16}",
            turn in 0..60_usize,
        ) {
            let mut planned: Vec<_> =
                objects.iter().map(|(name, (length, media_type))| planned(name, *length, media_type)).collect();
            let layout = Layout::new(key(&path), Sha256::new([1; 32]), planned.clone()).unwrap();
            let length = planned.len();
            planned.rotate_left(turn % length);
            prop_assert_eq!(&Layout::new(key(&path), Sha256::new([1; 32]), planned).unwrap(), &layout);
            let mut end = 0;
            for (index, object) in layout.objects().iter().enumerate() {
                let range = layout.range(index);
                prop_assert!(range.start.is_multiple_of(ALIGNMENT) && range.start - end < ALIGNMENT);
                prop_assert_eq!(range.len(), object.length);
                end = range.end;
            }
            prop_assert!(layout.data_bytes() >= end && layout.data_bytes() - end < ALIGNMENT);
            let tail = layout.tail(&[], vec![1; layout.chunk_count()]).unwrap();
            prop_assert_eq!(layout.file_bytes(), layout.data_bytes() + tail.len() as u64);
            let record = layout.record();
            let bound = Layout::file_bytes_bound(record.object_count.into(), record.object_bytes);
            prop_assert!(bound >= layout.file_bytes(), "{} < {}", bound, layout.file_bytes());
        }
    }

    #[test]
    fn the_bound_of_a_bundle_of_segments_is_near_and_nothing_overflows() {
        let objects: Vec<_> =
            (0..2000).map(|number| planned(&format!("{number}.m4s"), 1 << 20, "video/mp4")).collect();
        let layout = Layout::new(key("/a"), Sha256::new([1; 32]), objects).unwrap();
        let bound = Layout::file_bytes_bound(2000, 2000 << 20);
        assert!((layout.file_bytes()..layout.file_bytes() / 100 * 101).contains(&bound));
        assert_eq!(Layout::file_bytes_bound(u64::MAX, u64::MAX), u64::MAX);
        assert!(Layout::file_bytes_bound(0, 0).is_multiple_of(ALIGNMENT));
    }

    #[test]
    fn what_cannot_be_one_bundle_is_refused() {
        let refused =
            |objects| Layout::new(key("/a"), Sha256::new([1; 32]), objects).unwrap_err().to_string();
        let one = |length| planned("1", length, "video/mp4");
        assert!(refused(vec![one(1), one(2)]).contains("two objects are called 1"));
        assert!(refused(vec![one(u64::MAX)]).contains("larger than a bundle may be"));
        assert!(refused(Vec::new()).contains("at least one object"));
        assert!(refused(vec![planned("1", 1, "line\nbreak")]).contains("not printable"));
    }
}
