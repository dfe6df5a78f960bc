//! Publishing: the only way into a volume. The order of its steps is what makes a crash at any instruction
//! harmless:
//!
//! 1. the file is made under `incoming/`, its lock is taken, and all of its space is reserved: a full disk
//!    says so here;
//! 2. data, footer and trailer are written, checksums and digests computed on the way;
//! 3. `fdatasync`, and the whole file is read back from the medium and compared with the checksums;
//! 4. `fsync` of the file;
//! 5. `rename` to its name under `bundles/`: the commit. A name that is taken already is not replaced;
//! 6. `fsync` of both directories. Only then may it be adopted.
//!
//! Whatever fails, the file is removed and the error returned; nothing is tried again, an `fsync` least of
//! all: after a failed one the kernel may have forgotten the pages that it could not write.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use aws_lc_rs::digest::{self, Context};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use control_client::content::{BundleKey, ObjectName, Sha256};
use control_client::units::ByteRange;

use crate::aligned::AlignedBuffer;
use crate::disk;
use crate::format::{
    CHUNK_BYTES, Contents, Footer, FormatError, ObjectEntry, align_up, decode_tail, encode_tail, place,
};
use crate::identity::BundleId;
use crate::inventory::BundleRecord;
use crate::limits::{BLOCK_BYTES, LAST_MODIFIED_MAX};
use crate::reconcile;
use crate::volume::Volume;

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

/// A bundle that was published, and can be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedBundle {
    /// The name of its file.
    pub id: BundleId,
    /// Path and generation, lengths and counts.
    pub record: BundleRecord,
}

/// Why a bundle was not published, sorted by who has to act. Nothing of it is left on the volume.
#[derive(Debug)]
pub enum PublishError {
    /// The caller: these objects cannot be one bundle.
    Contents(String),
    /// The source: an object has another length than was said.
    Length {
        /// Which object.
        name: ObjectName,
        /// What was said, in bytes.
        planned_bytes: u64,
    },
    /// The source: an object has another digest than was said.
    Digest {
        /// Which object.
        name: ObjectName,
        /// The digest of what was written.
        found: Sha256,
    },
    /// Nobody: a bundle with that path and generation is published already.
    Exists(BundleKey),
    /// The operator: the disk is full.
    Full {
        /// Bytes that the bundle needs.
        file_bytes: u64,
    },
    /// The operator: the disk gave back other bytes than were written.
    ReadBack(String),
    /// The operator: the disk failed.
    Io {
        /// What was being done.
        step: &'static str,
        /// What the operating system said.
        error: io::Error,
    },
}

/// A bundle being written. Dropped before [`BundleWriter::finish`], it leaves nothing behind.
pub struct BundleWriter {
    key: BundleKey,
    descriptor_digest: Sha256,
    planned: Vec<PlannedObject>,
    ranges: Vec<ByteRange>,
    data_bytes: u64,
    file: IncomingFile,
    block: AlignedBuffer,
    block_filled: usize,
    /// Where in the file the block starts.
    block_offset: u64,
    chunk_checksums: Vec<u32>,
    /// Digests of the objects that are complete.
    digests: Vec<Sha256>,
    digest: Context,
    object_written: u64,
}

/// A file under `incoming/`, with its lock; removed when dropped, unless it was renamed.
struct IncomingFile {
    volume: Arc<Volume>,
    file: OwnedFd,
    name: String,
    is_published: bool,
}

impl BundleWriter {
    /// Begins a bundle with these objects, in any order: their bytes are then given in the order of their
    /// names, see [`BundleWriter::objects`]. The descriptor's digest is zeroes where there is none.
    pub fn create(
        volume: &Arc<Volume>,
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
        // With digests and checksums that are not known yet, what will be written has the length of what is
        // encoded here.
        let tail = Self::contents(&key, descriptor_digest, &objects, &ranges, data_bytes, &[], Vec::new());
        let chunk_count = data_bytes.div_ceil(CHUNK_BYTES) as usize;
        let tail = encode_tail(&Contents { chunk_checksums: vec![0; chunk_count], ..tail })?;
        let file = IncomingFile::create(volume, &key)?;
        let file_bytes = data_bytes + tail.len() as u64;
        match file.reserve(file_bytes) {
            // What dead writers have left is room, too.
            Err(PublishError::Full { .. }) if reconcile::remove_abandoned(volume).removed > 0 => {
                file.reserve(file_bytes)?;
            }
            reserved => reserved?,
        }
        Ok(Self {
            key,
            descriptor_digest,
            planned: objects,
            ranges,
            data_bytes,
            file,
            block: AlignedBuffer::new(BLOCK_BYTES),
            block_filled: 0,
            block_offset: 0,
            chunk_checksums: Vec::with_capacity(chunk_count),
            digests: Vec::new(),
            digest: Context::new(&digest::SHA256),
            object_written: 0,
        })
    }

    /// The objects in the order in which their bytes are to be given.
    pub fn objects(&self) -> &[PlannedObject] {
        &self.planned
    }

    /// Writes the next bytes of the present object.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        let object = self.present()?;
        if bytes.len() as u64 > object.length - self.object_written {
            return Err(PublishError::Length { name: object.name.clone(), planned_bytes: object.length });
        }
        self.digest.update(bytes);
        self.object_written += bytes.len() as u64;
        self.fill(bytes)
    }

    /// Ends the present object, which has to be complete; the next one follows.
    pub fn end_object(&mut self) -> Result<Sha256, PublishError> {
        let object = self.present()?;
        let (name, length, expected) = (object.name.clone(), object.length, object.sha256);
        if self.object_written != length {
            return Err(PublishError::Length { name, planned_bytes: length });
        }
        let digest = std::mem::replace(&mut self.digest, Context::new(&digest::SHA256)).finish();
        let found = Sha256::new(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes"));
        if expected.is_some_and(|expected| expected != found) {
            return Err(PublishError::Digest { name, found });
        }
        self.digests.push(found);
        self.object_written = 0;
        let written = self.block_offset + self.block_filled as u64;
        self.fill(&[0; crate::format::ALIGNMENT as usize][..(align_up(written) - written) as usize])?;
        Ok(found)
    }

    /// Writes footer and trailer, verifies what the medium holds, and publishes.
    pub fn finish(mut self) -> Result<PublishedBundle, PublishError> {
        if self.digests.len() != self.planned.len() {
            let missing = &self.planned[self.digests.len()];
            return Err(PublishError::Length { name: missing.name.clone(), planned_bytes: missing.length });
        }
        self.flush()?;
        let checksums = std::mem::take(&mut self.chunk_checksums);
        let contents = Self::contents(
            &self.key,
            self.descriptor_digest,
            &self.planned,
            &self.ranges,
            self.data_bytes,
            &self.digests,
            checksums,
        );
        let tail = encode_tail(&contents)?;
        let mut aligned = AlignedBuffer::new(tail.len());
        aligned.bytes_mut().copy_from_slice(&tail);
        disk::write_all_at(self.file.file.as_fd(), aligned.bytes(), self.data_bytes)
            .map_err(failed("write"))?;
        disk::sync_data(self.file.file.as_fd()).map_err(failed("fdatasync"))?;
        self.read_back(&tail, aligned)?;
        disk::sync(self.file.file.as_fd()).map_err(failed("fsync"))?;
        let id = self.file.publish(&self.key)?;
        Ok(PublishedBundle {
            id,
            record: BundleRecord {
                key: self.key.clone(),
                file_bytes: self.data_bytes + tail.len() as u64,
                data_bytes: self.data_bytes,
                object_bytes: self.planned.iter().map(|object| object.length).sum(),
                object_count: self.planned.len() as u32,
            },
        })
    }

    fn present(&self) -> Result<&PlannedObject, PublishError> {
        let all_given = || PublishError::Contents("more objects were given than planned".to_owned());
        self.planned.get(self.digests.len()).ok_or_else(all_given)
    }

    fn contents(
        key: &BundleKey,
        descriptor_digest: Sha256,
        planned: &[PlannedObject],
        ranges: &[ByteRange],
        data_bytes: u64,
        digests: &[Sha256],
        chunk_checksums: Vec<u32>,
    ) -> Contents {
        let digests = digests.iter().copied().chain(std::iter::repeat(Sha256::new([0; 32])));
        let entries = planned.iter().zip(ranges).zip(digests).map(|((object, range), sha256)| ObjectEntry {
            name: object.name.clone(),
            media_type: object.media_type.clone(),
            range: *range,
            last_modified: object.last_modified.min(LAST_MODIFIED_MAX),
            sha256,
        });
        Contents {
            path: key.path.clone(),
            generation: key.generation,
            descriptor_digest,
            objects: entries.collect(),
            data_bytes,
            chunk_checksums,
        }
    }

    fn fill(&mut self, mut bytes: &[u8]) -> Result<(), PublishError> {
        while !bytes.is_empty() {
            let room = &mut self.block.bytes_mut()[self.block_filled..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.block_filled += now.len();
            bytes = later;
            if self.block_filled == BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes the block. It is full, or the last one, so that it starts with a chunk and its length is a
    /// multiple of 4 KiB.
    fn flush(&mut self) -> Result<(), PublishError> {
        let bytes = &self.block.bytes()[..self.block_filled];
        self.chunk_checksums.extend(bytes.chunks(CHUNK_BYTES as usize).map(crc32c::crc32c));
        disk::write_all_at(self.file.file.as_fd(), bytes, self.block_offset).map_err(failed("write"))?;
        self.block_offset += self.block_filled as u64;
        self.block_filled = 0;
        Ok(())
    }

    /// Reads the file from the medium, past the page cache, and compares all of it.
    fn read_back(&mut self, tail: &[u8], mut tail_block: AlignedBuffer) -> Result<(), PublishError> {
        disk::drop_cached(self.file.file.as_fd());
        let file = self.file.reopen().map_err(failed("open"))?;
        let read_failed = failed("read back");
        tail_block.bytes_mut().fill(0);
        disk::read_exact_at(file.as_fd(), tail_block.bytes_mut(), self.data_bytes).map_err(read_failed)?;
        if tail_block.bytes() != tail {
            return Err(PublishError::ReadBack("footer and trailer differ".to_owned()));
        }
        let file_bytes = self.data_bytes + tail.len() as u64;
        let (_, footer) = decode_tail(tail_block.bytes(), file_bytes)?;
        self.read_back_data(&file, &footer)
    }

    fn read_back_data(&mut self, file: &OwnedFd, footer: &Footer) -> Result<(), PublishError> {
        let mut offset = 0;
        while offset < self.data_bytes {
            let length = (self.data_bytes - offset).min(BLOCK_BYTES as u64) as usize;
            let block = &mut self.block.bytes_mut()[..length];
            disk::read_exact_at(file.as_fd(), block, offset).map_err(failed("read back"))?;
            footer
                .verify(offset / CHUNK_BYTES, block)
                .map_err(|corrupt| PublishError::ReadBack(corrupt.to_string()))?;
            offset += length as u64;
        }
        Ok(())
    }
}

impl IncomingFile {
    fn create(volume: &Arc<Volume>, key: &BundleKey) -> Result<Self, PublishError> {
        let incoming = volume.directory("incoming").map_err(failed("open incoming/"))?;
        let id = BundleId::of(key);
        loop {
            let name = format!("{id}-{:016x}.incoming", random_number());
            let file = match disk::create_file(incoming.as_fd(), &name, volume.access()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(failed("create"))?,
            };
            // A reconciliation removes files whose lock is free: it may have come between the last line and
            // the next.
            let is_locked = disk::try_lock(file.as_fd()).map_err(failed("lock"))?;
            let has_name = disk::named_file_bytes(incoming.as_fd(), &name).map_err(failed("lock"))?.is_some();
            if is_locked && has_name {
                return Ok(Self { volume: Arc::clone(volume), file, name, is_published: false });
            }
        }
    }

    fn reserve(&self, file_bytes: u64) -> Result<(), PublishError> {
        // Asked first: some file systems reserve all that they have before they say that it is not enough, and until
        // it is given back nobody can write.
        let space = self.volume.space().map_err(failed("statvfs"))?;
        if space.free_bytes < file_bytes {
            return Err(PublishError::Full { file_bytes });
        }
        disk::reserve(self.file.as_fd(), file_bytes).map_err(|error| match failed("reserve")(error) {
            PublishError::Full { .. } => PublishError::Full { file_bytes },
            other => other,
        })
    }

    fn reopen(&self) -> io::Result<OwnedFd> {
        let incoming = self.volume.directory("incoming")?;
        disk::open_file(incoming.as_fd(), &self.name, self.volume.access())
    }

    fn publish(&mut self, key: &BundleKey) -> Result<BundleId, PublishError> {
        let id = BundleId::of(key);
        let incoming = self.volume.directory("incoming").map_err(failed("open incoming/"))?;
        let bundles = self.volume.bundle_directory(id.path_hash[0]).map_err(failed("open bundles/"))?;
        if !disk::rename_new(incoming.as_fd(), &self.name, bundles.as_fd(), &id.file_name())
            .map_err(failed("rename"))?
        {
            return Err(PublishError::Exists(key.clone()));
        }
        self.is_published = true;
        let synced = disk::sync(bundles.as_fd()).and_then(|()| disk::sync(incoming.as_fd()));
        if let Err(error) = synced {
            // The name may vanish with the power: nobody may rely on it.
            let _ = disk::remove_file(bundles.as_fd(), &id.file_name());
            return Err(failed("fsync of the directory")(error));
        }
        Ok(id)
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if !self.is_published {
            // What cannot be removed now is removed by the next reconciliation.
            let incoming = self.volume.directory("incoming");
            let _ = incoming.and_then(|incoming| disk::remove_file(incoming.as_fd(), &self.name));
        }
    }
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> PublishError {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PublishError::Full { file_bytes: 0 },
        _ => PublishError::Io { step, error },
    }
}

fn random_number() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes to every process");
    u64::from_le_bytes(bytes)
}

impl From<FormatError> for PublishError {
    fn from(error: FormatError) -> Self {
        Self::Contents(error.to_string())
    }
}

impl fmt::Debug for BundleWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BundleWriter({}, {})", self.key, self.file.name)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contents(what) => formatter.write_str(what),
            Self::Length { name, planned_bytes } => {
                write!(
                    formatter,
                    "{name}: not the {planned_bytes} bytes that were announced; it changed meanwhile?"
                )
            }
            Self::Digest { name, found } => {
                write!(formatter, "{name}: its SHA-256 is {found}, not the one announced; fetch it again")
            }
            Self::Exists(key) => write!(formatter, "{key} is published on this volume already"),
            Self::Full { file_bytes: 0 } => write!(formatter, "the volume is full; retire something first"),
            Self::Full { file_bytes } => {
                write!(formatter, "the volume has no room for {file_bytes} bytes; retire something first")
            }
            Self::ReadBack(what) => {
                write!(formatter, "the disk gives back other bytes than were written; replace it: {what}")
            }
            Self::Io { step, error } => write!(formatter, "{step}: {error}"),
        }
    }
}

impl std::error::Error for PublishError {}
