//! `incoming/`: the files of bundles that are being written. Whoever writes one holds its lock (flock); what nobody
//! holds is left over from a writer that died.
//!
//! | name | whose | when its writer has gone |
//! |---|---|---|
//! | `<bundle id>-<16 random digits>.incoming` | a [`BundleWriter`](crate::BundleWriter)'s, in one go | abandoned |
//! | `<bundle id>-<16 digits of the descriptor's SHA-256>.partial` | an [`IncomingBundle`](crate::IncomingBundle)'s | kept for [`PARTIAL_AGE_MAX`](crate::limits::PARTIAL_AGE_MAX) after its last write |
//!
//! There is no header in a partial file before it is published, so its name and its length say what it is: the
//! bundle's id (path and generation), the first 16 digits of the SHA-256 of the descriptor (which objects), and the
//! length that follows from the two. That is a claim, as every name is: whoever goes on with the file
//! hashes the objects in it and believes nothing else. So there is no journal of what has arrived, either.
//! Several partial files of one bundle id are of several descriptors; opening one removes the others.

mod abandoned;
mod partial_name;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use control_client::content::BundleKey;

pub(crate) use abandoned::{Cleared, remove_abandoned};
pub(crate) use partial_name::{PartialName, descriptor_prefix, partial_files};

use crate::disk::{self, Access, FileFacts};
use crate::identity::BundleId;
use crate::layout::Layout;
use crate::limits::{PARTIAL_LOCK_INTERVAL, PARTIAL_LOCK_TIMEOUT};
use crate::publish::{PublishError, failed};
use crate::volume::Volume;

const DIRECTORY: &str = "incoming";

/// A file under `incoming/`, with its lock.
pub(crate) struct IncomingFile {
    volume: Arc<Volume>,
    file: OwnedFd,
    name: String,
    /// Whether it goes when it is dropped, or waits for the next attempt.
    is_temporary: AtomicBool,
}

/// Whether a partial file was there to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It was made, and reads as zeroes.
    New,
    /// It was there: some objects may be whole.
    Resumed,
}

impl IncomingFile {
    /// Makes a file for a bundle that is written in one go, with all of its space; it goes when it is dropped.
    pub(crate) fn create(volume: &Arc<Volume>, layout: &Layout) -> Result<Self, PublishError> {
        let incoming = open_directory(volume)?;
        let id = BundleId::of(layout.key());
        loop {
            let name = format!("{id}-{:016x}.incoming", random_number());
            if let Some(file) = Self::create_locked(volume, incoming.as_fd(), &name)? {
                file.reserve(layout.file_bytes())?;
                return Ok(file);
            }
        }
    }

    /// Opens the partial file of a bundle, or makes one, with all of its space; it stays when it is dropped.
    pub(crate) fn resume(volume: &Arc<Volume>, layout: &Layout) -> Result<(Self, Opened), PublishError> {
        let incoming = open_directory(volume)?;
        let wanted = PartialName::of(layout);
        for (name, _) in partial_files(incoming.as_fd()).map_err(failed("list incoming/"))? {
            if name.id == wanted.id && name != wanted {
                remove_unlocked(incoming.as_fd(), &name.file_name(), |_| true).map_err(failed("remove"))?;
            }
        }
        let name = wanted.file_name();
        let deadline = Instant::now() + PARTIAL_LOCK_TIMEOUT;
        loop {
            if let Some(file) = Self::open_locked(volume, incoming.as_fd(), &name, layout.file_bytes())? {
                file.is_temporary.store(false, Ordering::Relaxed);
                return Ok((file, Opened::Resumed));
            }
            if let Some(file) = Self::create_locked(volume, incoming.as_fd(), &name)? {
                file.reserve(layout.file_bytes())?;
                file.is_temporary.store(false, Ordering::Relaxed);
                return Ok((file, Opened::New));
            }
            // Another agent has it; or a reconciliation, which holds a lock for no longer than a removal takes.
            if Instant::now() >= deadline {
                return Err(PublishError::InUse(layout.key().clone()));
            }
            thread::sleep(PARTIAL_LOCK_INTERVAL);
        }
    }

    /// Opens the file of that name where it can be gone on with, and removes it where it cannot. `None` where there is
    /// none, or another process holds it.
    fn open_locked(
        volume: &Arc<Volume>,
        incoming: BorrowedFd<'_>,
        name: &str,
        file_bytes: u64,
    ) -> Result<Option<Self>, PublishError> {
        let file = match disk::open_to_write(incoming, name, volume.access()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Made by another user: root tried it, or the agent's user has changed.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                remove_unlocked(incoming, name, |_| true).map_err(failed("remove"))?;
                return Ok(None);
            }
            Err(error) => return Err(failed("open")(error)),
        };
        if !lock_named(incoming, name, &file).map_err(failed("lock"))? {
            return Ok(None);
        }
        let facts = disk::facts(file.as_fd()).map_err(failed("open"))?;
        // Of another length: its writer died before the space was reserved. With another name: it died between the
        // steps of a rename, see `disk::rename_new`, and what it wrote may be in service.
        if facts.bytes != file_bytes || facts.links > 1 {
            disk::remove_file(incoming, name).map_err(failed("remove"))?;
            return Ok(None);
        }
        // Which objects are whole is for the medium to say.
        disk::drop_cached(file.as_fd());
        Ok(Some(Self::new(volume, file, name)))
    }

    /// Makes the file of that name; `None` where there is one, or another process was quicker to lock it.
    fn create_locked(
        volume: &Arc<Volume>,
        incoming: BorrowedFd<'_>,
        name: &str,
    ) -> Result<Option<Self>, PublishError> {
        let file = match disk::create_file(incoming, name, volume.access()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            other => other.map_err(failed("create"))?,
        };
        let is_ours = lock_named(incoming, name, &file).map_err(failed("lock"))?;
        Ok(is_ours.then(|| Self::new(volume, file, name)))
    }

    fn new(volume: &Arc<Volume>, file: OwnedFd, name: &str) -> Self {
        Self { volume: Arc::clone(volume), file, name: name.to_owned(), is_temporary: AtomicBool::new(true) }
    }

    pub(crate) fn volume(&self) -> &Volume {
        &self.volume
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it goes when it is dropped.
    pub(crate) fn is_temporary(&self) -> bool {
        self.is_temporary.load(Ordering::Relaxed)
    }

    /// Has it go when it is dropped.
    pub(crate) fn remove_when_dropped(&self) {
        self.is_temporary.store(true, Ordering::Relaxed);
    }

    /// Reserves all of its space. On a full disk what dead writers have left is room, too.
    fn reserve(&self, file_bytes: u64) -> Result<(), PublishError> {
        match self.try_reserve(file_bytes) {
            Err(PublishError::Full { .. }) if remove_abandoned(&self.volume).removed > 0 => {
                self.try_reserve(file_bytes)
            }
            reserved => reserved,
        }
    }

    fn try_reserve(&self, file_bytes: u64) -> Result<(), PublishError> {
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

    /// Opens it once more, for reading.
    pub(crate) fn reopen(&self) -> io::Result<OwnedFd> {
        let incoming = self.volume.directory(DIRECTORY)?;
        disk::open_file(incoming.as_fd(), &self.name, self.volume.access())
    }

    /// Gives it its name under `bundles/`, durably.
    pub(crate) fn rename(&self, key: &BundleKey) -> Result<BundleId, PublishError> {
        let id = BundleId::of(key);
        let incoming = open_directory(&self.volume)?;
        let bundles = self.volume.bundle_directory(id.path_hash[0]).map_err(failed("open bundles/"))?;
        if !disk::rename_new(incoming.as_fd(), &self.name, bundles.as_fd(), &id.file_name())
            .map_err(failed("rename"))?
        {
            return Err(PublishError::Exists(key.clone()));
        }
        self.is_temporary.store(false, Ordering::Relaxed);
        let synced = disk::sync(bundles.as_fd()).and_then(|()| disk::sync(incoming.as_fd()));
        if let Err(error) = synced {
            // The name may vanish with the power: nobody may rely on it.
            let _ = disk::remove_file(bundles.as_fd(), &id.file_name());
            return Err(failed("fsync of the directory")(error));
        }
        Ok(id)
    }
}

impl AsFd for IncomingFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if !*self.is_temporary.get_mut() {
            return;
        }
        let incoming = self.volume.directory(DIRECTORY);
        let removed = incoming.and_then(|incoming| disk::remove_file(incoming.as_fd(), &self.name));
        if removed.is_err() {
            // A reconciliation removes it in time. Until then nobody takes it for one to go on with.
            let _ = disk::set_length(self.file.as_fd(), 0);
        }
    }
}

/// Opens `incoming/` of a volume.
pub(crate) fn open_directory(volume: &Volume) -> Result<OwnedFd, PublishError> {
    volume.directory(DIRECTORY).map_err(failed("open incoming/"))
}

/// Removes a file where nobody holds its lock and, once it is held here, `is_meant`. The lock is kept until the name is
/// gone; [`lock_named`] has the other side.
pub(crate) fn remove_unlocked(
    incoming: BorrowedFd<'_>,
    name: &str,
    is_meant: impl Fn(&FileFacts) -> bool,
) -> io::Result<bool> {
    let file = match disk::open_file(incoming, name, Access::Buffered) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !lock_named(incoming, name, &file)? || !is_meant(&disk::facts(file.as_fd())?) {
        return Ok(false);
    }
    disk::remove_file(incoming, name)?;
    Ok(true)
}

/// Takes the lock of a file, and sees whether it still has its name: it may have been removed between its opening and
/// its locking, and another may have the name by now.
fn lock_named(incoming: BorrowedFd<'_>, name: &str, file: &OwnedFd) -> io::Result<bool> {
    if !disk::try_lock(file.as_fd())? {
        return Ok(false);
    }
    let (locked, named) = (disk::facts(file.as_fd())?, disk::named_facts(incoming, name)?);
    Ok(named.is_some_and(|named| named.is_same_file(&locked)))
}

pub(crate) fn random_number() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes to every process");
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
impl IncomingFile {
    /// Puts another file in the place of the one that is open, as a disk that fails.
    pub(crate) fn replace_file(&mut self, file: OwnedFd) {
        self.file = file;
    }
}
