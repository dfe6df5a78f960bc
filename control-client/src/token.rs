//! The token that an appliance, or an operator, shows the control plane: `Authorization: Bearer TOKEN` (RFC 6750).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::content::Sha256;
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN};
use crate::{digest, hex};

/// A secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// Why there is no token.
#[derive(Debug)]
pub enum TokenError {
    /// The text is none.
    Syntax,
    /// The file cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file holds none.
    FileSyntax {
        /// The file.
        path: PathBuf,
    },
    /// Every user of the machine may read or change the file.
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no randomness.
    Randomness,
}

impl Token {
    /// Takes [`TOKEN_BYTES_MIN`] to [`TOKEN_BYTES_MAX`] of the characters of RFC 6750, section 2.1.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let characters = text.trim_end_matches('=').bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        });
        if (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len()) && characters {
            Ok(Self(text.into()))
        } else {
            Err(TokenError::Syntax)
        }
    }

    /// A new one of 256 random bits.
    pub fn generate() -> Result<Self, TokenError> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Randomness)?;
        Ok(Self(hex::encode(&bytes).into()))
    }

    /// Reads a file of one line, which others than its owner and its group can neither read nor change.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |error| TokenError::File { path: path.to_owned(), error };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.permissions().mode() & 0o007 != 0 {
            return Err(TokenError::Exposed { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        // One byte more than a token and its line's end, so that a longer line is not taken for its start.
        file.take(TOKEN_BYTES_MAX as u64 + 3).read_to_end(&mut bytes).map_err(unreadable)?;
        std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| Self::parse(text.trim_end_matches(['\r', '\n'])).ok())
            .ok_or_else(|| TokenError::FileSyntax { path: path.to_owned() })
    }

    /// The secret itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All of it that a control plane keeps.
    pub fn sha256(&self) -> Sha256 {
        digest::sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(not shown)")
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = format_args!("{TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} letters, digits and -._~+/=");
        match self {
            Self::Syntax => write!(formatter, "a token is {form}"),
            Self::File { path, error } if error.kind() == io::ErrorKind::NotFound => {
                let path = path.display();
                write!(
                    formatter,
                    "{path}: {error}; put the token there that the control plane gave this appliance"
                )
            }
            Self::File { path, error } => write!(formatter, "{}: {error}", path.display()),
            Self::FileSyntax { path } => {
                write!(formatter, "{}: holds no token, which is one line of {form}", path.display())
            }
            Self::Exposed { path } => {
                write!(
                    formatter,
                    "anybody may read or change {0}; run chmod o= {0}, then have the token replaced",
                    path.display()
                )
            }
            Self::Randomness => write!(formatter, "the system gives no random bytes for a token"),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        (folder, path)
    }

    #[test]
    fn a_new_token_can_be_kept_in_a_file_and_read_again() {
        let token = Token::generate().expect("random");
        for line_end in ["", "\n", "\r\n"] {
            let (_folder, path) = file(format!("{}{line_end}", token.as_str()).as_bytes(), 0o640);
            assert_eq!(Token::load(&path).expect("readable"), token);
        }
        assert_ne!(Token::generate().expect("random"), token);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let (_folder, path) = file(&[b'a'; 64], 0o644);
        let refusal = Token::load(&path).expect_err("refused").to_string();
        assert!(refusal.contains("run chmod o= "), "{refusal}");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        let two_lines = format!("{}\n{}", "a".repeat(20), "a".repeat(20));
        for text in ["", "short", "0123456789abcdef 0123456789", "0123456789äöü0123456789", &long, &two_lines]
        {
            assert!(matches!(Token::parse(text), Err(TokenError::Syntax)), "{text:?}");
            let (_folder, path) = file(text.as_bytes(), 0o600);
            assert!(matches!(Token::load(&path), Err(TokenError::FileSyntax { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown_by_accident() {
        let token = Token::parse("0123456789abcdef0123456789abcdef").expect("a token");
        assert!(!format!("{token:?}").contains("0123"));
    }
}
