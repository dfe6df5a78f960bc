use crate::format::CHUNK_BYTES;

/// Computes the checksums of a bundle's data region while its bytes go by from front to back, in blocks of any length.
/// Pure.
#[derive(Clone, Debug, Default)]
pub struct ChunkChecksums {
    complete: Vec<u32>,
    /// Of the chunk that is not complete.
    present: u32,
    present_bytes: u64,
}

impl ChunkChecksums {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (CHUNK_BYTES - self.present_bytes) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.present = crc32c::crc32c_append(self.present, now);
            self.present_bytes += now.len() as u64;
            bytes = later;
            if self.present_bytes == CHUNK_BYTES {
                self.end_chunk();
            }
        }
    }

    /// The CRC32C of each 64 KiB; the last chunk may be short.
    pub fn finish(mut self) -> Vec<u32> {
        if self.present_bytes > 0 {
            self.end_chunk();
        }
        self.complete
    }

    fn end_chunk(&mut self) {
        self.complete.push(self.present);
        self.present = 0;
        self.present_bytes = 0;
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
    }
}
