//! Reads a block into the page cache as one folio of 2 MiB instead of 512 of 4 KiB, which the kernel walks one by one in every
//! `sendfile`: that costs a worker as much again as all else that it does for large objects.
//!
//! Reads grow folios only with readahead, which takes along what lies behind the block. A fault of a mapping that asked for huge
//! pages and for no readahead reads just the one folio, aligned as blocks are (`do_sync_mmap_readahead` of the kernel's
//! `mm/filemap.c`). It leaves a readahead mark on it: whoever reads it next starts readahead behind it, once, unless the device's
//! window is full within the folio (`page_cache_async_ra` of `mm/readahead.c`). So the first to read it is we, with one byte, and
//! only where the window is so short. Elsewhere, and where kernel or file system have no such folios, pages are small.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::LazyLock;

use control_client::units::ByteRange;
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{fstat, major, minor, stat};
use rustix::io::pread;

use super::block::BLOCK_BYTES;
use super::resident_file::ResidentFile;

/// The longest readahead window of a device on which folios are huge.
const READ_AHEAD_BYTES_MAX: u64 = BLOCK_BYTES / 2;

/// The kernel makes a folio of what a fault on so much brings.
const PAGE_BYTES: usize = 4096;

/// The readahead window of the disk of a volume, in bytes, where it is too long for huge folios.
pub fn long_read_ahead(volume: &Path) -> Option<u64> {
    let device = stat(volume).ok()?.st_dev;
    read_ahead_bytes(device).filter(|&window| window > READ_AHEAD_BYTES_MAX)
}

/// Whether a block of this file can be read as one folio, and nothing beside it.
pub(super) fn is_possible(file: impl AsFd) -> io::Result<bool> {
    let window = read_ahead_bytes(fstat(file)?.st_dev);
    Ok(window.is_some_and(|window| window <= READ_AHEAD_BYTES_MAX) && *KERNEL_GIVES_UP)
}

/// Before Linux 6.9 a `MADV_POPULATE_READ` that meets an error of the disk tries again for ever.
static KERNEL_GIVES_UP: LazyLock<bool> = LazyLock::new(|| {
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_at_least(&release, (6, 9)))
});

fn is_at_least(release: &str, least: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= least
}

/// `None`: not a disk, or not one whose setting is known.
fn read_ahead_bytes(device: u64) -> Option<u64> {
    let folder = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    // A partition has its disk's.
    let queues = [format!("{folder}/queue"), format!("{folder}/../queue")];
    let setting =
        queues.iter().find_map(|queue| fs::read_to_string(format!("{queue}/read_ahead_kb")).ok())?;
    setting.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Maps `range` of the file, and has it read as one folio where it is possible. What is not, or fails, is left to who reads it.
pub(super) fn map(file: &ResidentFile, range: ByteRange) -> io::Result<MmapRaw> {
    // Opened anew: readahead through one descriptor goes on where the last one ended.
    if file.has_huge_folios() {
        map_as_folio(file.reopen()?, file, range)
    } else {
        map_only(file.as_fd(), range)
    }
}

fn map_only(file: BorrowedFd<'_>, range: ByteRange) -> io::Result<MmapRaw> {
    let length = usize::try_from(range.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    MmapOptions::new().offset(range.start).len(length).map_raw_read_only(&file)
}

fn map_as_folio(mapped: OwnedFd, read: impl AsFd, range: ByteRange) -> io::Result<MmapRaw> {
    let mapping = map_only(mapped.as_fd(), range)?;
    let fault = PAGE_BYTES.min(mapping.len());
    // A fault by hand would be a `SIGBUS` where the disk fails.
    let is_read = mapping
        .advise(Advice::HugePage)
        .and_then(|()| mapping.advise(Advice::Random))
        .and_then(|()| mapping.advise_range(Advice::PopulateRead, 0, fault));
    if is_read.is_ok() {
        let _ = pread(read, &mut [0], range.start);
    }
    Ok(mapping)
}

#[cfg(test)]
#[expect(unsafe_code, reason = "looks at a mapping, and asks what of a file is in the page cache")]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    /// Four blocks and a half, on a disk and not in the page cache.
    fn file() -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..9 * BLOCK_BYTES / 2).map(|place| (place % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file.as_file().sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        (file, bytes)
    }

    fn cached_bytes(file: &File) -> u64 {
        let length = file.metadata().unwrap().len();
        let mapping = map_only(file.as_fd(), ByteRange { start: 0, end: length }).unwrap();
        let mut pages = vec![0; mapping.len().div_ceil(PAGE_BYTES)];
        let (start, length) = (mapping.as_mut_ptr().cast(), mapping.len());
        // SAFETY: a byte for each page of the mapping.
        assert_eq!(unsafe { libc::mincore(start, length, pages.as_mut_ptr()) }, 0);
        pages.iter().filter(|&page| page & 1 == 1).count() as u64 * PAGE_BYTES as u64
    }

    #[test]
    fn a_block_is_read_as_one_folio_and_nothing_beside_it() {
        let (file, bytes) = file();
        for number in [2, 0, 4] {
            let end = ((number + 1) * BLOCK_BYTES).min(bytes.len() as u64);
            let range = ByteRange { start: number * BLOCK_BYTES, end };
            let before = cached_bytes(file.as_file());
            let read = File::open(file.path()).unwrap();
            let mapping = map_as_folio(File::open(file.path()).unwrap().into(), &read, range).unwrap();
            // SAFETY: the mapping is as long, and nobody writes to the file.
            let mapped = unsafe { std::slice::from_raw_parts(mapping.as_ptr(), mapping.len()) };
            assert!(mapped == &bytes[range.start as usize..range.end as usize]);
            if is_possible(&read).unwrap() {
                assert_eq!(cached_bytes(file.as_file()) - before, range.len());
            }
        }
    }

    #[test]
    fn kernels_are_told_apart_by_their_first_two_numbers() {
        assert!(
            is_at_least("6.9.0-rc1\n", (6, 9))
                && is_at_least("6.18.44-fc", (6, 9))
                && is_at_least("7.0", (6, 9))
        );
        assert!(
            !is_at_least("6.1.0-56-cloud-amd64", (6, 9))
                && !is_at_least("", (6, 9))
                && !is_at_least("6", (6, 9))
        );
    }

    #[test]
    fn what_is_no_disk_has_no_window() {
        assert_eq!(read_ahead_bytes(0), None);
        assert!(long_read_ahead(Path::new("/proc")).is_none());
    }
}
