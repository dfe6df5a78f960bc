//! A hasher for keys that are made of numbers which nobody outside chooses: one multiplication each spreads them well enough.

use std::hash::Hasher;

/// Hashes numbers.
#[derive(Default)]
pub struct KeyHasher(u64);

impl KeyHasher {
    /// The hash of one number.
    pub fn of(number: u64) -> u64 {
        let mut hasher = Self::default();
        hasher.write_u64(number);
        hasher.finish()
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0.rotate_left(32) ^ number) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}
