//! The file of a bundle that has blocks in memory, opened once more: the workers' descriptor is `O_DIRECT`, and a `sendfile`
//! from that would pass the page cache by.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use cache_store::{Bundle, FileHold, OpenBundle};
use rustix::fs::{Advice, AtFlags, Mode, OFlags, StatxFlags, fadvise, fstat, open, statx};

use super::huge_folio;

/// An open file. Closing it may wait for its disk, if its name is gone: only loaders drop the last reference.
pub(super) struct ResidentFile {
    // Closed before the hold is let go.
    file: OwnedFd,
    hold: FileHold,
    stamp: Stamp,
    opened_at: Instant,
    /// In nanoseconds since then; the file had its stamp at that moment or later.
    looked_at: AtomicU64,
    has_huge_folios: bool,
    /// Nothing more is sent from it.
    is_broken: AtomicBool,
}

/// Why a file is not sent from memory any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is shorter than it was: what its footer says cannot be there.
    CutShort,
    /// Somebody has written to it, or set its time: its bytes have to be compared with their checksums again.
    Changed,
    /// It is what it was, but a part of its memory could not be read, or not be sent.
    Failed,
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
        let (hold, opened_at) = (bundle.hold(), Instant::now());
        let file = reopen(bundle.file())?;
        let (ours, theirs) = (fstat(&file)?, fstat(bundle.file())?);
        if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) {
            return Err(io::Error::other("/proc/self/fd gave another file"));
        }
        // What lies beyond a block is not to be read into the page cache with it, least of all by a worker's sendfile.
        fadvise(&file, 0, None, Advice::Random)?;
        let stamp = Stamp::of(file.as_fd())?;
        let has_huge_folios = huge_folio::is_possible(&file)?;
        Ok(Self {
            file,
            hold,
            stamp,
            opened_at,
            looked_at: AtomicU64::new(0),
            has_huge_folios,
            is_broken: AtomicBool::new(false),
        })
    }

    /// Another descriptor of it, for a mapping that outlives it.
    pub(super) fn reopen(&self) -> io::Result<OwnedFd> {
        reopen(self.as_fd())
    }

    /// Whether its blocks can be read as one folio each.
    pub(super) fn has_huge_folios(&self) -> bool {
        self.has_huge_folios
    }

    /// What is wrong, if anything was found to be, or if somebody has written to the file or cut it since it was opened. Nobody of
    /// ours does; what is in memory is then not what was verified. Asks no disk. The file is broken once this was told.
    pub(super) fn damage(&self) -> Option<Damage> {
        let damage = match Stamp::of(self.as_fd()) {
            Ok(stamp) if stamp == self.stamp => return self.is_broken().then_some(Damage::Failed),
            Ok(stamp) if stamp.size_bytes < self.stamp.size_bytes => Damage::CutShort,
            Ok(_) | Err(_) => Damage::Changed,
        };
        self.mark_broken();
        Some(damage)
    }

    /// The same, as it was at `moment` at the earliest: a file that was looked at since then is not looked at again. `now` is the present,
    /// or a little before it.
    pub(super) fn damage_since(&self, moment: Instant, now: Instant) -> Option<Damage> {
        let nanos = |moment: Instant| moment.saturating_duration_since(self.opened_at).as_nanos() as u64;
        if self.looked_at.load(Ordering::Relaxed) >= nanos(moment) {
            return self.is_broken().then_some(Damage::Failed);
        }
        let damage = self.damage();
        if damage.is_none() {
            // Another worker may have looked since.
            self.looked_at.fetch_max(nanos(now), Ordering::Relaxed);
        }
        damage
    }

    /// Nothing more is sent from the file: its blocks count as absent. Async-signal-safe.
    pub(super) fn mark_broken(&self) {
        self.is_broken.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::SeqCst)
    }

    /// Whose file it is.
    pub(super) fn bundle(&self) -> &Arc<Bundle> {
        self.hold.bundle()
    }
}

/// The very same file, whatever its name is now, with neither the flags nor the place of the other descriptor.
fn reopen(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Stamp {
    fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        // As the kernel has it, whatever the file system: a remote or a FUSE one would be asked otherwise, and might hang.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(file, c"", flags, StatxFlags::SIZE | StatxFlags::MTIME)?;
        Ok(Self { size_bytes: stat.stx_size, modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec) })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::CutShort => "cut short",
            Self::Changed => "changed",
            Self::Failed => "its memory cannot be read or sent",
        })
    }
}

impl AsFd for ResidentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
