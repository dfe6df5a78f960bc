//! Bundles that are written in any order of their objects, over more than one run of a process if need be.
//!
//! The fill agent opens one for each bundle that it fetches, and writes every object at its place ([`Layout::range`])
//! as it comes. Killed, it opens the same file again and hashes what is in it: an object whose digest is right
//! is whole, whatever came before. When all are, it reads the whole data region back from the medium, compares it with what it
//! has hashed, and publishes.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use control_client::content::Sha256;

use crate::disk;
use crate::identity::BundleId;
use crate::incoming::{IncomingFile, Opened, PartialName, descriptor_prefix, partial_files, remove_unlocked};
use crate::layout::Layout;
use crate::publish::{PublishError, PublishedBundle, ReadBack, check_isolation, failed, publish};
use crate::volume::Volume;

/// A bundle that is being written: a file in its final layout, with all of its space, and its lock. Dropped, it stays
/// for the next attempt.
pub struct IncomingBundle {
    layout: Layout,
    file: IncomingFile,
}

/// A bundle that was begun and is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialBundle {
    /// Which bundle.
    pub id: BundleId,
    /// The first 8 bytes of the SHA-256 of its descriptor.
    pub descriptor: [u8; 8],
    /// Bytes of its file, which is as long as the bundle will be.
    pub bytes: u64,
    /// When it was last written, in seconds since 1970.
    pub modified: u64,
}

impl IncomingBundle {
    /// Opens the file that was begun for this layout, or makes it. Blocks for the disk, and for up to a second where
    /// another process has it.
    ///
    /// Resumed is a file of the same key, descriptor and length. One of another descriptor of the same key is
    /// removed, unless another process writes it. Refused: a layout without a descriptor (nothing would say
    /// what a file begun earlier is of), a bundle that is published already, a volume that is isolated or
    /// full.
    pub fn open(volume: &Arc<Volume>, layout: Layout) -> Result<(Self, Opened), PublishError> {
        if layout.descriptor_digest().bytes() == &[0; 32] {
            return Err(PublishError::Contents(
                "a bundle without a descriptor cannot be written in parts".to_owned(),
            ));
        }
        check_isolation(volume)?;
        let id = BundleId::of(layout.key());
        if disk::named_facts(volume.root(), &id.file_path()).map_err(failed("open bundles/"))?.is_some() {
            // Only room is lost where it stays.
            let _ = remove_partial(volume, &id);
            return Err(PublishError::Exists(layout.key().clone()));
        }
        let (file, opened) = IncomingFile::resume(volume, &layout)?;
        Ok((Self { layout, file }, opened))
    }

    /// Where its objects lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The file, for reading and writing its data region. Where the volume takes it, it is open for direct access:
    /// addresses, offsets and lengths are multiples of 4 KiB. What follows an object up to its last multiple of 4 KiB
    /// has to be zeroes. A duplicate of the descriptor holds the lock, too.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether the file is read and written past the page cache.
    pub fn is_direct(&self) -> bool {
        self.file.volume().is_direct()
    }

    /// Has the medium hold what was written, and the page cache forget it: what is read next is what the medium holds.
    /// To be called before the data is read back. Blocks. Where it fails, the file goes when this is dropped, and
    /// nothing may be published.
    pub fn sync(&self) -> Result<(), PublishError> {
        let synced = disk::sync_data(self.file.as_fd()).map_err(failed("fdatasync"));
        match synced {
            Ok(()) => disk::drop_cached(self.file.as_fd()),
            Err(_) => self.file.remove_when_dropped(),
        }
        synced
    }

    /// Publishes it. All objects have been written, synced and read back: the digests, in the order of
    /// [`Layout::objects`], and the checksums ([`crate::ChunkChecksums`]) are of what was read.
    /// Blocks, for several syncs of the disk.
    ///
    /// Where digests or checksums cannot be right ([`PublishError::Contents`], [`PublishError::Digest`]) or the volume
    /// is isolated by now, the file stays, and the next attempt finds out what is wrong with it. After every other error
    /// it is gone: what the disk holds is not known.
    pub fn publish(
        self,
        digests: Vec<Sha256>,
        chunk_checksums: Vec<u32>,
    ) -> Result<PublishedBundle, PublishError> {
        if self.file.is_temporary() {
            let error = io::Error::other("a sync has failed before; what the disk holds is not known");
            return Err(PublishError::Io { step: "publish", error });
        }
        publish(self.file, &self.layout, &digests, chunk_checksums, ReadBack::Sample)
    }

    /// Removes it.
    pub fn discard(self) {
        self.file.remove_when_dropped();
    }
}

impl PartialBundle {
    /// Whether it was begun for the descriptor of that digest.
    pub fn is_of(&self, descriptor_digest: &Sha256) -> bool {
        self.descriptor == descriptor_prefix(descriptor_digest)
    }

    /// Its file, from the volume's root.
    pub fn file_path(&self) -> String {
        let name = PartialName { id: self.id, descriptor: self.descriptor };
        format!("incoming/{}", name.file_name())
    }
}

/// The bundles of a volume that were begun and are not published, sorted by name, those that are being written among
/// them.
pub fn partial_bundles(volume: &Volume) -> io::Result<Vec<PartialBundle>> {
    let incoming = volume.directory("incoming")?;
    let files = partial_files(incoming.as_fd())?;
    let mut partial: Vec<_> = files
        .into_iter()
        .map(|(name, facts)| PartialBundle {
            id: name.id,
            descriptor: name.descriptor,
            bytes: facts.bytes,
            modified: u64::try_from(facts.written / 1_000_000_000).unwrap_or(0),
        })
        .collect();
    partial.sort_unstable_by_key(|partial| (partial.id, partial.descriptor));
    Ok(partial)
}

/// Removes what was begun of a bundle. `false` where there is nothing, or another process writes it.
pub fn remove_partial(volume: &Volume, id: &BundleId) -> io::Result<bool> {
    let incoming = volume.directory("incoming")?;
    let mut is_removed = false;
    for (name, _) in partial_files(incoming.as_fd())? {
        if name.id == *id {
            is_removed |= remove_unlocked(incoming.as_fd(), &name.file_name(), |_| true)?;
        }
    }
    Ok(is_removed)
}

impl fmt::Debug for IncomingBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IncomingBundle({}, {})", self.layout.key(), self.file.name())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use control_client::content::{BundleKey, BundlePath, Generation, ObjectName};

    use super::*;
    use crate::layout::PlannedObject;

    /// A bundle of one empty object, on a disk that takes every write and cannot sync: `/dev/null`.
    fn failing(directory: &tempfile::TempDir) -> (Arc<Volume>, IncomingBundle) {
        let path = directory.path().join("volume");
        Volume::init(&path).unwrap();
        let volume = Arc::new(Volume::open(&path, false).unwrap());
        let key = BundleKey { path: BundlePath::parse("/a").unwrap(), generation: Generation::new(1) };
        let object = PlannedObject {
            name: ObjectName::parse("1.m4s").unwrap(),
            length: 0,
            media_type: "video/mp4".into(),
            last_modified: 0,
            sha256: None,
        };
        let layout = Layout::new(key, Sha256::new([1; 32]), vec![object]).unwrap();
        let (mut incoming, _) = IncomingBundle::open(&volume, layout).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        incoming.file.replace_file(null.into());
        (volume, incoming)
    }

    #[test]
    fn a_sync_that_fails_while_publishing_discards_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (volume, incoming) = failing(&directory);
        assert_eq!(partial_bundles(&volume).unwrap().len(), 1);
        let refused = incoming.publish(vec![Sha256::new([0; 32])], Vec::new()).unwrap_err();
        assert!(matches!(refused, PublishError::Io { step: "fdatasync", .. }), "{refused}");
        assert_eq!(partial_bundles(&volume).unwrap(), []);
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_published_and_the_file_is_discarded() {
        let directory = tempfile::tempdir().unwrap();
        let (volume, incoming) = failing(&directory);
        assert!(matches!(incoming.sync(), Err(PublishError::Io { step: "fdatasync", .. })));
        assert_eq!(partial_bundles(&volume).unwrap().len(), 1);
        let refused = incoming.publish(vec![Sha256::new([0; 32])], Vec::new()).unwrap_err();
        assert!(matches!(refused, PublishError::Io { step: "publish", .. }), "{refused}");
        assert_eq!(partial_bundles(&volume).unwrap(), []);
    }
}
