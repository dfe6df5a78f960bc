//! The system calls that make things durable, or read them, in one place. All names are relative to a
//! directory that is held open, so that nothing can be written into what lies below a mount point after the
//! disk has gone.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Advice, AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

/// Read by daemon and agent, written by whoever made the file; nobody else.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
/// Read and written by daemon and agent: what whoever has the volume's lock goes on with.
const SHARED_FILE_MODE: Mode = Mode::from_raw_mode(0o660);
/// For daemon and agent, two users of one group: each can remove what the other made.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o770);

/// What a file system has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// What a directory says of a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileFacts {
    device: u64,
    inode: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// How many names it has.
    pub(crate) links: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub(crate) written: i64,
}

/// Whether reads go through the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Buffered,
    /// `O_DIRECT`: addresses, offsets and lengths are multiples of 4 KiB.
    Direct,
}

impl FileFacts {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            bytes: stat.st_size as u64,
            links: stat.st_nlink,
            written: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
        }
    }

    /// Whether both are the same file, whatever its names.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Access {
    fn flags(self) -> OFlags {
        match self {
            Self::Buffered => OFlags::empty(),
            Self::Direct => OFlags::DIRECT,
        }
    }
}

/// Opens a directory that the operator names; links are followed.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry(|| rustix::fs::open(path, flags, Mode::empty()))?)
}

/// Opens a directory in another one; no link is followed.
pub(crate) fn open_directory(directory: BorrowedFd<'_>, name: impl AsRef<OsStr>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(retry(|| rustix::fs::openat(directory, name.as_ref(), flags, Mode::empty()))?)
}

/// Opens a regular file for reading; anything else is refused, and waits for nobody: a pipe would have its
/// opener wait for the other end.
pub(crate) fn open_file(directory: BorrowedFd<'_>, name: &str, access: Access) -> io::Result<OwnedFd> {
    open_regular(directory, name, OFlags::RDONLY | access.flags())
}

/// The same for reading and writing, to go on with a file.
pub(crate) fn open_to_write(directory: BorrowedFd<'_>, name: &str, access: Access) -> io::Result<OwnedFd> {
    open_regular(directory, name, OFlags::RDWR | access.flags())
}

fn open_regular(directory: BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | flags;
    let file = retry(|| rustix::fs::openat(directory, name, flags, Mode::empty()))?;
    file_bytes(file.as_fd())?;
    // Means nothing to a regular file, except to io_uring, some versions of which then fail where they should wait.
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Opens a file for its lock; made where it does not exist.
pub(crate) fn open_or_create(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    loop {
        match open_file(directory, name, Access::Buffered) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        match create_shared_file(directory, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
}

/// Makes a file that does not exist yet, to be written by nobody else.
pub(crate) fn create_file(directory: BorrowedFd<'_>, name: &str, access: Access) -> io::Result<OwnedFd> {
    create(directory, name, access.flags(), FILE_MODE)
}

/// Makes a file that does not exist yet, which the other user of the group may write to later.
pub(crate) fn create_shared_file(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    create(directory, name, OFlags::empty(), SHARED_FILE_MODE)
}

fn create(directory: BorrowedFd<'_>, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | flags;
    let file = retry(|| rustix::fs::openat(directory, name, flags, mode))?;
    give_to_owner_of(directory, file.as_fd())?;
    // Once more, as the process's umask does not apply here: the other user of the group has to read it.
    rustix::fs::fchmod(&file, mode)?;
    Ok(file)
}

/// Makes a directory; one that exists already is no error.
pub(crate) fn create_directory(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match retry(|| rustix::fs::mkdirat(directory, name, DIRECTORY_MODE)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let made = open_directory(directory, name)?;
    give_to_owner_of(directory, made.as_fd())?;
    share_directory(made.as_fd(), false)
}

/// Lets the group of a directory work in it. The set-group-id bit, which hands the group down, is only asked
/// for: a daemon that may not set it ([`RestrictSUIDSGID=`]) makes files of the right group anyhow.
///
/// [`RestrictSUIDSGID=`]: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
pub(crate) fn share_directory(directory: BorrowedFd<'_>, hands_group_down: bool) -> io::Result<()> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(directory)?.st_mode & 0o7777);
    let wanted = mode | DIRECTORY_MODE | if hands_group_down { Mode::SGID } else { Mode::empty() };
    if wanted == mode || rustix::fs::fchmod(directory, wanted).is_ok() {
        return Ok(());
    }
    let shared = wanted - Mode::SGID;
    if mode.contains(shared) { Ok(()) } else { Ok(rustix::fs::fchmod(directory, shared)?) }
}

/// Gives what root makes in a directory to whoever the directory belongs to, so that the daemon can use what
/// `oca init` and `oca import` make, whoever runs them. Everybody else's files are their own, as ever.
pub(crate) fn give_to_owner_of(directory: BorrowedFd<'_>, made: BorrowedFd<'_>) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (owner, found) = (rustix::fs::fstat(directory)?, rustix::fs::fstat(made)?);
    if (owner.st_uid, owner.st_gid) == (found.st_uid, found.st_gid) {
        return Ok(());
    }
    let (user, group) = (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
    match rustix::fs::fchown(made, Some(user), Some(group)) {
        // A root without that right (a container's) has to leave it root's.
        Ok(()) | Err(Errno::PERM) => Ok(()),
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
    Ok(named_facts(directory, name)?.map(|facts| facts.bytes))
}

/// What is known of the regular file of that name; `None` where there is no such file.
pub(crate) fn named_facts(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<FileFacts>> {
    match retry(|| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() => {
            Ok(Some(FileFacts::of(&stat)))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the regular file of that name takes on the disk, which is more than its length where more was reserved; `None` where
/// there is no such file.
pub(crate) fn named_disk_bytes(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<u64>> {
    match retry(|| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() => {
            // Always in units of 512 bytes (stat(2)).
            Ok(Some((stat.st_blocks as u64).saturating_mul(512)))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is known of an open file.
pub(crate) fn facts(file: BorrowedFd<'_>) -> io::Result<FileFacts> {
    Ok(FileFacts::of(&rustix::fs::fstat(file)?))
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

/// When the file of that name was last written, in nanoseconds since 1970; a rename or a new owner do not count.
/// `None` where there is none.
pub(crate) fn written(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<i64>> {
    match retry(|| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => Ok(Some(FileFacts::of(&stat).written)),
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
        // File systems without that flag (FUSE).
        Err(Errno::INVAL | Errno::NOSYS) => link_new(from, from_name, to, to_name),
        Err(error) => Err(error.into()),
    }
}

/// The same in two steps, neither of which replaces anything. A crash between them leaves a file with two
/// names; the first one is removed as abandoned.
fn link_new(from: BorrowedFd<'_>, from_name: &str, to: BorrowedFd<'_>, to_name: &str) -> io::Result<bool> {
    match link(from, from_name, to, to_name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    // It has its final name; the other one is as good as abandoned.
    let _ = remove_file(from, from_name);
    Ok(true)
}

/// Gives a file a second name, where no file has it.
pub(crate) fn link(
    from: BorrowedFd<'_>,
    from_name: &str,
    to: BorrowedFd<'_>,
    to_name: &str,
) -> io::Result<()> {
    Ok(retry(|| rustix::fs::linkat(from, from_name, to, to_name, AtFlags::empty()))?)
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
    let file = create_shared_file(directory, &new_name)?;
    write_all_at(file.as_fd(), bytes, 0)?;
    sync(file.as_fd())?;
    rename_over(directory, &new_name, directory, name)?;
    sync(directory)
}

/// The names in a directory, without `.` and `..`. Names that are not UTF-8 are nobody's here, and left out.
pub(crate) fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    Ok(entries(directory)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// The same, whatever their bytes.
pub(crate) fn entries(directory: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(OsStr::from_bytes(name).to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        let opened = std::fs::File::open(directory.path()).unwrap().into();
        (directory, opened)
    }

    #[test]
    fn without_a_rename_that_replaces_nothing_a_name_that_is_taken_is_left_alone_all_the_same() {
        let (path, directory) = directory();
        for (name, text) in [("mine", "1"), ("other", "2")] {
            std::fs::write(path.path().join(name), text).unwrap();
        }
        let at = directory.as_fd();
        assert!(link_new(at, "mine", at, "final").unwrap());
        assert!(!link_new(at, "other", at, "final").unwrap());
        assert_eq!(std::fs::read(path.path().join("final")).unwrap(), b"1");
        assert_eq!(std::fs::read(path.path().join("other")).unwrap(), b"2");
        assert!(!path.path().join("mine").exists());
    }

    #[test]
    fn a_pipe_a_link_and_a_directory_are_no_files_and_nobody_waits_for_them() {
        let (path, directory) = directory();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(&directory, "pipe", rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.path().join("link")).unwrap();
        std::fs::create_dir(path.path().join("directory")).unwrap();
        for name in ["pipe", "link", "directory"] {
            assert!(open_file(directory.as_fd(), name, Access::Buffered).is_err(), "{name}");
            assert!(open_to_write(directory.as_fd(), name, Access::Buffered).is_err(), "{name}");
        }
        std::os::unix::fs::symlink(path.path().join("directory"), path.path().join("elsewhere")).unwrap();
        assert!(open_directory(directory.as_fd(), "elsewhere").is_err());
    }

    #[test]
    fn a_file_that_is_opened_keeps_none_of_the_flags_that_make_opening_safe() {
        let (path, directory) = directory();
        std::fs::write(path.path().join("file"), b"text").unwrap();
        let file = open_file(directory.as_fd(), "file", Access::Buffered).unwrap();
        assert!(!rustix::fs::fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
        // Not every file system takes it.
        if let Ok(direct) = open_file(directory.as_fd(), "file", Access::Direct) {
            let flags = rustix::fs::fcntl_getfl(&direct).unwrap();
            assert!(flags.contains(OFlags::DIRECT) && !flags.contains(OFlags::NONBLOCK));
        }
    }

    #[test]
    fn a_directory_is_made_for_the_group_and_hands_it_down_where_its_parent_does() {
        let (path, directory) = directory();
        let mode = |name: &str| {
            let stat = rustix::fs::statat(&directory, name, AtFlags::empty()).unwrap();
            stat.st_mode & 0o7777
        };
        create_directory(directory.as_fd(), "plain").unwrap();
        assert_eq!(mode("plain"), 0o770);
        share_directory(directory.as_fd(), true).unwrap();
        create_directory(directory.as_fd(), "inherits").unwrap();
        assert_eq!(mode("inherits"), 0o2770);
        assert_eq!(mode(".") & 0o2770, 0o2770);
        drop(path);
    }
}
