//! Turns a directory tree into bundles: one for each directory that holds files. For boxes that are filled
//! before they are shipped, and for tests.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use control_client::content::{BundleKey, BundlePath, Generation, NameError, ObjectName, Sha256};
use rustix::fs::OFlags;

use crate::inventory::{self, BundleRecord, OfflineAdoption};
use crate::limits::BLOCK_BYTES;
use crate::media_type::media_type;
use crate::volume::Volume;
use crate::writer::{BundleWriter, PlannedObject, PublishError, PublishedBundle};

/// What was imported, and what was not.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// Bundles published.
    pub published: Vec<PublishedBundle>,
    /// Files and directories left out, with the reason: links, devices, names that cannot be served.
    pub skipped: Vec<(PathBuf, String)>,
    /// Directories that could not be made a bundle.
    pub failed: Vec<(PathBuf, ImportError)>,
    /// Whether the bundles are in the volume's inventory; if not, a daemon adopts them at its next
    /// reconciliation, or when it is told to.
    pub is_adopted: bool,
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
    directory: PathBuf,
    files: Vec<PlannedObject>,
}

/// Imports the tree under `directory` as bundles under `as_path`.
///
/// The media type follows from the extension, `Last-Modified` from the file's own. All bundles of an import
/// get the present time in microseconds as their generation, so that a later import replaces an earlier one;
/// where the volume holds a higher generation of a path (the clock was set back), the next after that one.
/// Bundles are complete one by one: an import that is interrupted can be repeated.
pub fn import(directory: &Path, as_path: &BundlePath, volume: &Arc<Volume>) -> ImportReport {
    let mut report = ImportReport::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
    let mut records = Vec::new();
    for source in scan(directory, &mut report) {
        match import_directory(directory, &source, as_path, volume, now) {
            Ok((published, record)) => {
                report.published.push(published);
                records.push(record);
            }
            Err(error) => report.failed.push((source.directory, error)),
        }
    }
    // Where a daemon holds the volume, its inventory is the daemon's.
    report.is_adopted = volume.lock().is_ok_and(|lock| {
        inventory::adopt_offline(volume, &lock, records)
            .is_ok_and(|outcome| outcome == OfflineAdoption::Adopted)
    });
    report
}

fn import_directory(
    root: &Path,
    source: &SourceDirectory,
    as_path: &BundlePath,
    volume: &Arc<Volume>,
    now: u64,
) -> Result<(PublishedBundle, BundleRecord), ImportError> {
    let path = bundle_path(root, &source.directory, as_path)?;
    let newest = volume
        .newest_generation(&path)
        .map_err(|error| ImportError::Publish(PublishError::Io { step: "list bundles/", error }))?;
    let generation = Generation::new(newest.map_or(now, |newest| now.max(newest.number().saturating_add(1))));
    let key = BundleKey { path, generation };
    let mut writer = BundleWriter::create(volume, key, Sha256::new([0; 32]), source.files.clone())?;
    let names: Vec<_> = writer.objects().iter().map(|object| object.name.clone()).collect();
    let mut block = vec![0; BLOCK_BYTES];
    for name in names {
        let file = source.directory.join(name.as_str());
        copy(&file, &mut writer, &mut block)?;
    }
    let published = writer.finish()?;
    let record = published.record.clone();
    Ok((published, record))
}

fn copy(path: &Path, writer: &mut BundleWriter, block: &mut [u8]) -> Result<(), ImportError> {
    let source_error = |error| ImportError::Source(path.to_owned(), error);
    let mut file: File = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
        .map_err(source_error)?;
    loop {
        match file.read(block).map_err(source_error)? {
            0 => break,
            read => writer.write(&block[..read])?,
        }
    }
    writer.end_object()?;
    Ok(())
}

/// All directories below `root` that hold files, in the order of their paths.
fn scan(root: &Path, report: &mut ImportReport) -> Vec<SourceDirectory> {
    let mut sources = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let mut source = SourceDirectory { directory: directory.clone(), files: Vec::new() };
        let entries =
            match fs::read_dir(&directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
                Ok(entries) => entries,
                Err(error) => {
                    report.failed.push((directory.clone(), ImportError::Source(directory, error)));
                    continue;
                }
            };
        for entry in entries {
            let path = entry.path();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(path),
                Ok(metadata) => match plan(&path, &metadata) {
                    Ok(object) => source.files.push(object),
                    Err(reason) => report.skipped.push((path, reason)),
                },
                Err(error) => report.failed.push((directory.clone(), ImportError::Source(path, error))),
            }
        }
        if !source.files.is_empty() {
            sources.push(source);
        }
    }
    sources.sort_by(|one, other| one.directory.cmp(&other.directory));
    sources
}

fn plan(path: &Path, metadata: &Metadata) -> Result<PlannedObject, String> {
    if !metadata.is_file() {
        let kind = if metadata.is_symlink() { "a symbolic link" } else { "not a regular file" };
        return Err(format!("{kind}; only regular files are imported"));
    }
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("its name is not UTF-8")?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(PlannedObject {
        name: ObjectName::parse(name).map_err(|error| error.to_string())?,
        length: metadata.len(),
        media_type: media_type(name).into(),
        last_modified: modified.map_or(0, |time| time.as_secs()),
        sha256: None,
    })
}

fn bundle_path(root: &Path, directory: &Path, as_path: &BundlePath) -> Result<BundlePath, ImportError> {
    let below = directory.strip_prefix(root).unwrap_or(Path::new("")).to_str().ok_or(ImportError::NotUtf8)?;
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
