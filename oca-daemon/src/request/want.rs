//! What a client wishes of digests (RFC 9530 §4).

use super::fields::list_members;

/// What a client says of one digest algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// Nothing.
    #[default]
    Unsaid,
    /// It wants it.
    Wanted,
    /// It says that it does not.
    Unwanted,
}

impl Want {
    /// Reads a dictionary of algorithms and weights from 0, "not acceptable", to 10 (RFC 9530 §4). What is no weight is not looked
    /// at, since all of it is a wish.
    pub(super) fn of(value: &[u8]) -> Self {
        let is_sha256 = |member: &&[u8]| member.starts_with(b"sha-256=");
        match list_members(value).filter(is_sha256).last().map(|member| &member[b"sha-256=".len()..]) {
            Some(b"0") => Self::Unwanted,
            Some(b"1" | b"2" | b"3" | b"4" | b"5" | b"6" | b"7" | b"8" | b"9" | b"10") => Self::Wanted,
            _ => Self::Unsaid,
        }
    }
}
