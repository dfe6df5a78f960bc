//! Reads a volume back, every byte of it, and says what is wrong. Changes nothing, and can run beside a
//! daemon.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use aws_lc_rs::digest::{self, Context};

use crate::aligned::AlignedBuffer;
use crate::disk;
use crate::format::{CHUNK_BYTES, Footer};
use crate::identity::BundleId;
use crate::inventory::{self, BundleRecord};
use crate::limits::{BLOCK_BYTES, OPENER_BUFFER_BYTES};
use crate::partial::{PartialBundle, partial_bundles};
use crate::reader::{ReadError, read_footer};
use crate::reconcile::{self, Difference};
use crate::volume::Volume;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bundles that were read.
    pub bundles: u64,
    /// Their objects.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong; empty where nothing is.
    pub problems: Vec<Problem>,
    /// Bundles in the directory that the inventory does not have: published, and not adopted yet.
    pub not_adopted: u64,
    /// Bundles that were begun and are not published. What is in them is not looked at: nothing says yet what it should
    /// be.
    pub partial: Vec<PartialBundle>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, from the volume's root.
    pub file: String,
    /// The bundle's path, where it is known.
    pub path: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

/// Reads every trailer, footer, chunk and object of a volume, and compares the directory with the inventory.
/// `on_bundle` is told of each bundle that was read, in the order of the directory.
pub fn verify(volume: &Volume, mut on_bundle: impl FnMut(BundleId, &[Problem])) -> io::Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let mut blocks =
        Blocks { data: AlignedBuffer::new(BLOCK_BYTES), tail: AlignedBuffer::new(OPENER_BUFFER_BYTES) };
    let mut found = Vec::new();
    for first_byte in 0..=u8::MAX {
        let listing = volume.bundle_directory(first_byte);
        let listing = match listing.and_then(|directory| reconcile::list(directory, first_byte)) {
            Ok(listing) => listing,
            Err(error) => {
                report.problems.push(problem(format!("bundles/{first_byte:02x}"), None, error.to_string()));
                continue;
            }
        };
        for name in listing.foreign {
            let file = format!("bundles/{first_byte:02x}/{name}");
            report.problems.push(problem(file, None, "not a bundle's file".to_owned()));
        }
        for &(id, file_bytes) in &listing.bundles {
            let problems = verify_bundle(volume, id, file_bytes, &mut blocks, &mut report);
            on_bundle(id, &problems);
            report.problems.extend(problems);
        }
        found.extend(listing.bundles);
    }
    compare_inventory(volume, &found, &mut report)?;
    report.partial = partial_bundles(volume)?;
    Ok(report)
}

struct Blocks {
    data: AlignedBuffer,
    tail: AlignedBuffer,
}

/// Verifies one bundle of which only the name is known.
fn verify_bundle(
    volume: &Volume,
    id: BundleId,
    file_bytes: u64,
    blocks: &mut Blocks,
    report: &mut VerifyReport,
) -> Vec<Problem> {
    let refused = |path: Option<&Footer>, error: &ReadError| {
        vec![problem(id.file_path(), path.map(Footer::path), error.to_string())]
    };
    let file = match volume.open_bundle_file(id) {
        Ok(file) => file,
        // A daemon retires bundles meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return refused(None, &ReadError::Io(error)),
    };
    report.bundles += 1;
    let footer = match read_footer(file.as_fd(), file_bytes, id, None, &mut blocks.tail) {
        Ok(footer) => footer,
        Err(error) => return refused(None, &error),
    };
    report.objects += u64::from(footer.object_count());
    report.bytes += file_bytes;
    let mut problems = Vec::new();
    let mut objects = ObjectDigests::new(&footer);
    let mut offset = 0;
    while offset < footer.data_bytes() {
        let length = (footer.data_bytes() - offset).min(BLOCK_BYTES as u64) as usize;
        let block = &mut blocks.data.bytes_mut()[..length];
        if let Err(error) = disk::read_exact_at(file.as_fd(), block, offset) {
            problems.extend(refused(Some(&footer), &ReadError::Io(error)));
            return problems;
        }
        for (chunk, bytes) in (offset / CHUNK_BYTES..).zip(block.chunks(CHUNK_BYTES as usize)) {
            if let Err(corrupt) = footer.verify(chunk, bytes) {
                problems.push(problem(id.file_path(), Some(footer.path()), corrupt.to_string()));
            }
        }
        objects.update(offset, block);
        offset += length as u64;
    }
    for name in objects.finish() {
        let what = format!("object {name} does not match its SHA-256");
        problems.push(problem(id.file_path(), Some(footer.path()), what));
    }
    problems
}

/// Compares with the inventory as it is after all files were read, so that what a daemon did meanwhile is in
/// it; what is missing is looked for once more.
fn compare_inventory(
    volume: &Volume,
    found: &[(BundleId, u64)],
    report: &mut VerifyReport,
) -> io::Result<()> {
    let decoded = inventory::read(volume)?;
    if let Some(cut) = decoded.cut {
        let what =
            format!("damaged at byte {}: {cut}; the daemon repairs it when it starts", decoded.valid_bytes);
        report.problems.push(problem("inventory/journal".to_owned(), None, what));
    }
    let records: BTreeMap<BundleId, &BundleRecord> = inventory::bundles(&decoded.records);
    let held: Vec<_> = records.iter().map(|(id, record)| (*id, record.file_bytes)).collect();
    for difference in reconcile::compare(&held, found) {
        let (id, what) = match difference {
            Difference::Unknown(_) => {
                report.not_adopted += 1;
                continue;
            }
            Difference::Missing(id) => (id, "missing: the inventory has it, the directory does not"),
            Difference::Truncated(id) => (id, "truncated: shorter than the inventory says"),
            Difference::Overlong(id) => (id, "overlong: longer than the inventory says"),
        };
        let is_there = matches!(difference, Difference::Missing(_))
            && disk::named_file_bytes(volume.root(), &id.file_path())?.is_some();
        if !is_there {
            let path = records.get(&id).map(|record| record.key.path.as_str());
            report.problems.push(problem(id.file_path(), path, what.to_owned()));
        }
    }
    Ok(())
}

fn problem(file: String, path: Option<&str>, what: String) -> Problem {
    Problem { file, path: path.map(str::to_owned), what }
}

/// Digests the objects of a bundle while its data region goes by from front to back.
struct ObjectDigests<'a> {
    footer: &'a Footer,
    objects: Vec<crate::format::Object<'a>>,
    next: usize,
    digest: Context,
    wrong: Vec<String>,
}

impl<'a> ObjectDigests<'a> {
    fn new(footer: &'a Footer) -> Self {
        Self {
            footer,
            objects: footer.objects().collect(),
            next: 0,
            digest: Context::new(&digest::SHA256),
            wrong: Vec::new(),
        }
    }

    /// Takes the bytes at `offset`, which follow those before.
    fn update(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        while let Some(object) = self.objects.get(self.next) {
            let start = object.range.start.clamp(offset, end);
            let stop = object.range.end.clamp(offset, end);
            self.digest.update(&bytes[(start - offset) as usize..(stop - offset) as usize]);
            if object.range.end > end {
                return;
            }
            self.end_object();
        }
    }

    /// The names of the objects whose digests were wrong.
    fn finish(mut self) -> Vec<String> {
        // Empty objects at the end, in a bundle without data.
        while self.next < self.footer.object_count() as usize {
            self.end_object();
        }
        self.wrong
    }

    fn end_object(&mut self) {
        let digest = std::mem::replace(&mut self.digest, Context::new(&digest::SHA256)).finish();
        let object = &self.objects[self.next];
        if digest.as_ref() != object.sha256 {
            self.wrong.push(object.name.to_owned());
        }
        self.next += 1;
    }
}
