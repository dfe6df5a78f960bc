use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest::{Context, SHA256};
use control_client::content::{BundlePath, ObjectName, Sha256};
use control_client::descriptor::DescribedObject;
use control_client::media_type::media_type;

use super::{MediaManifests, PublishError};
use crate::limits;

/// What a tree consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Directories that have files, sorted by path.
    pub directories: Vec<ScannedDirectory>,
    /// What was left out, and why.
    pub skipped: Vec<(PathBuf, String)>,
}

/// A directory that has files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedDirectory {
    /// The path that it is published under.
    pub path: BundlePath,
    /// Its files, sorted by the bytes of their names.
    pub objects: Vec<DescribedObject>,
    /// Those of them that are media manifests.
    pub media_manifests: MediaManifests,
}

/// Reads every file below a directory, and digests it.
pub fn scan(root: &Path, as_path: &BundlePath) -> Result<Scanned, PublishError> {
    let mut scanned = Scanned::default();
    // Directories still to be read: a stack, so that depth costs no thread's stack.
    let mut waiting = vec![(root.to_owned(), as_path.as_str().to_owned(), 0_usize)];
    while let Some((directory, path, depth)) = waiting.pop() {
        let mut objects = Vec::new();
        let entries =
            fs::read_dir(&directory).map_err(|error| PublishError::Source(directory.clone(), error))?;
        for entry in entries {
            let entry = entry.map_err(|error| PublishError::Source(directory.clone(), error))?;
            let kind = entry.file_type().map_err(|error| PublishError::Source(entry.path(), error))?;
            let name = entry.file_name();
            let Some(name) = servable(&name) else {
                scanned.skipped.push((entry.path(), "its name cannot be served".to_owned()));
                continue;
            };
            if kind.is_dir() && depth < limits::PUBLISH_DEPTH_MAX {
                let below = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
                waiting.push((entry.path(), below, depth + 1));
            } else if kind.is_file() {
                objects.push(describe(&entry.path(), name)?);
            } else {
                scanned
                    .skipped
                    .push((entry.path(), "neither a file nor a directory, or too deep".to_owned()));
            }
        }
        if objects.is_empty() {
            continue;
        }
        if scanned.directories.len() == limits::TITLE_BUNDLES_MAX {
            return Err(PublishError::TooMany {
                what: "directories with files",
                most: limits::TITLE_BUNDLES_MAX,
            });
        }
        let path = BundlePath::parse(&path).map_err(|error| PublishError::Path(directory.clone(), error))?;
        objects.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        let media_manifests = MediaManifests::of(&directory, &path, &objects)?;
        scanned.directories.push(ScannedDirectory { path, objects, media_manifests });
    }
    scanned.directories.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    Ok(scanned)
}

fn servable(name: &OsStr) -> Option<ObjectName> {
    ObjectName::parse(name.to_str()?).ok()
}

fn describe(path: &Path, name: ObjectName) -> Result<DescribedObject, PublishError> {
    let source = |error| PublishError::Source(path.to_owned(), error);
    let mut file = open(path).map_err(source)?;
    let before = file.metadata().map_err(source)?;
    let (bytes, sha256) = digest(&mut file).map_err(source)?;
    let after = file.metadata().map_err(source)?;
    if bytes != before.len() || before.len() != after.len() || before.modified().ok() != after.modified().ok()
    {
        return Err(PublishError::Changing(path.to_owned()));
    }
    let modified = after.modified().ok().and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    Ok(DescribedObject {
        media_type: media_type(name.as_str()).to_owned(),
        name,
        bytes,
        sha256,
        last_modified: modified.map_or(0, |since| since.as_secs()),
    })
}

/// Follows no link that was put there since the directory was read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn digest(file: &mut File) -> io::Result<(u64, Sha256)> {
    let mut context = Context::new(&SHA256);
    let mut block = vec![0; limits::DIGEST_BLOCK_BYTES];
    let mut bytes = 0;
    loop {
        let count = match file.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(&block[..count]);
        bytes += count as u64;
    }
    let digest = context.finish();
    Ok((bytes, Sha256::new(digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes"))))
}
