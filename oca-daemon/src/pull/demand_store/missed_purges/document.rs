//! The file: JSON.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::limits::MISSED_PURGES_FILE_BYTES_MAX;

/// The volumes that are known, by their identities.
pub(super) type Volumes = BTreeMap<String, Record>;

#[derive(Deserialize, Serialize)]
struct Document {
    version: u32,
    volumes: Volumes,
}

/// In version 1 volumes were known by their paths.
const VERSION: u32 = 2;

/// What the file says; nothing where there is none.
pub(super) fn read(file: &Path) -> io::Result<Volumes> {
    let opened = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Volumes::new()),
        other => other?,
    };
    let mut bytes = Vec::new();
    opened.take(MISSED_PURGES_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let document: Document = serde_json::from_slice(&bytes)?;
    if document.version != VERSION {
        return Err(io::Error::other(format!("version {} is not known", document.version)));
    }
    Ok(document.volumes)
}

/// Durable when it returns.
pub(super) fn write(file: &Path, volumes: Volumes) -> io::Result<()> {
    let bytes = serde_json::to_vec(&Document { version: VERSION, volumes })?;
    replace(file, &bytes)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// Written beside it, synced, renamed, and the folder synced.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut new = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&beside)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    File::open(file.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()
}
