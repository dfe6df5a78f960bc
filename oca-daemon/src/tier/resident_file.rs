//! The file of a bundle that has blocks in memory, opened once more: the workers' descriptor is `O_DIRECT`, and a `sendfile`
//! from that would pass the page cache by.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use cache_store::{Bundle, FileHold, OpenBundle};
use rustix::fs::{Advice, Mode, OFlags, fadvise, fstat, open};

/// An open file. Closing it may wait for its disk, if its name is gone: only loaders drop the last reference.
pub(super) struct ResidentFile {
    // Closed before the hold is let go.
    file: OwnedFd,
    hold: FileHold,
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
        Ok(Self { file, hold })
    }

    /// Whose file it is.
    pub(super) fn bundle(&self) -> &Arc<Bundle> {
        self.hold.bundle()
    }
}

impl AsFd for ResidentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
