use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use control_client::content::Sha256;
use control_client::digest::sha256;

use super::RegistryError;

/// A secret that whoever shows it is known by: 64 hexadecimal digits. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new one.
    pub fn generate() -> Result<Self, RegistryError> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| RegistryError::Randomness)?;
        // 32 random bytes, in the digits that a digest is written in.
        Ok(Self(Sha256::new(bytes).to_string()))
    }

    /// What is kept of it. It has as much randomness as a digest, so that one round of hashing is enough.
    pub fn digest(&self) -> Sha256 {
        sha256(self.0.as_bytes())
    }

    /// The secret, to be shown once.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is the token of this digest. Takes the same time whatever is shown.
    pub fn matches(shown: &str, digest: &Sha256) -> bool {
        verify_slices_are_equal(sha256(shown.as_bytes()).bytes(), digest.bytes()).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_its_digest_and_no_other() {
        let (one, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert_ne!(one, other);
        assert!(Token::matches(one.secret(), &one.digest()));
        assert!(!Token::matches(one.secret(), &other.digest()));
        assert!(!Token::matches("", &one.digest()));
        assert_eq!(format!("{one:?}"), "Token(…)");
    }
}
