//! SHA-256, the one digest of content.

use aws_lc_rs::digest::{SHA256, digest};

use crate::content::Sha256;

/// The digest of these bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let digest = digest(&SHA256, bytes);
    Sha256::new(digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_fips_180_come_out() {
        for (text, digest) in [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            assert_eq!(sha256(text.as_bytes()).to_string(), digest);
        }
    }
}
