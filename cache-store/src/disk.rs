//! The system calls that make things durable, or read them, in one place. All names are relative to a
//! directory that is held open, so that nothing can be written into what lies below a mount point after the
//! disk has gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Read by daemon and agent, written by whoever made the file; nobody else.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// What a file system has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Whether reads go through the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Buffered,
    /// `O_DIRECT`: addresses, offsets and lengths are multiples of 4 KiB.
    Direct,
}

impl Access {
    fn flags(self) -> OFlags {
        match self {
            Self::Buffered => OFlags::empty(),
            Self::Direct => OFlags::DIRECT,
        }
    }
}

pub(crate) fn open_directory(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry(|| rustix::fs::openat(directory, name, flags, Mode::empty()))?)
}

pub(crate) fn open_file(directory: BorrowedFd<'_>, name: &str, access: Access) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | access.flags();
    Ok(retry(|| rustix::fs::openat(directory, name, flags, Mode::empty()))?)
}

/// Opens for reading and writing; made where it does not exist.
pub(crate) fn open_or_create(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(retry(|| rustix::fs::openat(directory, name, flags, FILE_MODE))?)
}

/// Makes a file that does not exist yet.
pub(crate) fn create_file(directory: BorrowedFd<'_>, name: &str, access: Access) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | access.flags();
    let file = retry(|| rustix::fs::openat(directory, name, flags, FILE_MODE))?;
    // Once more, as the process's umask does not apply here: the other user of the group has to read it.
    rustix::fs::fchmod(&file, FILE_MODE)?;
    Ok(file)
}

/// Makes a directory; one that exists already is no error. The set-group-id bit hands the group down, so that
/// daemon and agent, two users of one group, can each remove what the other made.
pub(crate) fn create_directory(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o2770);
    match retry(|| rustix::fs::mkdirat(directory, name, mode)) {
        // Once more, as the process's umask does not apply here.
        Ok(()) => Ok(rustix::fs::chmodat(directory, name, mode, AtFlags::empty())?),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the lock of an open file, which ends with the descriptor; `false` where another process holds it.
pub(crate) fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    match retry(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reserves space for the first `bytes` of a file, which makes the file that long. File systems that cannot
/// reserve are left alone: there a full disk is found by writing.
pub(crate) fn reserve(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    match retry(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(rustix::fs::ftruncate(file, bytes)?),
        Err(error) => Err(error.into()),
    }
}

/// Reserves `bytes` after the end of a file, whose length stays as it is. Best effort: where it fails, a
/// later write says so.
pub(crate) fn reserve_beyond(file: BorrowedFd<'_>, offset: u64, bytes: u64) {
    let _ = retry(|| rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes));
}

pub(crate) fn set_length(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    Ok(retry(|| rustix::fs::ftruncate(file, bytes))?)
}

pub(crate) fn write_all_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = retry(|| rustix::io::pwrite(file, bytes, offset))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Fills `bytes`, or fails with `UnexpectedEof` where the file ends before.
pub(crate) fn read_exact_at(file: BorrowedFd<'_>, bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let read = retry(|| rustix::io::pread(file, &mut bytes[filled..], offset))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        offset += read as u64;
    }
    Ok(())
}

/// The length of a regular file; anything else is refused.
pub(crate) fn file_bytes(file: BorrowedFd<'_>) -> io::Result<u64> {
    let stat = rustix::fs::fstat(file)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(stat.st_size as u64)
}

/// The length of the regular file of that name; `None` where there is no such file.
pub(crate) fn named_file_bytes(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<u64>> {
    match retry(|| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() => {
            Ok(Some(stat.st_size as u64))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// When the file of that name was last renamed or changed, in nanoseconds since 1970; `None` where there is
/// none.
pub(crate) fn changed(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<i128>> {
    match retry(|| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => Ok(Some(i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads a small file whole; `None` where there is none.
pub(crate) fn read_file(
    directory: BorrowedFd<'_>,
    name: &str,
    bytes_max: u64,
) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
    let file = match open_file(directory, name, Access::Buffered) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file_bytes(file.as_fd())?;
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    read_exact_at(file.as_fd(), &mut bytes, 0)?;
    Ok(Some((file, bytes)))
}

/// `fsync` of a file or directory. After a failure what is on the disk is unknown: the caller discards the
/// file.
pub(crate) fn sync(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(retry(|| rustix::fs::fsync(file))?)
}

/// `fdatasync`: the bytes, and the length of the file.
pub(crate) fn sync_data(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(retry(|| rustix::fs::fdatasync(file))?)
}

/// Makes everything on a file system durable.
pub(crate) fn sync_file_system(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(retry(|| rustix::fs::syncfs(file))?)
}

/// Lets the kernel forget the clean pages of a file, so that it is read from the medium again.
pub(crate) fn drop_cached(file: BorrowedFd<'_>) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

/// Gives a file its final name, where no file has it; `false` where one has.
pub(crate) fn rename_new(
    from: BorrowedFd<'_>,
    from_name: &str,
    to: BorrowedFd<'_>,
    to_name: &str,
) -> io::Result<bool> {
    match retry(|| rustix::fs::renameat_with(from, from_name, to, to_name, RenameFlags::NOREPLACE)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // File systems without that flag (FUSE): the window between the two calls is harmless, as only the
        // same bundle, verified, can have the same name.
        Err(Errno::INVAL | Errno::NOSYS) if named_file_bytes(to, to_name)?.is_some() => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS) => rename_over(from, from_name, to, to_name).map(|()| true),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file another name, in the place of whatever has it.
pub(crate) fn rename_over(
    from: BorrowedFd<'_>,
    from_name: &str,
    to: BorrowedFd<'_>,
    to_name: &str,
) -> io::Result<()> {
    Ok(retry(|| rustix::fs::renameat(from, from_name, to, to_name))?)
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_file(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match retry(|| rustix::fs::unlinkat(directory, name, AtFlags::empty())) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a small file so that after a crash the old one is there, or the new one, whole.
pub(crate) fn write_durably(directory: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new_name = format!("{name}.new");
    remove_file(directory, &new_name)?;
    let file = create_file(directory, &new_name, Access::Buffered)?;
    write_all_at(file.as_fd(), bytes, 0)?;
    sync(file.as_fd())?;
    rename_over(directory, &new_name, directory, name)?;
    sync(directory)
}

/// The names in a directory, without `.` and `..`. Names that are not UTF-8 are nobody's here, and left out.
pub(crate) fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

pub(crate) fn space(directory: BorrowedFd<'_>) -> io::Result<FileSystemSpace> {
    let stat = rustix::fs::fstatvfs(directory)?;
    Ok(FileSystemSpace {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(call)
}
