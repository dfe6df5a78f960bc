//! The files under `demand/`.
//!
//! They are written and read with `O_DIRECT` where the volume takes it: the long tail must not push the hot bundles out
//! of the page cache, and what is written must not pile up there until the kernel writes it all at once, in the way of
//! the cold reads. On other file systems the kernel is told to drop what it has cached. A segment's file is opened for
//! each read, which takes some microseconds of a read of a hundred: so descriptors do not grow with the capacity, and a
//! segment that has left is a file that is not there.

#[cfg(test)]
pub(super) mod faults;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::held::Place;
use super::record::{Header, PAGE_BYTES, record_bytes};
use super::segment_format::{Identity, Summary, file_name, parse_file_name};
use crate::aligned::AlignedBuffer;
use crate::disk::{self, Access};
use crate::disk_error::{Blame, blame};
use crate::limits::DEMAND_PURGES_BYTES_MAX;
use crate::volume::{Volume, VolumeId};

const DIRECTORY: &str = "demand";
const PURGES: &str = "purges";

/// The directory, held open.
#[derive(Debug)]
pub(super) struct Files {
    directory: OwnedFd,
    pub(super) volume: VolumeId,
    access: Access,
}

/// What reading a record found.
pub(super) enum Read {
    Intact(AlignedBuffer, Header),
    /// It is not what was written.
    Corrupt,
    /// Its segment has left.
    Absent,
}

impl Files {
    /// Opens the directory of a volume, which is made where it is missing.
    pub(super) fn open(volume: &Volume) -> io::Result<Self> {
        disk::create_directory(volume.root(), DIRECTORY)?;
        let directory = volume.directory(DIRECTORY)?;
        Ok(Self { directory, volume: volume.id(), access: volume.access() })
    }

    /// The sequence numbers of the segments that there are, the oldest first.
    pub(super) fn sequences(&self) -> io::Result<Vec<u64>> {
        may_open()?;
        let names = disk::list(self.directory.as_fd())?;
        let mut sequences: Vec<u64> = names.iter().filter_map(|name| parse_file_name(name)).collect();
        sequences.sort_unstable();
        Ok(sequences)
    }

    /// Makes the file of a segment, empty.
    pub(super) fn create_segment(&self, sequence: u64) -> io::Result<OwnedFd> {
        may_open()?;
        disk::create_file(self.directory.as_fd(), &file_name(sequence), self.access)
    }

    /// Gives it all of its space, and its head.
    pub(super) fn begin_segment(
        &self,
        file: BorrowedFd<'_>,
        identity: &Identity,
        bytes: u64,
    ) -> io::Result<()> {
        let mut head = AlignedBuffer::new(PAGE_BYTES);
        head.bytes_mut().copy_from_slice(&identity.encode_head());
        reserve(file, bytes)?;
        write(file, head.bytes(), 0)
    }

    /// Opens the file of a segment; `None` where it has left.
    pub(super) fn open_segment(&self, sequence: u64) -> io::Result<Option<OwnedFd>> {
        may_open()?;
        present(disk::open_file(self.directory.as_fd(), &file_name(sequence), self.access))
    }

    /// The same to write its end.
    pub(super) fn open_segment_to_write(&self, sequence: u64) -> io::Result<Option<OwnedFd>> {
        may_open()?;
        present(disk::open_to_write(self.directory.as_fd(), &file_name(sequence), self.access))
    }

    pub(super) fn remove_segment(&self, sequence: u64) -> io::Result<()> {
        disk::remove_file(self.directory.as_fd(), &file_name(sequence))
    }

    /// Reads a record and checks it. An error is the disk's.
    pub(super) fn read_record(&self, place: Place, nonce: u64) -> io::Result<Read> {
        let Some(file) = self.open_segment(place.segment)? else { return Ok(Read::Absent) };
        let mut buffer = AlignedBuffer::new(record_bytes(place.payload_bytes) as usize);
        let read = self.read_at(file.as_fd(), buffer.bytes_mut(), u64::from(place.page) * PAGE_BYTES as u64);
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Read::Corrupt),
            Err(error) => return Err(error),
        }
        let header = Header::decode(buffer.bytes(), nonce).filter(|header| {
            (header.page, header.payload_bytes) == (place.page, place.payload_bytes)
                && header.payload(buffer.bytes()).is_some()
        });
        Ok(header.map_or(Read::Corrupt, |header| Read::Intact(buffer, header)))
    }

    /// Reads bytes of a segment that nobody is likely to read again soon.
    pub(super) fn read_at(&self, file: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        disk::read_exact_at(file, bytes, offset)?;
        if self.access == Access::Buffered {
            disk::drop_cached(file);
        }
        Ok(())
    }

    /// Ends a segment with its summary, and gives back the space behind it. Returns the length of the file.
    pub(super) fn seal(
        &self,
        file: BorrowedFd<'_>,
        identity: &Identity,
        summary: Summary,
        end: u64,
    ) -> io::Result<u64> {
        let encoded = summary.encode(identity, end);
        let mut buffer = AlignedBuffer::new(encoded.len());
        buffer.bytes_mut().copy_from_slice(&encoded);
        write(file, buffer.bytes(), end)?;
        let bytes = end + encoded.len() as u64;
        disk::set_length(file, bytes)?;
        if self.access == Access::Buffered {
            // Only what has reached the disk can be dropped.
            disk::sync_data(file)?;
            disk::drop_cached(file);
        }
        Ok(bytes)
    }

    /// The file of purges; `None` where there is none.
    pub(super) fn read_purges(&self) -> io::Result<Option<Vec<u8>>> {
        may_open()?;
        #[cfg(test)]
        faults::fail_reading_purges()?;
        let read = disk::read_file(self.directory.as_fd(), PURGES, DEMAND_PURGES_BYTES_MAX)?;
        Ok(read.map(|(_, bytes)| bytes))
    }

    /// Puts another file of purges in the place of the one there is, durably, and opens it to append.
    pub(super) fn replace_purges(&self, bytes: &[u8]) -> io::Result<OwnedFd> {
        may_open()?;
        disk::write_durably(self.directory.as_fd(), PURGES, bytes)?;
        self.open_purges(bytes.len() as u64)
    }

    /// Opens the file of purges to append to its first `bytes`; what is behind them is cut off.
    pub(super) fn open_purges(&self, bytes: u64) -> io::Result<OwnedFd> {
        may_open()?;
        let file = disk::open_to_write(self.directory.as_fd(), PURGES, Access::Buffered)?;
        if disk::file_bytes(file.as_fd())? != bytes {
            disk::set_length(file.as_fd(), bytes)?;
        }
        Ok(file)
    }
}

#[cfg(test)]
impl Files {
    /// As on a file system that does not take `O_DIRECT`.
    pub(super) fn read_through_cache(&mut self) {
        self.access = Access::Buffered;
    }
}

/// Whether this process is short of descriptors or memory, or was interrupted: no disk is to blame, nothing is lost, and the
/// same can be tried again.
pub fn is_shortage(error: &io::Error) -> bool {
    blame(error) == Blame::Process
}

/// Writes a record at its place in a segment.
pub(super) fn write(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(test)]
    let bytes = faults::cut(bytes);
    disk::write_all_at(file, bytes, offset)?;
    #[cfg(test)]
    faults::fail_writes()?;
    Ok(())
}

fn reserve(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::fail_reservations()?;
    disk::reserve(file, bytes)
}

/// Fails where a test has the process short of descriptors.
fn may_open() -> io::Result<()> {
    #[cfg(test)]
    faults::fail_opening()?;
    Ok(())
}

fn present(opened: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
