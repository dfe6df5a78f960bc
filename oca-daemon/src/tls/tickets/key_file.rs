//! The file that ticket keys are kept in: a line for each key, readable by its owner alone, replaced whole.
//!
//! ```text
//! oca-ticket-keys 1
//! 1800000000 <name, 32 hex digits> <secret, 64 hex digits>
//! ```
//!
//! Only a file that begins so, or holds nothing, is ours to replace. Secrets are wiped from memory when they are dropped; what the
//! disk keeps of the blocks of a replaced file is up to the disk.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{NAME_BYTES, SECRET_BYTES};

/// What every version of it begins with.
const NAME: &[u8] = b"oca-ticket-keys ";
const TITLE: &str = "oca-ticket-keys 1";

/// More than all keys that are ever kept.
const FILE_BYTES_MAX: u64 = 4096;

/// A key as it is kept.
#[derive(Clone)]
pub(super) struct StoredKey {
    /// When it was made, in seconds since 1970.
    pub(super) made: u64,
    pub(super) name: [u8; NAME_BYTES],
    pub(super) secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// Why keys could not be kept, or not be taken from the file. Sessions are resumed all the same, until the process ends.
#[derive(Debug)]
pub enum KeyFileError {
    /// Others than the owner may read or change the file, or its owner is not who we are. It is replaced.
    Exposed(PathBuf),
    /// It holds keys in a form that is not known. It is replaced.
    Damaged(PathBuf),
    /// It is something else. It is left alone, and keys are kept nowhere.
    NotOurs(PathBuf),
    /// It cannot be opened or read. It is left alone, and keys are kept nowhere.
    Unreadable(PathBuf, io::Error),
    /// It could not be written.
    Write(PathBuf, io::Error),
}

impl KeyFileError {
    /// Whether the file is one that may be replaced.
    pub(super) fn is_of_ours(&self) -> bool {
        !matches!(self, KeyFileError::NotOurs(_) | KeyFileError::Unreadable(..))
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFileError::Exposed(path) => write!(
                f,
                "{}: others could read the ticket keys; new ones were made. Its mode must be 0600, and its owner the daemon's user",
                path.display()
            ),
            KeyFileError::Damaged(path) => {
                write!(
                    f,
                    "{}: it does not hold ticket keys of this version; new ones were made",
                    path.display()
                )
            }
            KeyFileError::NotOurs(path) => write!(
                f,
                "{}: this is no file of ticket keys; it is left alone, and clients cannot resume their sessions after the next \
                 restart. Name another file in tls.ticket_keys",
                path.display()
            ),
            KeyFileError::Unreadable(path, error) => write!(
                f,
                "{}: {error}; it is left alone, and clients cannot resume their sessions after the next restart. tls.ticket_keys \
                 must be a file, no link, that the daemon may read and write",
                path.display()
            ),
            KeyFileError::Write(path, error) => write!(
                f,
                "{}: {error}; clients cannot resume their sessions after the next restart. The daemon must be able to write the \
                 folder of tls.ticket_keys",
                path.display()
            ),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// The keys of the file; none where there is no file yet.
pub(super) fn read(path: &Path) -> Result<Vec<StoredKey>, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable(path.to_owned(), error);
    let file =
        match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(unreadable)?,
        };
    let facts = file.metadata().map_err(unreadable)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if !facts.is_file() || !bytes.starts_with(NAME) {
        return Err(KeyFileError::NotOurs(path.to_owned()));
    }
    if facts.mode() & 0o077 != 0 || facts.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyFileError::Exposed(path.to_owned()));
    }
    let keys = std::str::from_utf8(&bytes).ok().and_then(parse);
    keys.ok_or_else(|| KeyFileError::Damaged(path.to_owned()))
}

/// Replaces the file.
pub(super) fn write<'a>(
    path: &Path,
    keys: impl IntoIterator<Item = &'a StoredKey>,
) -> Result<(), KeyFileError> {
    replace(path, print(keys).as_bytes()).map_err(|error| KeyFileError::Write(path.to_owned(), error))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // What a process left that was killed here.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn print<'a>(keys: impl IntoIterator<Item = &'a StoredKey>) -> Zeroizing<String> {
    // As long as it may become, so that nothing of it is left where it was before it grew.
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    text.push_str(TITLE);
    text.push('\n');
    for key in keys {
        let _ = write!(text, "{} ", key.made);
        for byte in key.name {
            let _ = write!(text, "{byte:02x}");
        }
        text.push(' ');
        for byte in key.secret.iter() {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

fn parse(text: &str) -> Option<Vec<StoredKey>> {
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return None;
    }
    lines.map(parse_key).collect()
}

fn parse_key(line: &str) -> Option<StoredKey> {
    let mut words = line.split(' ');
    let key = StoredKey {
        made: words.next()?.parse().ok().filter(|made| *made <= LATEST)?,
        name: parse_hex(words.next()?)?,
        secret: Zeroizing::new(parse_hex(words.next()?)?),
    };
    words.next().is_none().then_some(key)
}

/// The year 9999: sums with it stay numbers.
const LATEST: u64 = 253_402_300_799;

fn parse_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> StoredKey {
        let secret = Zeroizing::new([byte ^ 0xff; _]);
        StoredKey { made: 1_800_000_000 + u64::from(byte), name: [byte; _], secret }
    }

    fn printed(keys: &[StoredKey]) -> String {
        print(keys).to_string()
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        for keys in [&[key(1), key(0xab)][..], &[]] {
            assert_eq!(printed(&parse(&printed(keys)).unwrap()), printed(keys));
        }
    }

    #[test]
    fn a_file_with_a_line_that_is_no_key_is_not_believed() {
        let text = printed(&[key(1)]);
        for broken in [
            "",
            "oca-ticket-keys 2\n",
            &text.replace("fe", "fg"),
            &text.replace("01 ", "01"),
            &text.replace("1800000001", "99999999999999"),
            &format!("{} more", text.trim_end()),
            &text[..text.len() - 2],
        ] {
            assert!(parse(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (there, link) = (folder.path().join("there"), folder.path().join("link"));
        write(&there, &[key(1)]).unwrap();
        std::os::unix::fs::symlink(&there, &link).unwrap();
        assert!(matches!(read(&link), Err(KeyFileError::Unreadable(..))));
        assert_eq!(printed(&read(&there).unwrap()), printed(&[key(1)]));
    }
}
