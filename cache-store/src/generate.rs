//! Makes large synthetic stores, for tests and benchmarks: many bundles of many objects whose sizes and bytes
//! follow from a seed. Sparse, the data is holes: a store of 40,000 bundles and 20 million objects then takes
//! the space of its footers.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use aws_lc_rs::digest::{self, Context};
use control_client::content::{BundleKey, BundlePath, Generation, NameError, ObjectName, Sha256};

use crate::disk::{self, Access};
use crate::format::CHUNK_BYTES;
use crate::identity::BundleId;
use crate::inventory::{self, BundleRecord, OfflineAdoption};
use crate::layout::{Layout, PlannedObject};
use crate::limits::{BLOCK_BYTES, DATA_BYTES_MAX, GENERATE_BATCH_BUNDLES};
use crate::publish::PublishError;
use crate::volume::{Volume, VolumeError, VolumeLock};
use crate::writer::BundleWriter;

/// What to make.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The directory under which the bundles are: `PREFIX/000000`, `PREFIX/000001`, ….
    pub prefix: BundlePath,
    /// The number of the first bundle.
    pub first_bundle: u32,
    /// The number of bundles.
    pub bundles: u32,
    /// Objects in each: `00000.m4s`, `00001.m4s`, ….
    pub objects: u32,
    /// Bytes of an object on average; each has between half and one and a half of them, in 17 steps.
    pub object_bytes: u64,
    /// What sizes and bytes follow from.
    pub seed: u64,
    /// Whether the data is holes, which read as zeroes.
    pub is_sparse: bool,
}

/// What was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerateReport {
    /// Bundles.
    pub bundles: u64,
    /// Objects in them.
    pub objects: u64,
    /// Bytes of these objects.
    pub object_bytes: u64,
    /// Bytes of the files.
    pub file_bytes: u64,
}

/// Why it was not made.
#[derive(Debug)]
pub enum GenerateError {
    /// The volume cannot be used, or a daemon uses it.
    Volume(VolumeError),
    /// The prefix is too long.
    Path(NameError),
    /// A bundle could not be published.
    Publish(PublishError),
    /// The inventory's journal is damaged; start a daemon once to have it repaired.
    JournalDamaged,
    /// The disk did not do it.
    Io(io::Error),
}

const NO_DESCRIPTOR: Sha256 = Sha256::new([0; 32]);
const MEDIA_TYPE: &str = "video/iso.segment";

/// Makes bundles on a volume that no daemon uses, and adopts them, so that the next daemon serves them from
/// its journal.
pub fn generate(volume: &Arc<Volume>, options: &GenerateOptions) -> Result<GenerateReport, GenerateError> {
    if options.object_bytes > DATA_BYTES_MAX {
        let what = format!("an object of more than {} bytes is in no bundle", DATA_BYTES_MAX);
        return Err(GenerateError::Publish(PublishError::Contents(what)));
    }
    let lock = volume.lock().map_err(GenerateError::Volume)?;
    let mut report = GenerateReport::default();
    let mut records = Vec::new();
    let mut zeroes = Zeroes::default();
    for number in options.first_bundle..options.first_bundle.saturating_add(options.bundles) {
        let path = format!("{}/{number:06}", options.prefix.as_str().trim_end_matches('/'));
        let path = BundlePath::parse(&path).map_err(GenerateError::Path)?;
        let key = BundleKey { path, generation: Generation::new(1) };
        let record = if options.is_sparse {
            write_sparse(volume, key, number, options, &mut zeroes)?
        } else {
            publish(volume, key, number, options)?
        };
        report.bundles += 1;
        report.objects += u64::from(record.object_count);
        report.object_bytes += record.object_bytes;
        report.file_bytes += record.file_bytes;
        records.push(record);
        if records.len() == GENERATE_BATCH_BUNDLES {
            adopt(volume, &lock, std::mem::take(&mut records))?;
        }
    }
    adopt(volume, &lock, records)?;
    Ok(report)
}

fn adopt(volume: &Volume, lock: &VolumeLock, records: Vec<BundleRecord>) -> Result<(), GenerateError> {
    disk::sync_file_system(volume.root())?;
    match inventory::adopt_offline(volume, lock, records)? {
        OfflineAdoption::Adopted => Ok(()),
        OfflineAdoption::JournalDamaged => Err(GenerateError::JournalDamaged),
    }
}

fn object_name(object: u32) -> ObjectName {
    ObjectName::parse(&format!("{object:05}.m4s")).expect("digits and a suffix are a name")
}

fn object_length(bundle: u32, object: u32, options: &GenerateOptions) -> u64 {
    let random = mix(options.seed ^ u64::from(bundle) << 32 ^ u64::from(object));
    options.object_bytes / 16 * (8 + random % 17)
}

fn planned(bundle: u32, options: &GenerateOptions) -> Vec<PlannedObject> {
    let planned = (0..options.objects).map(|object| PlannedObject {
        name: object_name(object),
        length: object_length(bundle, object, options),
        media_type: MEDIA_TYPE.into(),
        last_modified: 0,
        sha256: None,
    });
    planned.collect()
}

fn publish(
    volume: &Arc<Volume>,
    key: BundleKey,
    number: u32,
    options: &GenerateOptions,
) -> Result<BundleRecord, GenerateError> {
    let mut writer = BundleWriter::create(volume, key, NO_DESCRIPTOR, planned(number, options))?;
    let lengths: Vec<u64> = writer.objects().iter().map(|object| object.length).collect();
    let mut block = vec![0; BLOCK_BYTES];
    for (object, length) in lengths.into_iter().enumerate() {
        let mut state = mix(options.seed ^ mix(u64::from(number) << 32 | object as u64));
        let mut left = length as usize;
        while left > 0 {
            let now = left.min(BLOCK_BYTES);
            for word in block[..now.next_multiple_of(8)].chunks_exact_mut(8) {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                word.copy_from_slice(&mix(state).to_le_bytes());
            }
            writer.write(&block[..now])?;
            left -= now;
        }
        writer.end_object()?;
    }
    Ok(writer.finish()?.record)
}

fn write_sparse(
    volume: &Volume,
    key: BundleKey,
    number: u32,
    options: &GenerateOptions,
    zeroes: &mut Zeroes,
) -> Result<BundleRecord, GenerateError> {
    let layout = Layout::new(key, NO_DESCRIPTOR, planned(number, options))?;
    let digests: Vec<Sha256> = layout.objects().iter().map(|object| zeroes.sha256(object.length)).collect();
    let chunk_bytes = |chunk: u64| (layout.data_bytes() - chunk * CHUNK_BYTES).min(CHUNK_BYTES);
    let checksums = (0..layout.chunk_count() as u64).map(|chunk| zeroes.checksum(chunk_bytes(chunk)));
    let tail = layout.tail(&digests, checksums.collect())?;
    let id = BundleId::of(layout.key());
    let directory = volume.bundle_directory(id.path_hash[0])?;
    disk::remove_file(directory.as_fd(), &id.file_name())?;
    let file = disk::create_file(directory.as_fd(), &id.file_name(), Access::Buffered)?;
    disk::set_length(file.as_fd(), layout.file_bytes())?;
    disk::write_all_at(file.as_fd(), &tail, layout.data_bytes())?;
    Ok(layout.record())
}

/// Digests and checksums of zeroes, each computed once.
#[derive(Default)]
struct Zeroes {
    digests: HashMap<u64, Sha256>,
    checksums: HashMap<u64, u32>,
}

impl Zeroes {
    fn sha256(&mut self, length: u64) -> Sha256 {
        *self.digests.entry(length).or_insert_with(|| {
            let mut digest = Context::new(&digest::SHA256);
            let block = vec![0; BLOCK_BYTES];
            let mut left = length;
            while left > 0 {
                let now = left.min(BLOCK_BYTES as u64);
                digest.update(&block[..now as usize]);
                left -= now;
            }
            Sha256::new(*digest.finish().as_ref().first_chunk().expect("a SHA-256 has 32 bytes"))
        })
    }

    fn checksum(&mut self, length: u64) -> u32 {
        *self.checksums.entry(length).or_insert_with(|| crc32c::crc32c(&vec![0; length as usize]))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

impl From<PublishError> for GenerateError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl From<io::Error> for GenerateError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for GenerateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(error) => error.fmt(formatter),
            Self::Path(error) => write!(formatter, "the prefix is no bundle path: {error}"),
            Self::Publish(error) => error.fmt(formatter),
            Self::JournalDamaged => {
                write!(formatter, "the inventory's journal is damaged; start the daemon once to repair it")
            }
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for GenerateError {}
