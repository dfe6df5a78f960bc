//! A buffer that starts at a multiple of 4 KiB, as `O_DIRECT` asks for, without unsafe code: one allocation
//! that is 4 KiB longer, used from its first aligned byte.

use crate::format::ALIGNMENT;

/// Aligned bytes of a fixed length.
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    // Never grown: its address must not change.
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// A buffer of `length` zeroes.
    pub(crate) fn new(length: usize) -> Self {
        let storage = vec![0; length + ALIGNMENT as usize];
        let start = storage.as_ptr().align_offset(ALIGNMENT as usize);
        Self { storage, start, length }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_aligned_and_the_length_is_the_one_asked_for() {
        for length in [0, 1, 4096, 65_537] {
            let mut buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.bytes().as_ptr().addr() % ALIGNMENT as usize, 0);
            assert_eq!(
                (buffer.bytes().len(), buffer.bytes_mut().len(), buffer.len()),
                (length, length, length)
            );
        }
    }
}
