//! What a bundle's file is called: the path's hash and the generation.

use std::fmt;

use control_client::content::{BundleKey, BundlePath, Generation};

use crate::format::{Trailer, path_hash};

const SUFFIX: &str = ".bundle";
const TEXT_BYTES: usize = 32 + 1 + 16;

/// Names one bundle by its path's hash and its generation. Says which file to look at, and is never proof of
/// what is in it: that is compared with trailer and footer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    /// The first 16 bytes of the SHA-256 of the path.
    pub path_hash: [u8; 16],
    /// The edition.
    pub generation: Generation,
}

impl BundleId {
    /// The name of that bundle.
    pub fn new(path: &BundlePath, generation: Generation) -> Self {
        Self { path_hash: path_hash(path), generation }
    }

    /// The name of the bundle with that key.
    pub fn of(key: &BundleKey) -> Self {
        Self::new(&key.path, key.generation)
    }

    /// The name that a trailer claims.
    pub fn claimed_by(trailer: &Trailer) -> Self {
        Self { path_hash: trailer.path_hash, generation: trailer.generation }
    }

    /// The directory under `bundles/` that holds the file: `ab`.
    pub fn directory_name(&self) -> String {
        directory_name(self.path_hash[0])
    }

    /// The name of the file: 32 digits of the hash, `-`, 16 digits of the generation, `.bundle`.
    pub fn file_name(&self) -> String {
        format!("{self}{SUFFIX}")
    }

    /// The file from the volume's root: `bundles/ab/….bundle`.
    pub fn file_path(&self) -> String {
        format!("bundles/{}/{}", self.directory_name(), self.file_name())
    }

    /// Reads what [`BundleId::file_name`] writes, with or without the directory before it, and nothing else.
    pub fn parse_file_name(name: &str) -> Option<Self> {
        let name = match name.rsplit_once('/') {
            Some((directory, name)) if name.get(..2) == Some(directory) => name,
            Some(_) => return None,
            None => name,
        };
        Self::parse(name.strip_suffix(SUFFIX)?)
    }

    /// Reads what the file's name has before `.bundle`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_BYTES || !text.is_ascii() || &text[32..33] != "-" {
            return None;
        }
        let digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !digits(&text[..32]) || !digits(&text[33..]) {
            return None;
        }
        let path_hash = u128::from_str_radix(&text[..32], 16).ok()?.to_be_bytes();
        let generation = Generation::new(u64::from_str_radix(&text[33..], 16).ok()?);
        Some(Self { path_hash, generation })
    }
}

/// The name of one of the 256 directories under `bundles/`.
pub(crate) fn directory_name(first_byte: u8) -> String {
    format!("{first_byte:02x}")
}

impl fmt::Display for BundleId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}-{:016x}", u128::from_be_bytes(self.path_hash), self.generation.number())
    }
}

impl fmt::Debug for BundleId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BundleId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_reads_back_with_and_without_its_directory() {
        let id = BundleId::new(&BundlePath::parse("/titles/abc/1080p").unwrap(), Generation::new(7));
        assert_eq!(BundleId::parse_file_name(&id.file_name()), Some(id));
        assert_eq!(
            BundleId::parse_file_name(&format!("{}/{}", id.directory_name(), id.file_name())),
            Some(id)
        );
        assert_eq!(id.file_path(), format!("bundles/{}/{}", id.directory_name(), id.file_name()));
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_refused() {
        let id = BundleId::new(&BundlePath::parse("/a").unwrap(), Generation::new(1));
        let name = id.file_name();
        for wrong in [
            format!("../{name}"),
            format!("zz/{name}"),
            format!("{name}/"),
            name.to_uppercase(),
            name.replace(".bundle", ".bundla"),
            name[1..].to_owned(),
            format!("+{}", &name[1..]),
            String::new(),
            "é".repeat(28),
        ] {
            assert_eq!(BundleId::parse_file_name(&wrong), None, "{wrong}");
        }
    }
}
