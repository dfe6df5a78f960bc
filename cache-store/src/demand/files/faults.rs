//! A disk that fails, or a process that is short of something, for the thread that asks for it.

use std::cell::Cell;
use std::io;

use rustix::io::Errno;

thread_local! {
    static FULL_RESERVATIONS: Cell<usize> = const { Cell::new(0) };
    static WRITTEN_BYTES: Cell<Option<usize>> = const { Cell::new(None) };
    static OPENED: Cell<usize> = const { Cell::new(0) };
    static OPENINGS: Cell<u64> = const { Cell::new(0) };
    static OPENING: Cell<Option<Errno>> = const { Cell::new(None) };
    static READING_PURGES: Cell<Option<Errno>> = const { Cell::new(None) };
}

/// That many reservations find the disk full.
pub(in crate::demand) fn fill_disk(reservations: usize) {
    FULL_RESERVATIONS.set(reservations);
}

/// Writes end after that many bytes with an error; `None` ends it.
pub(in crate::demand) fn break_writes(after_bytes: Option<usize>) {
    WRITTEN_BYTES.set(after_bytes);
}

/// No file can be opened or made; `None` ends it.
pub(in crate::demand) fn refuse_opening(errno: Option<Errno>) {
    OPENING.set(errno);
    OPENED.set(0);
}

/// The same, after so many that can.
pub(in crate::demand) fn refuse_opening_after(opened: usize, errno: Errno) {
    OPENING.set(Some(errno));
    OPENED.set(opened);
}

/// How often a file was opened or made, or was to be.
pub(in crate::demand) fn openings() -> u64 {
    OPENINGS.get()
}

/// The list of purges cannot be read; `None` ends it.
pub(in crate::demand) fn refuse_reading_purges(errno: Option<Errno>) {
    READING_PURGES.set(errno);
}

pub(super) fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..WRITTEN_BYTES.get().map_or(bytes.len(), |most| most.min(bytes.len()))]
}

pub(super) fn fail_writes() -> io::Result<()> {
    WRITTEN_BYTES.get().map_or(Ok(()), |_| Err(Errno::IO.into()))
}

pub(super) fn fail_opening() -> io::Result<()> {
    OPENINGS.set(OPENINGS.get() + 1);
    match (OPENING.get(), OPENED.get()) {
        (None, _) => Ok(()),
        (Some(errno), 0) => Err(errno.into()),
        (Some(_), left) => {
            OPENED.set(left - 1);
            Ok(())
        }
    }
}

pub(super) fn fail_reading_purges() -> io::Result<()> {
    READING_PURGES.get().map_or(Ok(()), |errno| Err(errno.into()))
}

pub(super) fn fail_reservations() -> io::Result<()> {
    match FULL_RESERVATIONS.get() {
        0 => Ok(()),
        left => {
            FULL_RESERVATIONS.set(left - 1);
            Err(Errno::NOSPC.into())
        }
    }
}
