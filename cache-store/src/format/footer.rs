use std::fmt;

use control_client::content::{BundlePath, Generation, ObjectName, Sha256};
use control_client::units::ByteRange;

use super::{
    CHUNK_BYTES, Contents, FormatError, Trailer, VERSION, align_up, array_at, path_hash, u16_at, u32_at,
    u64_at,
};
use crate::limits::{LAST_MODIFIED_MAX, MEDIA_TYPE_BYTES_MAX, MEDIA_TYPES_MAX, OBJECTS_MAX};

const MAGIC: &[u8; 8] = b"OCAFOOTR";
const HEADER_BYTES: usize = 88;
const RECORD_BYTES: usize = 64;
const MEDIA_TYPE_RECORD_BYTES: usize = 4;

/// Bytes of the shortest footer: header, checksum, nothing between them.
pub(super) const BYTES_MIN: u32 = HEADER_BYTES as u32 + 4;

/// A verified footer: the bytes as they are on disk, in one allocation, and where their parts start.
#[derive(Clone, Debug)]
pub struct Footer {
    bytes: Box<[u8]>,
    object_count: u32,
    chunk_count: u32,
    records_start: u32,
    names_start: u32,
    media_types_start: u32,
    media_texts_start: u32,
    checksums_start: u32,
    generation: Generation,
    data_bytes: u64,
}

/// One object of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its bytes lie in the bundle's file.
    pub range: ByteRange,
    /// The SHA-256 of its bytes.
    pub sha256: &'a [u8; 32],
    /// When it was last modified, in seconds since 1970; can be said as an HTTP date.
    pub last_modified: u64,
    /// Its media type: printable ASCII, so that it can stand in a header field.
    pub media_type: &'a str,
}

/// Bytes that do not match their checksum, and must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptChunk {
    /// The chunk, counted from the start of the file.
    pub chunk: u64,
}

impl Footer {
    /// Takes the bytes of a footer, and checks every rule of the format.
    pub fn decode(bytes: Box<[u8]>, trailer: &Trailer) -> Result<Self, FormatError> {
        let header = check_header(&bytes, trailer)?;
        let mut end = HEADER_BYTES as u64;
        let mut next = |length: u64| {
            let start = end;
            end += length;
            start as u32
        };
        let path_start = next(u64::from(header.path_bytes));
        let footer = Self {
            records_start: next(u64::from(header.object_count) * RECORD_BYTES as u64),
            names_start: next(u64::from(header.names_bytes)),
            media_types_start: next(u64::from(header.media_type_count) * MEDIA_TYPE_RECORD_BYTES as u64),
            media_texts_start: next(u64::from(header.media_types_bytes)),
            checksums_start: next(u64::from(header.chunk_count) * 4),
            object_count: header.object_count,
            chunk_count: header.chunk_count,
            generation: trailer.generation,
            data_bytes: trailer.footer_offset,
            bytes,
        };
        // The starts above are of use only if the sum, made in 64 bits, is the length that there is.
        if end + 4 != footer.bytes.len() as u64 {
            return Err(FormatError::Footer("its parts do not add up to its length"));
        }
        footer.check_path(path_start, trailer)?;
        footer.check_media_types(header.media_type_count)?;
        footer.check_objects(header.media_type_count)?;
        Ok(footer)
    }

    /// The directory that the bundle serves.
    pub fn path(&self) -> &str {
        self.text(HEADER_BYTES, self.records_start as usize)
    }

    /// The bundle's edition.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The digest of the descriptor that the bundle was made from; zeroes where there was none.
    pub fn descriptor_digest(&self) -> Sha256 {
        Sha256::new(*array_at(&self.bytes, 56))
    }

    /// Bytes of the data region.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The number of objects.
    pub fn object_count(&self) -> u32 {
        self.object_count
    }

    /// The number of chunks.
    pub fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// Bytes of memory that the footer holds.
    pub fn memory_bytes(&self) -> u64 {
        (self.bytes.len() + size_of::<Self>()) as u64
    }

    /// The object of that name.
    pub fn object(&self, name: &str) -> Option<Object<'_>> {
        let mut low = 0;
        let mut high = self.object_count;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name_bytes(middle).cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(self.object_at(middle)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// All objects, in the order of their names, which is that of their bytes in the file.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = Object<'_>> {
        (0..self.object_count).map(|index| self.object_at(index))
    }

    /// The sum of the objects' lengths.
    pub fn object_bytes(&self) -> u64 {
        self.objects().map(|object| object.range.len()).sum()
    }

    /// Compares whole chunks, read from the file at `first_chunk` × 64 KiB, with their checksums. Only the
    /// last chunk of the data region may be short; anything else that is not a multiple of 64 KiB is refused.
    pub fn verify(&self, first_chunk: u64, bytes: &[u8]) -> Result<(), CorruptChunk> {
        for (position, chunk_bytes) in bytes.chunks(CHUNK_BYTES as usize).enumerate() {
            let chunk = first_chunk.saturating_add(position as u64);
            if self.chunk_bytes(chunk) != chunk_bytes.len() as u64
                || self.chunk_checksum(chunk) != Some(crc32c::crc32c(chunk_bytes))
            {
                return Err(CorruptChunk { chunk });
            }
        }
        Ok(())
    }

    /// The CRC32C of that chunk of the data region.
    pub fn chunk_checksum(&self, chunk: u64) -> Option<u32> {
        (chunk < u64::from(self.chunk_count))
            .then(|| u32_at(&self.bytes, self.checksums_start as usize + 4 * chunk as usize))
    }

    fn chunk_bytes(&self, chunk: u64) -> u64 {
        self.data_bytes.saturating_sub(chunk.saturating_mul(CHUNK_BYTES)).min(CHUNK_BYTES)
    }

    fn object_at(&self, index: u32) -> Object<'_> {
        let record = self.record(index);
        let start = u64_at(record, 8);
        Object {
            name: self.name(index),
            range: ByteRange::new(start, start + u64_at(record, 16)),
            sha256: array_at(record, 32),
            last_modified: u64_at(record, 24),
            media_type: self.media_type(u16_at(record, 6)),
        }
    }

    fn record(&self, index: u32) -> &[u8; RECORD_BYTES] {
        array_at(&self.bytes, self.records_start as usize + index as usize * RECORD_BYTES)
    }

    fn name_bytes(&self, index: u32) -> &[u8] {
        let record = self.record(index);
        let start = self.names_start as usize + u32_at(record, 0) as usize;
        &self.bytes[start..start + usize::from(u16_at(record, 4))]
    }

    fn name(&self, index: u32) -> &str {
        std::str::from_utf8(self.name_bytes(index)).expect("decode has checked the names")
    }

    fn media_type(&self, index: u16) -> &str {
        let record = self.media_types_start as usize + usize::from(index) * MEDIA_TYPE_RECORD_BYTES;
        let start = self.media_texts_start as usize + usize::from(u16_at(&self.bytes, record));
        self.text(start, start + usize::from(u16_at(&self.bytes, record + 2)))
    }

    fn text(&self, start: usize, end: usize) -> &str {
        std::str::from_utf8(&self.bytes[start..end]).expect("decode has checked the texts")
    }

    fn check_path(&self, path_start: u32, trailer: &Trailer) -> Result<(), FormatError> {
        let path = std::str::from_utf8(&self.bytes[path_start as usize..self.records_start as usize]);
        let path = path.ok().and_then(|path| BundlePath::parse(path).ok());
        let path = path.ok_or(FormatError::Footer("its path is not a bundle path"))?;
        if path_hash(&path) != trailer.path_hash {
            return Err(FormatError::Footer("its path is not the one that the trailer names"));
        }
        Ok(())
    }

    fn check_media_types(&self, count: u32) -> Result<(), FormatError> {
        let texts = &self.bytes[self.media_texts_start as usize..self.checksums_start as usize];
        let mut end = 0;
        for index in 0..count as usize {
            let record = self.media_types_start as usize + index * MEDIA_TYPE_RECORD_BYTES;
            let start = usize::from(u16_at(&self.bytes, record));
            let length = usize::from(u16_at(&self.bytes, record + 2));
            let text = texts.get(start..start + length);
            if start != end || !text.is_some_and(is_media_type) {
                return Err(FormatError::Footer("a media type is out of bounds or not printable"));
            }
            end += length;
        }
        if end != texts.len() {
            return Err(FormatError::Footer("bytes between the media types belong to none"));
        }
        Ok(())
    }

    fn check_objects(&self, media_type_count: u32) -> Result<(), FormatError> {
        let names = &self.bytes[self.names_start as usize..self.media_types_start as usize];
        let mut name_end = 0;
        let mut data_end = 0;
        let mut previous: &[u8] = b"";
        for index in 0..self.object_count {
            let refuse = |what| Err(FormatError::Object { index, what });
            let record = self.record(index);
            let name_start = u32_at(record, 0) as usize;
            let name = names.get(name_start..name_start + usize::from(u16_at(record, 4))).unwrap_or_default();
            let text = std::str::from_utf8(name).ok().filter(|text| ObjectName::parse(text).is_ok());
            if name_start != name_end || text.is_none() {
                return refuse("its name is out of bounds or not a name");
            }
            if name <= previous {
                return refuse("its name is not in order");
            }
            if u32::from(u16_at(record, 6)) >= media_type_count {
                return refuse("its media type is out of bounds");
            }
            if u64_at(record, 24) > LAST_MODIFIED_MAX {
                return refuse("its date is out of bounds");
            }
            let range = ByteRange::at(u64_at(record, 8), u64_at(record, 16)).unwrap_or_default();
            if range.start != data_end || range.len() != u64_at(record, 16) || range.end > self.data_bytes {
                return refuse("its bytes are not where they must lie");
            }
            name_end += name.len();
            data_end = align_up(range.end);
            previous = name;
        }
        if name_end != names.len() || data_end != self.data_bytes {
            return Err(FormatError::Footer("bytes between the objects belong to none"));
        }
        Ok(())
    }
}

/// What a footer cannot be longer than, for so many objects and chunks.
pub(super) fn bytes_bound(objects: u64, chunks: u64) -> u64 {
    let object = RECORD_BYTES + ObjectName::BYTES_MAX;
    let media_types = objects.min(u64::from(MEDIA_TYPES_MAX));
    let media_type = MEDIA_TYPE_RECORD_BYTES + MEDIA_TYPE_BYTES_MAX;
    [
        (HEADER_BYTES + BundlePath::BYTES_MAX + 4) as u64,
        objects.saturating_mul(object as u64),
        media_types * media_type as u64,
        chunks.saturating_mul(4),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

/// The bytes of the footer, its checksum included.
pub(super) fn encode(contents: &Contents) -> Result<Vec<u8>, FormatError> {
    let media_types = distinct_media_types(contents)?;
    let names_bytes: usize = contents.objects.iter().map(|object| object.name.as_str().len()).sum();
    let media_types_bytes: usize = media_types.iter().map(|text| text.len()).sum();
    if contents.objects.is_empty() || contents.objects.len() > OBJECTS_MAX as usize {
        return Err(FormatError::Footer(
            "a bundle holds at least one object, and at most 262,144; divide it",
        ));
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + contents.objects.len() * (RECORD_BYTES + 32));
    bytes.extend_from_slice(MAGIC);
    for number in [
        VERSION,
        contents.objects.len() as u32,
        contents.chunk_checksums.len() as u32,
        contents.path.as_str().len() as u32,
        names_bytes as u32,
        media_types.len() as u32,
        media_types_bytes as u32,
        0,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&contents.generation.number().to_le_bytes());
    bytes.extend_from_slice(&contents.data_bytes.to_le_bytes());
    bytes.extend_from_slice(contents.descriptor_digest.bytes());
    bytes.extend_from_slice(contents.path.as_str().as_bytes());
    encode_objects(contents, &media_types, &mut bytes);
    encode_media_types(&media_types, &mut bytes);
    for checksum in &contents.chunk_checksums {
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The numbers of a footer's header, within their bounds.
struct Header {
    object_count: u32,
    chunk_count: u32,
    path_bytes: u32,
    names_bytes: u32,
    media_type_count: u32,
    media_types_bytes: u32,
}

fn check_header(bytes: &[u8], trailer: &Trailer) -> Result<Header, FormatError> {
    if bytes.len() < BYTES_MIN as usize || bytes.len() != trailer.footer_bytes as usize {
        return Err(FormatError::Footer("its length is not the one that the trailer names"));
    }
    let (covered, checksum) = bytes.split_at(bytes.len() - 4);
    if crc32c::crc32c(covered) != u32_at(checksum, 0) || u32_at(checksum, 0) != trailer.footer_checksum {
        return Err(FormatError::Footer("its checksum does not match"));
    }
    if &bytes[..8] != MAGIC {
        return Err(FormatError::Footer("it does not start as a footer does"));
    }
    if u32_at(bytes, 8) != VERSION {
        return Err(FormatError::Version { found: u32_at(bytes, 8) });
    }
    let header = Header {
        object_count: u32_at(bytes, 12),
        chunk_count: u32_at(bytes, 16),
        path_bytes: u32_at(bytes, 20),
        names_bytes: u32_at(bytes, 24),
        media_type_count: u32_at(bytes, 28),
        media_types_bytes: u32_at(bytes, 32),
    };
    if header.object_count == 0 || header.object_count > OBJECTS_MAX {
        return Err(FormatError::Footer("its number of objects is out of bounds"));
    }
    if header.media_type_count > MEDIA_TYPES_MAX || u32_at(bytes, 36) != 0 {
        return Err(FormatError::Footer("its number of media types is out of bounds"));
    }
    if u64_at(bytes, 40) != trailer.generation.number() || u64_at(bytes, 48) != trailer.footer_offset {
        return Err(FormatError::Footer("generation or data length are not those of the trailer"));
    }
    if u64::from(header.chunk_count) != trailer.footer_offset.div_ceil(CHUNK_BYTES) {
        return Err(FormatError::Footer("its number of chunks does not follow from the data length"));
    }
    Ok(header)
}

fn distinct_media_types(contents: &Contents) -> Result<Vec<&str>, FormatError> {
    let mut media_types: Vec<&str> = Vec::new();
    for object in &contents.objects {
        if !is_media_type(object.media_type.as_bytes()) {
            return Err(FormatError::Footer("a media type is empty, longer than 255 bytes or not printable"));
        }
        if !media_types.contains(&&*object.media_type) {
            media_types.push(&object.media_type);
        }
        if media_types.len() > MEDIA_TYPES_MAX as usize {
            return Err(FormatError::Footer("a bundle holds at most 256 different media types"));
        }
    }
    Ok(media_types)
}

fn encode_objects(contents: &Contents, media_types: &[&str], bytes: &mut Vec<u8>) {
    let mut name_start = 0_u32;
    for object in &contents.objects {
        let name = object.name.as_str();
        let media_type = media_types.iter().position(|&text| text == &*object.media_type);
        let media_type = media_type.expect("every media type is in the table made from the objects");
        bytes.extend_from_slice(&name_start.to_le_bytes());
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&(media_type as u16).to_le_bytes());
        bytes.extend_from_slice(&object.range.start.to_le_bytes());
        bytes.extend_from_slice(&object.range.len().to_le_bytes());
        bytes.extend_from_slice(&object.last_modified.min(LAST_MODIFIED_MAX).to_le_bytes());
        bytes.extend_from_slice(object.sha256.bytes());
        name_start += name.len() as u32;
    }
    for object in &contents.objects {
        bytes.extend_from_slice(object.name.as_str().as_bytes());
    }
}

fn encode_media_types(media_types: &[&str], bytes: &mut Vec<u8>) {
    let mut start = 0_u16;
    for text in media_types {
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        start += text.len() as u16;
    }
    for text in media_types {
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// What can stand in a `Content-Type` field: printable ASCII, no control byte that could end the field.
fn is_media_type(text: &[u8]) -> bool {
    (1..=MEDIA_TYPE_BYTES_MAX).contains(&text.len()) && text.iter().all(|byte| (0x20..0x7f).contains(byte))
}

impl fmt::Display for CorruptChunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "chunk {} (64 KiB each) does not match its checksum", self.chunk)
    }
}

impl std::error::Error for CorruptChunk {}
