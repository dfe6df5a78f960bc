//! The file system: each request is done to the directory behind, unless a fault is on.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, Stat};

use super::{Fault, Faults, Submission};

/// The kernel remembers nothing: tests change files behind its back.
const TTL: Duration = Duration::ZERO;

/// Asynchronous requests that the kernel gives us before earlier ones are answered: more than any test lets hang.
const QUEUED_REQUESTS_MAX: u16 = 4096;

/// What an open file may do here; the kernel keeps the other flags to itself.
const OPEN_FLAGS: i32 = libc::O_ACCMODE | libc::O_APPEND;

pub(super) struct PassThrough {
    faults: Arc<Faults>,
    submission: Submission,
    root_inode: u64,
    nodes: Mutex<HashMap<u64, Node>>,
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    listings: Mutex<HashMap<u64, Arc<Listing>>>,
    next_handle: AtomicU64,
}

/// What the kernel knows by its inode number; held open, so that no other file gets that number meanwhile.
struct Node {
    handle: Arc<OwnedFd>,
    name: String,
    lookups: u64,
}

struct OpenFile {
    file: File,
    name: String,
}

type Listing = Vec<(u64, FileType, Vec<u8>)>;

impl PassThrough {
    pub(super) fn new(backing: &Path, faults: Arc<Faults>, submission: Submission) -> io::Result<Self> {
        let handle =
            rustix::fs::open(backing, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let root_inode = rustix::fs::fstat(&handle)?.st_ino;
        let root = Node { handle: Arc::new(handle), name: String::new(), lookups: 1 };
        Ok(Self {
            faults,
            submission,
            root_inode,
            nodes: Mutex::new(HashMap::from([(INodeNo::ROOT.0, root)])),
            files: Mutex::default(),
            listings: Mutex::default(),
            next_handle: AtomicU64::new(1),
        })
    }

    fn node(&self, inode: INodeNo) -> Result<Arc<OwnedFd>, Errno> {
        lock(&self.nodes).get(&inode.0).map(|node| node.handle.clone()).ok_or(Errno::ENOENT)
    }

    fn node_name(&self, inode: INodeNo) -> String {
        lock(&self.nodes).get(&inode.0).map(|node| node.name.clone()).unwrap_or_default()
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<OpenFile>, Errno> {
        lock(&self.files).get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    fn attributes(&self, stat: &Stat) -> FileAttr {
        let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
        FileAttr {
            ino: INodeNo(if stat.st_ino == self.root_inode { INodeNo::ROOT.0 } else { stat.st_ino }),
            size: stat.st_size as u64,
            blocks: stat.st_blocks as u64,
            atime: time(stat.st_atime),
            mtime: time(stat.st_mtime),
            ctime: time(stat.st_ctime),
            crtime: SystemTime::UNIX_EPOCH,
            kind: kind(rustix::fs::FileType::from_raw_mode(stat.st_mode)),
            perm: (stat.st_mode & 0o7777) as u16,
            nlink: stat.st_nlink as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// What a name in a directory means; the kernel knows it from now on.
    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(self.node(parent)?, name, flags, Mode::empty()).map_err(errno)?;
        let attributes = self.attributes(&rustix::fs::fstat(&handle).map_err(errno)?);
        let name = name.to_string_lossy().into_owned();
        let mut nodes = lock(&self.nodes);
        let node = nodes.entry(attributes.ino.0).or_insert_with(|| Node {
            handle: Arc::new(handle),
            name: String::new(),
            lookups: 0,
        });
        node.lookups += 1;
        node.name = name;
        Ok(attributes)
    }

    fn create_file(
        &self,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Result<(FileAttr, FileHandle), Errno> {
        self.refuse_when_full(&name.to_string_lossy())?;
        let flags = OFlags::from_bits_retain((flags & (OPEN_FLAGS | libc::O_EXCL)) as u32)
            | OFlags::CREATE
            | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(self.node(parent)?, name, flags, Mode::from_raw_mode(mode)).map_err(errno)?;
        let attributes = self.find(parent, name)?;
        Ok((attributes, self.keep(file.into(), name.to_string_lossy().into_owned())))
    }

    fn keep(&self, file: File, name: String) -> FileHandle {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        lock(&self.files).insert(handle, Arc::new(OpenFile { file, name }));
        FileHandle(handle)
    }

    fn refuse_when_full(&self, name: &str) -> Result<(), Errno> {
        if self.faults.has(name, Fault::FullDisk) { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    fn refuse_sync(&self, name: &str) -> Result<(), Errno> {
        if self.faults.has(name, Fault::FailedSyncs) { Err(Errno::EIO) } else { Ok(()) }
    }

    fn list(&self, inode: INodeNo) -> Result<FileHandle, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(self.node(inode)?, ".", flags, Mode::empty()).map_err(errno)?;
        let mut listing = Listing::new();
        for entry in rustix::fs::Dir::new(directory).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            listing.push((entry.ino(), kind(entry.file_type()), entry.file_name().to_bytes().to_vec()));
        }
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        lock(&self.listings).insert(handle, Arc::new(listing));
        Ok(FileHandle(handle))
    }
}

impl OpenFile {
    fn read(&self, faults: &Faults, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        if faults.has(&self.name, Fault::FailedReads) {
            return Err(Errno::EIO);
        }
        let mut bytes = vec![0; size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        if filled > 0 && faults.has(&self.name, Fault::FlippedBits) {
            bytes[filled / 2] ^= 1;
        }
        Ok(bytes)
    }
}

impl Filesystem for PassThrough {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.submission == Submission::Queued {
            let refused = |_| io::Error::other("this kernel's FUSE has no asynchronous direct reads");
            config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).map_err(refused)?;
        }
        let _ = config.set_max_background(QUEUED_REQUESTS_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, inode: INodeNo, lookups: u64) {
        let mut nodes = lock(&self.nodes);
        if let Some(node) = nodes.get_mut(&inode.0).filter(|_| inode != INodeNo::ROOT) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 {
                nodes.remove(&inode.0);
            }
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(inode).and_then(|node| rustix::fs::fstat(node).map_err(errno)) {
            Ok(stat) => reply.attr(&TTL, &self.attributes(&stat)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = || -> Result<FileAttr, Errno> {
            let node = self.node(inode)?;
            let path = format!("/proc/self/fd/{}", node.as_raw_fd());
            if let Some(mode) = mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                fs::OpenOptions::new().write(true).open(&path)?.set_len(size)?;
            }
            Ok(self.attributes(&rustix::fs::fstat(node).map_err(errno)?))
        };
        match change() {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let make = || {
            self.refuse_when_full(&name.to_string_lossy())?;
            rustix::fs::mkdirat(self.node(parent)?, name, Mode::from_raw_mode(mode)).map_err(errno)?;
            self.find(parent, name)
        };
        match make() {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let hangs = |fault| match fault {
            Fault::HungUnlinks(hang) => Some(hang),
            _ => None,
        };
        let unlink = |parent| rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(errno);
        let unlinked = self.node(parent).and_then(unlink);
        self.faults.answer(&name.to_string_lossy(), hangs, move || answer(unlinked, reply));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |parent| rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(errno);
        answer(self.node(parent).and_then(remove), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            let (from, to) = (self.node(parent)?, self.node(new_parent)?);
            let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
            rustix::fs::renameat_with(from, name, &to, new_name, flags).map_err(errno)?;
            let stat = rustix::fs::statat(&to, new_name, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
            if let Some(node) = lock(&self.nodes).get_mut(&stat.st_ino) {
                node.name = new_name.to_string_lossy().into_owned();
            }
            Ok(())
        };
        answer(rename(), reply);
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let node = match self.node(inode) {
            Ok(node) => node,
            Err(error) => return reply.error(error),
        };
        let name = self.node_name(inode);
        let hangs = |fault| match fault {
            Fault::HungOpens(hang) => Some(hang),
            _ => None,
        };
        // Only a cached file can be mapped.
        let is_cached =
            flags.0 & (libc::O_ACCMODE | libc::O_DIRECT) == libc::O_RDONLY && self.faults.caches_pages();
        let opened = if is_cached { FopenFlags::empty() } else { FopenFlags::FOPEN_DIRECT_IO };
        let flags = OFlags::from_bits_retain((flags.0 & OPEN_FLAGS) as u32) | OFlags::CLOEXEC;
        match rustix::fs::open(format!("/proc/self/fd/{}", node.as_raw_fd()), flags, Mode::empty()) {
            Ok(file) => {
                let handle = self.keep(file.into(), name.clone());
                self.faults.answer(&name, hangs, move || reply.opened(handle, opened));
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self.create_file(parent, name, mode, flags) {
            Ok((attributes, handle)) => {
                reply.created(&TTL, &attributes, Generation(0), handle, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file = match self.file(handle) {
            Ok(file) => file,
            Err(error) => return reply.error(error),
        };
        let hangs = |fault| match fault {
            Fault::HungReads(hang) => Some(hang),
            _ => None,
        };
        let (faults, name) = (self.faults.clone(), file.name.clone());
        self.faults.answer(&name, hangs, move || match file.read(&faults, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |file: Arc<OpenFile>| {
            self.refuse_when_full(&file.name)?;
            file.file.write_all_at(bytes, offset).map_err(Errno::from)
        };
        match self.file(handle).and_then(write) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.files).remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let sync = |file: Arc<OpenFile>| {
            self.refuse_sync(&file.name)?;
            let synced = if data_only { file.file.sync_data() } else { file.file.sync_all() };
            Ok(synced?)
        };
        answer(self.file(handle).and_then(sync), reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let reserve = |file: Arc<OpenFile>| {
            self.refuse_when_full(&file.name)?;
            let flags = FallocateFlags::from_bits_retain(mode as u32);
            rustix::fs::fallocate(file.file.as_fd(), flags, offset, length).map_err(errno)
        };
        answer(self.file(handle).and_then(reserve), reply);
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.list(inode) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(listing) = lock(&self.listings).get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        for (place, (inode, kind, name)) in listing.iter().enumerate().skip(offset as usize) {
            use std::os::unix::ffi::OsStrExt;
            if reply.add(INodeNo(*inode), place as u64 + 1, *kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.listings).remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let sync = |node: Arc<OwnedFd>| {
            self.refuse_sync(&self.node_name(inode))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(node, ".", flags, Mode::empty()).map_err(errno)?;
            rustix::fs::fsync(directory).map_err(errno)
        };
        answer(self.node(inode).and_then(sync), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.node(INodeNo::ROOT).and_then(|root| rustix::fs::fstatvfs(root).map_err(errno)) {
            Ok(s) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                s.f_bsize as u32,
                255,
                s.f_frsize as u32,
            ),
            Err(error) => reply.error(error),
        }
    }
}

fn answer(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn kind(kind: rustix::fs::FileType) -> FileType {
    match kind {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        _ => FileType::RegularFile,
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_i32(error.raw_os_error())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
