//! The file of a bundle that has blocks in memory, opened once more: the workers' descriptor is `O_DIRECT`, and a `sendfile`
//! from that would pass the page cache by.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use cache_store::{Bundle, FileHold, OpenBundle, QuarantineReason};
use rustix::fs::{Advice, AtFlags, Mode, OFlags, StatxFlags, fadvise, fstat, open, statx};

/// An open file. Closing it may wait for its disk, if its name is gone: only loaders drop the last reference.
pub(super) struct ResidentFile {
    // Closed before the hold is let go.
    file: OwnedFd,
    hold: FileHold,
    stamp: Stamp,
}

/// What changes when somebody writes to a file or cuts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size_bytes: u64,
    modified: (i64, u32),
}

impl ResidentFile {
    /// Opens the file of an open bundle: the very same one, whatever its name is now.
    pub(super) fn open(bundle: &OpenBundle) -> io::Result<Self> {
        let hold = bundle.hold();
        let name = format!("/proc/self/fd/{}", bundle.file().as_raw_fd());
        let file = open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let (ours, theirs) = (fstat(&file)?, fstat(bundle.file())?);
        if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) {
            return Err(io::Error::other("/proc/self/fd gave another file"));
        }
        // What lies beyond a block is not to be read into the page cache with it, least of all by a worker's sendfile.
        fadvise(&file, 0, None, Advice::Random)?;
        let stamp = Stamp::of(file.as_fd())?;
        Ok(Self { file, hold, stamp })
    }

    /// What is wrong, if somebody has written to the file or cut it since it was opened. Nobody of ours does; what is in memory is
    /// then not what was verified. Asks no disk.
    pub(super) fn damage(&self) -> Option<QuarantineReason> {
        match Stamp::of(self.as_fd()) {
            Ok(stamp) if stamp == self.stamp => None,
            Ok(stamp) if stamp.size_bytes < self.stamp.size_bytes => Some(QuarantineReason::Truncated),
            Ok(_) => Some(QuarantineReason::Data),
            Err(_) => Some(QuarantineReason::Unreadable),
        }
    }

    /// Whose file it is.
    pub(super) fn bundle(&self) -> &Arc<Bundle> {
        self.hold.bundle()
    }
}

impl Stamp {
    fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        // As the kernel has it, whatever the file system: a remote or a FUSE one would be asked otherwise, and might hang.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(file, c"", flags, StatxFlags::SIZE | StatxFlags::MTIME)?;
        Ok(Self { size_bytes: stat.stx_size, modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec) })
    }
}

impl AsFd for ResidentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
