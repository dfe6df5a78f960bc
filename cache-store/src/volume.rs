//! A volume: one directory on one disk.
//!
//! ```text
//! oca-volume.json   the marker: format version, the volume's identity, when it was made. Without it the directory is
//!                   not a volume: so an unmounted disk cannot fill the root file system
//! lock              the daemon's lock (flock)
//! bundles/ab/       the published bundles, by the first byte of their paths' hashes: 256 directories
//! incoming/         bundles that are being written, each writer holds the lock of its file; and those that were begun and
//!                   wait for the next night (`.partial`)
//! demand/           the record log of demand content, made when it is first opened
//! quarantine/       the newest bundles that failed, for examination
//! inventory/        the journal of what the volume holds, and `isolated.json` while the volume is isolated
//! ```

mod isolation;
mod marker;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use control_client::content::{BundleKey, BundlePath, Generation};

pub use isolation::Isolation;
pub use marker::VolumeId;

use crate::aligned::AlignedBuffer;
use crate::disk::{self, Access};
use crate::format::ALIGNMENT;
use crate::identity::{BundleId, directory_name};
use crate::inventory;

const LOCK: &str = "lock";
const DEMAND: &str = "demand";
const DIRECTORIES: [&str; 4] = ["bundles", "incoming", "quarantine", "inventory"];

/// An open volume: its root is held, so that it stays the same directory whatever is mounted or unmounted.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    root: OwnedFd,
    id: VolumeId,
    access: Access,
    reads_may_block: bool,
}

/// The right to change a volume's inventory, held by one process at a time; ends when it is dropped.
#[derive(Debug)]
pub struct VolumeLock {
    _file: OwnedFd,
}

/// Why a directory cannot be used as a volume; all are for the operator.
#[derive(Debug)]
pub enum VolumeError {
    /// There is no marker file.
    NotAVolume(PathBuf),
    /// It should be a disk of its own, and is on the file system of the directory above.
    NotMounted(PathBuf),
    /// The marker file says something else than this program writes.
    Marker(PathBuf, String),
    /// Another process has the volume's lock.
    Locked(PathBuf),
    /// It is a volume already.
    Exists(PathBuf),
    /// The operating system refused.
    Io(PathBuf, io::Error),
}

impl Volume {
    /// Makes a directory a volume. The marker is written last, so that a volume is whole or not a volume;
    /// after a crash it can be called again.
    ///
    /// The directory's group may work in it, and hands itself down. Run as root, a directory that is root's
    /// (a new one, or a new file system) is given to the owner and group of the directory above; all that root
    /// makes in a volume, now and later, belongs to the volume's owner and group.
    pub fn init(path: &Path) -> Result<VolumeId, VolumeError> {
        let io_error = |error: io::Error| VolumeError::Io(path.to_owned(), error);
        std::fs::create_dir_all(path).map_err(io_error)?;
        let root = disk::open_root(path).map_err(io_error)?;
        match marker::read(root.as_fd()) {
            Ok(_) => return Err(VolumeError::Exists(path.to_owned())),
            Err(VolumeError::NotAVolume(_)) => {}
            Err(error) => return Err(error.at(path)),
        }
        share_root(root.as_fd()).map_err(io_error)?;
        make_directories(root.as_fd()).map_err(io_error)?;
        let id = VolumeId::random();
        inventory::init(root.as_fd(), id).map_err(io_error)?;
        marker::write(root.as_fd(), id).map_err(io_error)?;
        Ok(id)
    }

    /// Whether starting a read can wait for the disk, so that a thread that must not wait has it started by another.
    pub fn reads_may_block(&self) -> bool {
        self.reads_may_block
    }

    /// Whether a disk of its own is mounted at that path.
    pub fn is_mounted(path: &Path) -> bool {
        disk::open_root(path).and_then(|root| is_mount_point(root.as_fd())).unwrap_or(false)
    }

    /// Opens a volume, and finds out whether it takes `O_DIRECT`. With `mount_required` it has to be the root
    /// of a file system of its own.
    pub fn open(path: &Path, mount_required: bool) -> Result<Self, VolumeError> {
        let io_error = |error: io::Error| VolumeError::Io(path.to_owned(), error);
        let root = disk::open_root(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => VolumeError::NotAVolume(path.to_owned()),
            _ => io_error(error),
        })?;
        if mount_required && !is_mount_point(root.as_fd()).map_err(io_error)? {
            return Err(VolumeError::NotMounted(path.to_owned()));
        }
        let id = marker::read(root.as_fd()).map_err(|error| error.at(path))?;
        let access = probe_direct(root.as_fd());
        let reads_may_block = !is_asynchronous(root.as_fd());
        Ok(Self { path: path.to_owned(), root, id, access, reads_may_block })
    }

    /// Takes the volume's lock, which the daemon holds while it runs.
    pub fn lock(&self) -> Result<VolumeLock, VolumeError> {
        let io_error = |error: io::Error| VolumeError::Io(self.path.clone(), error);
        let file = disk::open_or_create(self.root.as_fd(), LOCK).map_err(io_error)?;
        if !disk::try_lock(file.as_fd()).map_err(io_error)? {
            return Err(VolumeError::Locked(self.path.clone()));
        }
        Ok(VolumeLock { _file: file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its identity, from the marker file.
    pub fn id(&self) -> VolumeId {
        self.id
    }

    /// Whether its bundles are read past the page cache.
    pub fn is_direct(&self) -> bool {
        self.access == Access::Direct
    }

    /// Why it is isolated, if it is.
    pub fn isolation(&self) -> io::Result<Option<Isolation>> {
        isolation::read(self.root.as_fd())
    }

    /// Remembers across restarts that the volume must not be used.
    pub fn isolate(&self, isolation: &Isolation) -> io::Result<()> {
        isolation::write(self.root.as_fd(), isolation)
    }

    /// Forgets the isolation: the operator has replaced or checked the disk. `false` where there was none.
    pub fn readmit(&self) -> io::Result<bool> {
        isolation::remove(self.root.as_fd())
    }

    /// Free and total bytes of the file system.
    pub fn space(&self) -> io::Result<disk::FileSystemSpace> {
        disk::space(self.root.as_fd())
    }

    /// Bytes of the disk that demand content takes.
    pub fn demand_bytes(&self) -> io::Result<u64> {
        let directory = match self.directory(DEMAND) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let names = disk::list(directory.as_fd())?;
        let mut each = names.iter().map(|name| disk::named_disk_bytes(directory.as_fd(), name));
        each.try_fold(0_u64, |sum, bytes| Ok(sum.saturating_add(bytes?.unwrap_or(0))))
    }

    /// The highest generation of a path that is published on the volume, adopted or not.
    pub fn newest_generation(&self, path: &BundlePath) -> io::Result<Option<Generation>> {
        let any = BundleId::new(path, Generation::new(0));
        let names = disk::list(self.bundle_directory(any.path_hash[0])?.as_fd())?;
        let ids = names.iter().filter_map(|name| BundleId::parse_file_name(name));
        Ok(ids.filter(|id| id.path_hash == any.path_hash).map(|id| id.generation).max())
    }

    /// Every bundle that is published on the volume, adopted or not, in no order.
    pub fn published(&self) -> io::Result<Vec<BundleId>> {
        let mut published = Vec::new();
        for first_byte in 0..=u8::MAX {
            let names = disk::list(self.bundle_directory(first_byte)?.as_fd())?;
            published.extend(names.iter().filter_map(|name| BundleId::parse_file_name(name)));
        }
        Ok(published)
    }

    /// Removes a bundle's published file that the daemon does not have in its inventory, and refuses to take into it; `false` where
    /// there is none. What is in the inventory goes by being retired, and in no other way.
    pub fn remove_unserved(&self, key: &BundleKey) -> io::Result<bool> {
        let id = BundleId::of(key);
        if disk::named_facts(self.root(), &id.file_path())?.is_none() {
            return Ok(false);
        }
        disk::remove_file(self.root(), &id.file_path())?;
        disk::sync(self.bundle_directory(id.path_hash[0])?.as_fd())?;
        Ok(true)
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    pub(crate) fn directory(&self, name: &str) -> io::Result<OwnedFd> {
        disk::open_directory(self.root.as_fd(), name)
    }

    /// One of the 256 directories under `bundles/`.
    pub(crate) fn bundle_directory(&self, first_byte: u8) -> io::Result<OwnedFd> {
        self.directory(&format!("bundles/{}", directory_name(first_byte)))
    }

    pub(crate) fn open_bundle_file(&self, id: BundleId) -> io::Result<OwnedFd> {
        disk::open_file(self.root.as_fd(), &id.file_path(), self.access)
    }
}

impl VolumeError {
    fn at(self, path: &Path) -> Self {
        let path = path.to_owned();
        match self {
            Self::NotAVolume(_) => Self::NotAVolume(path),
            Self::NotMounted(_) => Self::NotMounted(path),
            Self::Marker(_, what) => Self::Marker(path, what),
            Self::Locked(_) => Self::Locked(path),
            Self::Exists(_) => Self::Exists(path),
            Self::Io(_, error) => Self::Io(path, error),
        }
    }
}

fn share_root(root: BorrowedFd<'_>) -> io::Result<()> {
    let found = rustix::fs::fstat(root)?;
    if (found.st_uid, found.st_gid) == (0, 0) {
        let above = disk::open_directory(root, "..")?;
        disk::give_to_owner_of(above.as_fd(), root)?;
    }
    // Who is let in by the group of another's directory cannot change its mode, and need not.
    match disk::share_directory(root, true) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn make_directories(root: BorrowedFd<'_>) -> io::Result<()> {
    for name in DIRECTORIES {
        disk::create_directory(root, name)?;
    }
    let bundles = disk::open_directory(root, "bundles")?;
    for first_byte in 0..=u8::MAX {
        disk::create_directory(bundles.as_fd(), &directory_name(first_byte))?;
    }
    disk::sync(bundles.as_fd())?;
    disk::sync(root)
}

/// A directory is the root of a mounted file system where its device is not that of the directory above it.
fn is_mount_point(root: BorrowedFd<'_>) -> io::Result<bool> {
    let above = disk::open_directory(root, "..")?;
    Ok(rustix::fs::fstat(root)?.st_dev != rustix::fs::fstat(above)?.st_dev)
}

/// Whether the file system is known to answer "not now" where a read cannot be started without waiting
/// (`RWF_NOWAIT`). On others (FUSE, the network's) io_uring waits inside the submission, unless it is told to
/// use a thread.
fn is_asynchronous(root: BorrowedFd<'_>) -> bool {
    const EXT4: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::fstatfs(root).is_ok_and(|found| [EXT4, XFS, BTRFS, TMPFS].contains(&(found.f_type as u64)))
}

/// Reads the marker past the page cache, as bundles will be read: what answers with an error is read
/// buffered.
fn probe_direct(root: BorrowedFd<'_>) -> Access {
    let mut block = AlignedBuffer::new(ALIGNMENT as usize);
    let read = disk::open_file(root, marker::NAME, Access::Direct)
        .and_then(|file| Ok(rustix::io::pread(&file, block.bytes_mut(), 0)?));
    match read {
        Ok(read) if read > 0 => Access::Direct,
        _ => Access::Buffered,
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAVolume(path) => write!(
                formatter,
                "{}: not a volume (no {}); mount its disk, or, if it is a new one that is mounted, `oca init {0}`",
                path.display(),
                marker::NAME
            ),
            Self::NotMounted(path) => write!(
                formatter,
                "{}: no disk is mounted there, and its entry in store.volumes requires one; mount it",
                path.display()
            ),
            Self::Marker(path, what) => write!(formatter, "{}/{}: {what}", path.display(), marker::NAME),
            Self::Locked(path) => {
                write!(
                    formatter,
                    "{}: another process uses the volume (the daemon, or an import), or store.volumes names it twice; stop it first",
                    path.display()
                )
            }
            Self::Exists(path) => {
                write!(formatter, "{}: a volume already; nothing was changed", path.display())
            }
            Self::Io(path, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                formatter,
                "{}: {error}; the group `oca` must own all that is in it, and be let in: chgrp -R oca, chmod -R g+rwX",
                path.display()
            ),
            Self::Io(path, error) => write!(formatter, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for VolumeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_content_counts_with_what_its_files_take_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        Volume::init(folder.path()).unwrap();
        let volume = Volume::open(folder.path(), false).unwrap();
        assert_eq!(volume.demand_bytes().unwrap(), 0);
        disk::create_directory(volume.root(), DEMAND).unwrap();
        let directory = volume.directory(DEMAND).unwrap();
        for (name, reserved) in [("1", 3 << 20), ("2", 1 << 20)] {
            let file = disk::create_file(directory.as_fd(), name, Access::Buffered).unwrap();
            disk::reserve_beyond(file.as_fd(), 0, reserved);
        }
        // A file system rounds up.
        assert!((4 << 20..5 << 20).contains(&volume.demand_bytes().unwrap()));
    }
}
