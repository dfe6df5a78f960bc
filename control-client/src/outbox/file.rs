//! The outbox as a file: a line with the SHA-256 of the rest, then JSON.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{OutboxError, State};
use crate::content::Sha256;
use crate::digest;
use crate::limits::OUTBOX_FILE_BYTES_MAX;

const NAME: &str = "outbox";
const NEW_NAME: &str = "outbox.new";
const DAMAGED_NAME: &str = "outbox.damaged";

pub(super) enum Found {
    State(Box<State>),
    Nothing,
    /// It was put aside; why.
    Damaged(String),
}

pub(super) fn read(folder: &Path) -> Result<Found, OutboxError> {
    let path = folder.join(NAME);
    let failed = |error| OutboxError { path: path.clone(), error };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(OUTBOX_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    match parse(&bytes) {
        Ok(state) => Ok(Found::State(Box::new(state))),
        Err(what) => {
            let aside = folder.join(DAMAGED_NAME);
            fs::rename(&path, &aside).map_err(failed)?;
            Ok(Found::Damaged(format!(
                "{}: {what}; it was renamed to {DAMAGED_NAME}, and what was not reported yet is lost",
                path.display()
            )))
        }
    }
}

fn parse(bytes: &[u8]) -> Result<State, String> {
    if bytes.len() as u64 > OUTBOX_FILE_BYTES_MAX {
        return Err("larger than any outbox".to_owned());
    }
    let line_end = bytes.iter().position(|byte| *byte == b'\n').ok_or("no checksum")?;
    let (checksum, json) = (&bytes[..line_end], &bytes[line_end + 1..]);
    let checksum = std::str::from_utf8(checksum).ok().and_then(|text| Sha256::parse(text).ok());
    if checksum.ok_or("no checksum")? != digest::sha256(json) {
        return Err("the checksum does not fit".to_owned());
    }
    let state: State = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    match &state.in_flight {
        Some(delivery) if delivery.sequence != state.sequence => {
            Err(format!("report {} is in flight, and {} is its number", delivery.sequence, state.sequence))
        }
        _ => Ok(state),
    }
}

/// Returns when the state is on the medium under its name.
pub(super) fn write(folder: &Path, state: &State) -> Result<(), OutboxError> {
    replace(folder, state).map_err(|error| OutboxError { path: folder.join(NAME), error })
}

fn replace(folder: &Path, state: &State) -> io::Result<()> {
    let json = serde_json::to_vec(state).map_err(io::Error::from)?;
    let new = folder.join(NEW_NAME);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{}", digest::sha256(&json))?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}
