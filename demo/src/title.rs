//! The sample title: where its files are, and what their digests must be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use cache_store::{PublishedBundle, Volume};
use control_client::content::BundlePath;

use crate::failure::{Failure, Step};

/// The directory under which the title is published.
pub const TITLE_PATH: &str = "/titles/sample";

/// One file of the title.
#[derive(Clone, Debug)]
pub struct TitleFile {
    /// Its name below the title's directory, `360p/init.mp4`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl TitleFile {
    /// The path of a request for it.
    pub fn request_path(&self) -> String {
        format!("{TITLE_PATH}/{}", self.name)
    }
}

/// The directory of the title's files.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/title")
}

/// Reads every file that the list of digests names, and checks it.
pub fn read() -> Result<Vec<TitleFile>, Failure> {
    let list = fs::read_to_string(directory().with_file_name("SHA256SUMS")).step("reading SHA256SUMS")?;
    list.lines().map(read_file).collect()
}

/// Imports a directory into a volume, one bundle for each directory in it. Anything left out is a failure.
pub fn import(directory: &Path, as_path: &str, volume: &Path) -> Result<Vec<PublishedBundle>, Failure> {
    let as_path = BundlePath::parse(as_path).step(as_path)?;
    let volume = Arc::new(Volume::open(volume, false).step("opening the volume")?);
    let report = cache_store::import::import(directory, &as_path, &volume);
    if let Some((path, error)) = report.failed.first() {
        return Err(Failure::new(format!("importing {}: {error}", path.display())));
    }
    match report.skipped.first() {
        Some((path, reason)) => Err(Failure::new(format!("importing {}: {reason}", path.display()))),
        None => Ok(report.published),
    }
}

fn read_file(line: &str) -> Result<TitleFile, Failure> {
    let (expected, name) =
        line.split_once("  ").ok_or_else(|| Failure::new(format!("SHA256SUMS: {line:?}")))?;
    let bytes = fs::read(directory().join(name)).step(name)?;
    let actual = sha256_hex(&bytes);
    if actual != expected {
        return Err(Failure::new(format!(
            "{name}: SHA-256 is {actual}, not {expected}; run demo/sample/make.sh"
        )));
    }
    Ok(TitleFile { name: name.to_owned(), bytes })
}

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
