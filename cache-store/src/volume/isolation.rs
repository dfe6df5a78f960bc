use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::{Deserialize, Serialize};

use crate::disk;
use crate::limits::DOCUMENT_BYTES_MAX;

const DIRECTORY: &str = "inventory";
const NAME: &str = "isolated.json";

/// Why a volume is not used, kept on the volume while its disk still takes writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// In words, for the operator.
    pub reason: String,
    /// When, in seconds since 1970.
    pub since: u64,
}

pub(super) fn read(root: BorrowedFd<'_>) -> io::Result<Option<Isolation>> {
    let directory = disk::open_directory(root, DIRECTORY)?;
    let Some((_, bytes)) = disk::read_file(directory.as_fd(), NAME, DOCUMENT_BYTES_MAX)? else {
        return Ok(None);
    };
    // A record that cannot be read was still written for a reason.
    let isolation = serde_json::from_slice(&bytes).unwrap_or_else(|error| Isolation {
        reason: format!("{DIRECTORY}/{NAME} is damaged: {error}"),
        since: 0,
    });
    Ok(Some(isolation))
}

pub(super) fn write(root: BorrowedFd<'_>, isolation: &Isolation) -> io::Result<()> {
    let directory = disk::open_directory(root, DIRECTORY)?;
    let text = serde_json::to_vec_pretty(isolation).map_err(io::Error::other)?;
    disk::write_durably(directory.as_fd(), NAME, &text)
}

pub(super) fn remove(root: BorrowedFd<'_>) -> io::Result<bool> {
    let directory = disk::open_directory(root, DIRECTORY)?;
    let existed = disk::named_file_bytes(directory.as_fd(), NAME)?.is_some();
    disk::remove_file(directory.as_fd(), NAME)?;
    disk::sync(directory.as_fd())?;
    Ok(existed)
}
