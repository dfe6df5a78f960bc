use crate::format::CHUNK_BYTES;

/// Computes the checksums of a bundle's data region, or of a part of it, while its bytes go by from front to back, in
/// blocks of any length. Pure.
#[derive(Clone, Debug, Default)]
pub struct ChunkChecksums {
    complete: Vec<u32>,
    /// Of the chunk that is not complete: what there is of it here.
    present: u32,
    present_bytes: u64,
    /// How far into its chunk the next byte is.
    place: u64,
}

impl ChunkChecksums {
    /// Of the whole region, before its first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a part of it, which begins at that offset of the file. Cut like the whole: where a chunk of the region begins, a
    /// checksum of the part does.
    pub fn of_part(offset: u64) -> Self {
        Self { place: offset % CHUNK_BYTES, ..Self::default() }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room() as usize));
            self.take(crc32c::crc32c_append(self.present, now), now.len() as u64);
            bytes = later;
        }
    }

    /// Takes the next part, of so many bytes, by what [`Self::finish`] gave for it. Its checksums have to be as many as it has
    /// pieces.
    pub fn join(&mut self, part: &[u32], mut bytes: u64) {
        for &checksum in part {
            let length = bytes.min(self.room());
            bytes -= length;
            self.take(
                match self.present_bytes {
                    0 => checksum,
                    _ => crc32c::crc32c_combine(self.present, checksum, length as usize),
                },
                length,
            );
        }
        debug_assert_eq!(bytes, 0, "a part has a checksum for each of its pieces");
    }

    /// The CRC32C of each 64 KiB; the last chunk may be short, and so may the first of a part.
    pub fn finish(mut self) -> Vec<u32> {
        if self.present_bytes > 0 {
            self.end_chunk();
        }
        self.complete
    }

    /// Bytes until the chunk ends.
    fn room(&self) -> u64 {
        CHUNK_BYTES - self.place
    }

    fn take(&mut self, checksum: u32, bytes: u64) {
        self.present = checksum;
        self.present_bytes += bytes;
        self.place += bytes;
        if self.place == CHUNK_BYTES {
            self.end_chunk();
        }
    }

    fn end_chunk(&mut self) {
        self.complete.push(self.present);
        (self.present, self.present_bytes, self.place) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn checksums_do_not_depend_on_how_the_bytes_are_cut_into_blocks(
            length in 0..300_000_usize,
            cuts in prop::collection::vec(0..300_000_usize, 0..12),
        ) {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(length)).chain([0, length]).collect();
            cuts.sort_unstable();
            let mut checksums = ChunkChecksums::new();
            for pair in cuts.windows(2) {
                checksums.update(&bytes[pair[0]..pair[1]]);
            }
            let expected: Vec<u32> = bytes.chunks(CHUNK_BYTES as usize).map(crc32c::crc32c).collect();
            prop_assert_eq!(checksums.finish(), expected);
        }

        #[test]
        fn the_checksums_of_parts_join_to_those_of_the_whole(
            length in 1..300_000_usize,
            cuts in prop::collection::vec(0..300_000_usize, 0..12),
        ) {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(length)).chain([0, length]).collect();
            cuts.sort_unstable();
            let mut joined = ChunkChecksums::new();
            for pair in cuts.windows(2) {
                let mut part = ChunkChecksums::of_part(pair[0] as u64);
                part.update(&bytes[pair[0]..pair[1]]);
                joined.join(&part.finish(), (pair[1] - pair[0]) as u64);
            }
            let expected: Vec<u32> = bytes.chunks(CHUNK_BYTES as usize).map(crc32c::crc32c).collect();
            prop_assert_eq!(joined.finish(), expected);
        }
    }
}
