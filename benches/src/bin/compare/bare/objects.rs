//! The objects of a bare loop: all of them open, each with its head.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// An object.
pub(super) struct Object {
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) head: Vec<u8>,
}

/// All of them, and where each target's is.
pub(super) struct Objects {
    pub(super) all: Vec<Object>,
    by_target: HashMap<Vec<u8>, usize>,
}

impl Objects {
    /// Opens all files of the folders of a set; directly (past the page cache) where that is asked for.
    pub(super) fn open(root: &Path, set: &str, is_direct: bool) -> io::Result<Self> {
        let mut objects = Self { all: Vec::new(), by_target: HashMap::new() };
        let flags =
            if is_direct { i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)? } else { 0 };
        for folder in std::fs::read_dir(root.join(set))? {
            let folder = folder?;
            for entry in std::fs::read_dir(folder.path())? {
                let entry = entry?;
                let file = OpenOptions::new().read(true).custom_flags(flags).open(entry.path())?;
                let bytes = file.metadata()?.len();
                let (folder, name) = (folder.file_name(), entry.file_name());
                let target = format!("/{set}/{}/{}", folder.to_string_lossy(), name.to_string_lossy());
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: video/iso.segment\r\nContent-Length: {bytes}\r\n\r\n"
                );
                objects.by_target.insert(target.into_bytes(), objects.all.len());
                objects.all.push(Object { file, bytes, head: head.into_bytes() });
            }
        }
        Ok(objects)
    }

    /// The object that a request asks for: its target is its second word.
    pub(super) fn find(&self, request: &[u8]) -> io::Result<usize> {
        let target = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let found = self.by_target.get(target).copied();
        found.ok_or_else(|| io::Error::other("a target that is not served"))
    }
}
