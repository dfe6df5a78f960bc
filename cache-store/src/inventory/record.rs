use control_client::content::{BundleKey, BundlePath, Generation};

use crate::departure::Cause;
use crate::format::Footer;
use crate::identity::BundleId;

/// What the inventory knows of a bundle without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRecord {
    /// Path and generation.
    pub key: BundleKey,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its data region, which is where the footer starts.
    pub data_bytes: u64,
    /// The sum of its objects' lengths.
    pub object_bytes: u64,
    /// The number of its objects.
    pub object_count: u32,
}

/// One entry of the journal.
///
/// In bytes, after its length: a kind (1), then for
///
/// | kind | | |
/// |---|---|---|
/// | 1 | adopted | generation (8), file bytes (8), data bytes (8), object bytes (8), object count (4), path |
/// | 2 | leaving | path hash (16), generation (8), cause (1), when the file was written (8) where that is known |
/// | 3 | gone | path hash (16), generation (8) |
/// | 4 | rebuilding | |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The volume holds this bundle.
    Adopted(BundleRecord),
    /// It is on its way out: not served any more, its file is to be removed. Found without a `Gone` after it,
    /// the removal is done again, but only of the file that was meant: [`Leaving::written`].
    Leaving(BundleId, Leaving),
    /// Its file has been removed (or moved to quarantine), durably.
    Gone(BundleId),
    /// The inventory is being made anew from the directory, and has not been finished: it may lack bundles.
    /// Gone from the journal that is written when it has.
    Rebuilding,
}

/// What a departure takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Why it leaves.
    pub cause: Cause,
    /// When its file was last written, in nanoseconds since 1970: a file of that name that was written at another
    /// time was published after this one had gone. `None` where the disk did not say.
    pub written: Option<i64>,
}

const ADOPTED: u8 = 1;
const LEAVING: u8 = 2;
const GONE: u8 = 3;
const REBUILDING: u8 = 4;

const ADOPTED_BYTES: usize = 37;
const LEAVING_BYTES: usize = 26;
const LEAVING_WRITTEN_BYTES: usize = LEAVING_BYTES + 8;
const GONE_BYTES: usize = 25;

impl BundleRecord {
    /// What a footer says, for a file of `file_bytes`; `None` where the path is none, which a decoded
    /// footer's cannot be.
    pub fn new(footer: &Footer, file_bytes: u64) -> Option<Self> {
        let path = BundlePath::parse(footer.path()).ok()?;
        Some(Self {
            key: BundleKey { path, generation: footer.generation() },
            file_bytes,
            data_bytes: footer.data_bytes(),
            object_bytes: footer.object_bytes(),
            object_count: footer.object_count(),
        })
    }
}

impl Record {
    /// Bytes of an adoption's record.
    pub(super) fn adopted_bytes(record: &BundleRecord) -> usize {
        ADOPTED_BYTES + record.key.path.as_str().len()
    }

    /// Bytes of a departure's first record.
    pub(super) const LEAVING_BYTES: usize = LEAVING_WRITTEN_BYTES;

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Adopted(record) => {
                bytes.push(ADOPTED);
                for number in [
                    record.key.generation.number(),
                    record.file_bytes,
                    record.data_bytes,
                    record.object_bytes,
                ] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes.extend_from_slice(&record.object_count.to_le_bytes());
                bytes.extend_from_slice(record.key.path.as_str().as_bytes());
            }
            Self::Leaving(id, leaving) => {
                bytes.push(LEAVING);
                encode_id(*id, bytes);
                bytes.push(leaving.cause.number());
                bytes.extend(leaving.written.map(i64::to_le_bytes).into_iter().flatten());
            }
            Self::Gone(id) => {
                bytes.push(GONE);
                encode_id(*id, bytes);
            }
            Self::Rebuilding => bytes.push(REBUILDING),
        }
    }

    /// `None` for anything that [`Record::encode`] does not write.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            ADOPTED if bytes.len() > ADOPTED_BYTES => decode_adopted(bytes).map(Self::Adopted),
            LEAVING if matches!(bytes.len(), LEAVING_BYTES | LEAVING_WRITTEN_BYTES) => {
                let cause = Cause::from_number(bytes[LEAVING_BYTES - 1])?;
                let written = bytes[LEAVING_BYTES..].first_chunk().copied().map(i64::from_le_bytes);
                Some(Self::Leaving(decode_id(bytes)?, Leaving { cause, written }))
            }
            GONE if bytes.len() == GONE_BYTES => Some(Self::Gone(decode_id(bytes)?)),
            REBUILDING if bytes.len() == 1 => Some(Self::Rebuilding),
            _ => None,
        }
    }
}

fn decode_adopted(bytes: &[u8]) -> Option<BundleRecord> {
    let record = BundleRecord {
        key: BundleKey {
            generation: Generation::new(u64_at(bytes, 1)?),
            path: BundlePath::parse(std::str::from_utf8(&bytes[ADOPTED_BYTES..]).ok()?).ok()?,
        },
        file_bytes: u64_at(bytes, 9)?,
        data_bytes: u64_at(bytes, 17)?,
        object_bytes: u64_at(bytes, 25)?,
        object_count: u32::from_le_bytes(*bytes[33..].first_chunk()?),
    };
    record.has_sound_lengths().then_some(record)
}

impl BundleRecord {
    /// What an opener relies on when it reads a footer of which nothing else is known.
    fn has_sound_lengths(&self) -> bool {
        use crate::format::ALIGNMENT;
        use crate::limits::{DATA_BYTES_MAX, FOOTER_BYTES_MAX};
        self.data_bytes <= DATA_BYTES_MAX
            && self.data_bytes.is_multiple_of(ALIGNMENT)
            && self.file_bytes.is_multiple_of(ALIGNMENT)
            && self
                .file_bytes
                .checked_sub(self.data_bytes)
                .is_some_and(|tail| tail >= ALIGNMENT && tail <= u64::from(FOOTER_BYTES_MAX) + 2 * ALIGNMENT)
    }
}

fn encode_id(id: BundleId, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&id.path_hash);
    bytes.extend_from_slice(&id.generation.number().to_le_bytes());
}

fn decode_id(bytes: &[u8]) -> Option<BundleId> {
    Some(BundleId {
        path_hash: *bytes.get(1..)?.first_chunk()?,
        generation: Generation::new(u64_at(bytes, 17)?),
    })
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}
