//! Turns a directory tree into bundles: one for each directory that holds files. For boxes that are filled
//! before they are shipped, and for tests.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use control_client::content::{BundleKey, BundlePath, Generation, NameError, ObjectName, Sha256};
use rustix::fs::{AtFlags, FileType, Stat};

use crate::disk::{self, Access};
use crate::inventory::{self, BundleRecord, OfflineAdoption};
use crate::layout::PlannedObject;
use crate::limits::BLOCK_BYTES;
use crate::media_type::media_type;
use crate::publish::{PublishError, PublishedBundle};
use crate::volume::{Volume, VolumeError};
use crate::writer::BundleWriter;

/// What was imported, and what was not.
#[derive(Debug)]
pub struct ImportReport {
    /// Bundles published.
    pub published: Vec<PublishedBundle>,
    /// Files and directories left out, with the reason: links, devices, names that cannot be served.
    pub skipped: Vec<(PathBuf, String)>,
    /// Directories that could not be made a bundle.
    pub failed: Vec<(PathBuf, ImportError)>,
    /// Whether the bundles are in the volume's inventory, or why not; then a daemon adopts them when it
    /// starts next, or when it is told to.
    pub adoption: Result<(), NotAdopted>,
}

/// Why bundles that were published are not in the inventory.
#[derive(Debug)]
pub enum NotAdopted {
    /// Another process, a daemon most likely, has the volume: its inventory is for that one to change.
    InUse,
    /// The inventory's journal is damaged, which the next daemon repairs.
    JournalDamaged,
    /// The volume's lock cannot be taken.
    Lock(VolumeError),
    /// The journal cannot be read or written.
    Journal(io::Error),
}

/// Why a directory was not made a bundle.
#[derive(Debug)]
pub enum ImportError {
    /// Something in the source could not be read.
    Source(PathBuf, io::Error),
    /// The path that it would have cannot be served.
    Path(String, NameError),
    /// Its name is not UTF-8.
    NotUtf8,
    /// It could not be published.
    Publish(PublishError),
}

/// A directory that holds files, and what each of them will be.
struct SourceDirectory {
    /// Below the one that is imported.
    directory: PathBuf,
    files: Vec<PlannedObject>,
}

/// Imports the tree under `directory` as bundles under `as_path`.
///
/// The media type follows from the extension, `Last-Modified` from the file's own. All bundles of an import
/// get the present time in microseconds as their generation, so that a later import replaces an earlier one;
/// where the volume holds a higher generation of a path (the clock was set back), the next after that one.
/// Bundles are complete one by one: an import that is interrupted can be repeated.
///
/// No link is followed, and every directory is entered from the one above it, which is held open: what is
/// changed in the source meanwhile cannot lead anywhere else.
pub fn import(directory: &Path, as_path: &BundlePath, volume: &Arc<Volume>) -> ImportReport {
    let mut report =
        ImportReport { published: Vec::new(), skipped: Vec::new(), failed: Vec::new(), adoption: Ok(()) };
    let root = match disk::open_root(directory) {
        Ok(root) => root,
        Err(error) => {
            let error = ImportError::Source(directory.to_owned(), error);
            report.failed.push((directory.to_owned(), error));
            return report;
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
    let mut records = Vec::new();
    for source in scan(root.as_fd(), directory, &mut report) {
        match import_directory(root.as_fd(), &source, as_path, volume, now) {
            Ok((published, record)) => {
                report.published.push(published);
                records.push(record);
            }
            Err(error) => report.failed.push((directory.join(source.directory), error)),
        }
    }
    report.adoption = adopt(volume, records);
    report
}

fn adopt(volume: &Volume, records: Vec<BundleRecord>) -> Result<(), NotAdopted> {
    let lock = volume.lock().map_err(|error| match error {
        VolumeError::Locked(_) => NotAdopted::InUse,
        other => NotAdopted::Lock(other),
    })?;
    match inventory::adopt_offline(volume, &lock, records).map_err(NotAdopted::Journal)? {
        OfflineAdoption::Adopted => Ok(()),
        OfflineAdoption::JournalDamaged => Err(NotAdopted::JournalDamaged),
    }
}

fn import_directory(
    root: BorrowedFd<'_>,
    source: &SourceDirectory,
    as_path: &BundlePath,
    volume: &Arc<Volume>,
    now: u64,
) -> Result<(PublishedBundle, BundleRecord), ImportError> {
    let source_error = |error| ImportError::Source(source.directory.clone(), error);
    let path = bundle_path(&source.directory, as_path)?;
    let directory = open_below(root, &source.directory).map_err(source_error)?;
    let newest = volume
        .newest_generation(&path)
        .map_err(|error| ImportError::Publish(PublishError::Io { step: "list bundles/", error }))?;
    let generation = Generation::new(newest.map_or(now, |newest| now.max(newest.number().saturating_add(1))));
    let key = BundleKey { path, generation };
    let mut writer = BundleWriter::create(volume, key, Sha256::new([0; 32]), source.files.clone())?;
    let planned = writer.objects().to_vec();
    let mut block = vec![0; BLOCK_BYTES];
    for object in planned {
        copy(directory.as_fd(), &object, &mut writer, &mut block)?;
    }
    let published = writer.finish()?;
    let record = published.record.clone();
    Ok((published, record))
}

fn copy(
    directory: BorrowedFd<'_>,
    object: &PlannedObject,
    writer: &mut BundleWriter,
    block: &mut [u8],
) -> Result<(), ImportError> {
    let name = object.name.as_str();
    let source_error = |error| ImportError::Source(name.into(), error);
    let mut file = File::from(disk::open_file(directory, name, Access::Buffered).map_err(source_error)?);
    if disk::file_bytes(file.as_fd()).map_err(source_error)? != object.length {
        return Err(source_error(io::Error::other("its length has changed; import it again")));
    }
    loop {
        match file.read(block).map_err(source_error)? {
            0 => break,
            read => writer.write(&block[..read])?,
        }
    }
    writer.end_object()?;
    Ok(())
}

/// All directories below `root` that hold files, in the order of their paths. `above` is how the operator
/// calls the root.
fn scan(root: BorrowedFd<'_>, above: &Path, report: &mut ImportReport) -> Vec<SourceDirectory> {
    let mut sources = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        match scan_directory(root, &directory, above, &mut waiting, report) {
            Ok(files) if files.is_empty() => {}
            Ok(files) => sources.push(SourceDirectory { directory, files }),
            Err(error) => {
                let directory = above.join(directory);
                report.failed.push((directory.clone(), ImportError::Source(directory, error)));
            }
        }
    }
    sources.sort_by(|one, other| one.directory.cmp(&other.directory));
    sources
}

/// The files of a directory; the directories in it join those that wait.
fn scan_directory(
    root: BorrowedFd<'_>,
    directory: &Path,
    above: &Path,
    waiting: &mut Vec<PathBuf>,
    report: &mut ImportReport,
) -> io::Result<Vec<PlannedObject>> {
    let opened = open_below(root, directory)?;
    let mut files = Vec::new();
    for name in disk::entries(opened.as_fd())? {
        let path = directory.join(&name);
        let stat = rustix::fs::statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            waiting.push(path);
            continue;
        }
        match plan(name.to_str(), &stat) {
            Ok(object) => files.push(object),
            Err(reason) => report.skipped.push((above.join(path), reason)),
        }
    }
    Ok(files)
}

/// Opens a directory below another, name by name, and follows no link.
fn open_below(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let mut opened = root.try_clone_to_owned()?;
    for component in path.components() {
        if let Component::Normal(name) = component {
            opened = disk::open_directory(opened.as_fd(), name)?;
        }
    }
    Ok(opened)
}

fn plan(name: Option<&str>, stat: &Stat) -> Result<PlannedObject, String> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !kind.is_file() {
        let kind = if kind.is_symlink() { "a symbolic link" } else { "not a regular file" };
        return Err(format!("{kind}; only regular files are imported"));
    }
    let name = name.ok_or("its name is not UTF-8")?;
    Ok(PlannedObject {
        name: ObjectName::parse(name).map_err(|error| error.to_string())?,
        length: stat.st_size as u64,
        media_type: media_type(name).into(),
        last_modified: u64::try_from(stat.st_mtime).unwrap_or(0),
        sha256: None,
    })
}

fn bundle_path(directory: &Path, as_path: &BundlePath) -> Result<BundlePath, ImportError> {
    let below = directory.to_str().ok_or(ImportError::NotUtf8)?;
    let above = as_path.as_str().trim_end_matches('/');
    let text = match (above, below) {
        ("", "") => "/".to_owned(),
        (above, "") => above.to_owned(),
        (above, below) => format!("{above}/{below}"),
    };
    BundlePath::parse(&text).map_err(|error| ImportError::Path(text, error))
}

impl From<PublishError> for ImportError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(path, error) => write!(formatter, "{}: {error}", path.display()),
            Self::NotUtf8 => write!(formatter, "its name is not UTF-8; rename it"),
            Self::Path(path, error) => write!(formatter, "{path}: {error}"),
            Self::Publish(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ImportError {}

impl fmt::Display for NotAdopted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => write!(
                formatter,
                "another process uses the volume; a daemon adopts them when it starts next, or at once with --socket"
            ),
            Self::JournalDamaged => write!(
                formatter,
                "the inventory's journal is damaged; the daemon repairs it when it starts next, and adopts them"
            ),
            Self::Lock(error) => {
                write!(
                    formatter,
                    "the volume cannot be locked; the daemon adopts them when it starts next: {error}"
                )
            }
            Self::Journal(error) => write!(
                formatter,
                "the inventory cannot be changed; the daemon adopts them when it starts next: {error}"
            ),
        }
    }
}

impl std::error::Error for NotAdopted {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What becomes of a file that is changed between the scan and the copy.
    fn import_changed(change: impl FnOnce(&Path)) -> Result<(), ImportError> {
        let directory = tempfile::tempdir().unwrap();
        let (source, volume) = (directory.path().join("source"), directory.path().join("volume"));
        fs::create_dir_all(source.join("a")).unwrap();
        fs::write(source.join("a/1.m4s"), b"mine").unwrap();
        fs::create_dir(directory.path().join("secret")).unwrap();
        fs::write(directory.path().join("secret/1.m4s"), b"key!").unwrap();
        Volume::init(&volume).unwrap();
        let volume = Arc::new(Volume::open(&volume, false).unwrap());
        let root = File::open(&source).unwrap();
        let mut report = import(&source.join("none"), &BundlePath::parse("/t").unwrap(), &volume);
        let found = scan(root.as_fd(), &source, &mut report);
        assert_eq!(found.len(), 1);
        change(&source);
        let as_path = BundlePath::parse("/t").unwrap();
        import_directory(root.as_fd(), &found[0], &as_path, &volume, 1).map(|_| ())
    }

    #[test]
    fn a_source_that_is_changed_between_scan_and_copy_leads_nowhere_else() {
        assert!(import_changed(|_| ()).is_ok());
        let replace_file = |source: &Path| {
            fs::remove_file(source.join("a/1.m4s")).unwrap();
            symlink("../../secret/1.m4s", source.join("a/1.m4s")).unwrap();
        };
        let replace_directory = |source: &Path| {
            fs::remove_dir_all(source.join("a")).unwrap();
            symlink("../secret", source.join("a")).unwrap();
        };
        let grow = |source: &Path| fs::write(source.join("a/1.m4s"), b"longer").unwrap();
        assert!(matches!(import_changed(replace_file), Err(ImportError::Source(..))));
        assert!(matches!(import_changed(replace_directory), Err(ImportError::Source(..))));
        assert!(matches!(import_changed(grow), Err(ImportError::Source(..))));
    }
}
