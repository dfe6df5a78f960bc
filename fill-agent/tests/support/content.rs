//! Bundles to fetch.

use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::descriptor::{DescribedObject, Descriptor};
use control_client::digest::sha256;
use control_client::fill_manifest::{FillClass, FillEntry};
use control_client::fleet::TitleName;
use control_client::wire::DocumentVersion;

/// A bundle with its bytes.
#[derive(Clone)]
pub struct Content {
    pub descriptor: Descriptor,
    pub objects: Vec<(String, Vec<u8>)>,
}

impl Content {
    /// A bundle with objects of these lengths, whose bytes follow from path, generation and place.
    pub fn new(path: &str, generation: u64, lengths: &[usize]) -> Self {
        let objects: Vec<(String, Vec<u8>)> = lengths
            .iter()
            .enumerate()
            .map(|(place, length)| {
                (format!("seg-{place:04}.m4s"), bytes(&format!("{path} {generation} {place}"), *length))
            })
            .collect();
        let described = objects.iter().map(|(name, bytes)| DescribedObject {
            name: ObjectName::parse(name).unwrap(),
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
            media_type: "video/mp4".to_owned(),
            last_modified: 1_700_000_000,
        });
        let descriptor = Descriptor {
            version: DocumentVersion,
            path: BundlePath::parse(path).unwrap(),
            generation: Generation::new(generation),
            objects: described.collect(),
        };
        Self { descriptor, objects }
    }

    pub fn key(&self) -> BundleKey {
        self.descriptor.key()
    }

    pub fn bytes(&self) -> u64 {
        self.descriptor.bytes()
    }

    pub fn digest(&self) -> Sha256 {
        sha256(&self.descriptor.to_bytes())
    }

    pub fn entry(&self) -> FillEntry {
        FillEntry {
            path: self.descriptor.path.clone(),
            generation: self.descriptor.generation,
            title: TitleName::parse("title").unwrap(),
            bytes: self.bytes(),
            objects: self.objects.len() as u64,
            score: 1_000_000_000,
            descriptor: self.digest(),
            class: FillClass::Ranked,
            expires_at: None,
        }
    }

    /// The target of a request for each object, and its bytes.
    pub fn served(&self) -> Vec<(String, Vec<u8>)> {
        let path = self.descriptor.path.as_str();
        self.objects.iter().map(|(name, bytes)| (format!("{path}/{name}"), bytes.clone())).collect()
    }
}

/// Bytes that look random and follow from a text (SplitMix64).
pub fn bytes(seed: &str, length: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
