//! A stored head as bytes, in big-endian numbers:
//!
//! `version u8 | status u16 | u8 whether to credentials | request time u64 | response time u64 | total length u64 | selecting fields
//! u16, each: name, u8 whether there, value | fields u16, each: name, value`
//!
//! Times are milliseconds since 1970; a length of all ones is one that is not known; a name or value is a u16 and as many bytes. The
//! record that holds it has the checksum.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Selecting, StoredHead};
use crate::limits::STORED_HEAD_BYTES_MAX;

const VERSION: u8 = 2;
const UNKNOWN_LENGTH: u64 = u64::MAX;
/// Everything before the lists.
const FIXED_BYTES: usize = 1 + 2 + 1 + 8 + 8 + 8;

/// The bytes are no stored head, or one of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

impl fmt::Display for Undecodable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the head of a stored response cannot be read")
    }
}

impl std::error::Error for Undecodable {}

impl StoredHead {
    /// How many bytes [`Self::to_bytes`] makes.
    pub fn encoded_bytes(&self) -> usize {
        let pair = |name: &HeaderName, value_bytes: usize| 2 + name.as_str().len() + 2 + value_bytes;
        let selecting = self.selecting.fields.iter();
        let selecting =
            selecting.map(|(name, value)| 1 + pair(name, value.as_deref().map_or(0, <[u8]>::len)));
        let fields = self.fields.iter().map(|(name, value)| pair(name, value.len()));
        FIXED_BYTES + 2 + selecting.sum::<usize>() + 2 + fields.sum::<usize>()
    }

    /// The head as bytes, at most [`STORED_HEAD_BYTES_MAX`] where [`may_store`](crate::pull::caching::may_store) made it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        bytes.push(VERSION);
        bytes.extend(self.status.as_u16().to_be_bytes());
        bytes.push(self.is_to_credentials.into());
        bytes.extend(milliseconds(self.request_time).to_be_bytes());
        bytes.extend(milliseconds(self.response_time).to_be_bytes());
        bytes.extend(self.total_length.unwrap_or(UNKNOWN_LENGTH).to_be_bytes());
        self.selecting.append_to(&mut bytes);
        append_number(&mut bytes, self.fields.len());
        for (name, value) in &self.fields {
            append_text(&mut bytes, name.as_str().as_bytes());
            append_text(&mut bytes, value.as_bytes());
        }
        bytes
    }

    /// The head that [`Self::to_bytes`] made the bytes of.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut rest = Rest { bytes };
        if bytes.len() > STORED_HEAD_BYTES_MAX || rest.array()? != [VERSION] {
            return Err(Undecodable);
        }
        let head = Self {
            status: StatusCode::from_u16(u16::from_be_bytes(rest.array()?)).map_err(|_| Undecodable)?,
            is_to_credentials: rest.array()? != [0],
            request_time: rest.moment()?,
            response_time: rest.moment()?,
            total_length: Some(u64::from_be_bytes(rest.array()?)).filter(|&length| length != UNKNOWN_LENGTH),
            selecting: rest.selecting()?,
            fields: rest.fields()?,
        };
        if rest.bytes.is_empty() { Ok(head) } else { Err(Undecodable) }
    }

    /// What tells it from other responses under the same key (RFC 9111 §4.1).
    pub fn secondary_key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        if !self.selecting.fields.is_empty() {
            self.selecting.append_to(&mut key);
        }
        key
    }
}

impl Selecting {
    fn append_to(&self, bytes: &mut Vec<u8>) {
        append_number(bytes, self.fields.len());
        for (name, value) in &self.fields {
            append_text(bytes, name.as_str().as_bytes());
            bytes.push(value.is_some().into());
            append_text(bytes, value.as_deref().unwrap_or_default());
        }
    }
}

/// Heads of more than [`STORED_HEAD_BYTES_MAX`] are not stored, so that nothing in them is beyond 16 bits.
fn append_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend(u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

fn append_text(bytes: &mut Vec<u8>, text: &[u8]) {
    let text = &text[..text.len().min(usize::from(u16::MAX))];
    append_number(bytes, text.len());
    bytes.extend_from_slice(text);
}

fn milliseconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What has not been read yet.
struct Rest<'a> {
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Undecodable> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or(Undecodable)?;
        self.bytes = rest;
        Ok(*array)
    }

    fn number(&mut self) -> Result<usize, Undecodable> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    fn text(&mut self) -> Result<&'a [u8], Undecodable> {
        let length = self.number()?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(Undecodable)?;
        self.bytes = rest;
        Ok(text)
    }

    fn name(&mut self) -> Result<HeaderName, Undecodable> {
        HeaderName::from_bytes(self.text()?).map_err(|_| Undecodable)
    }

    fn moment(&mut self) -> Result<SystemTime, Undecodable> {
        let since = Duration::from_millis(u64::from_be_bytes(self.array()?));
        UNIX_EPOCH.checked_add(since).ok_or(Undecodable)
    }

    fn selecting(&mut self) -> Result<Selecting, Undecodable> {
        let mut selecting = Selecting::default();
        for _ in 0..self.number()? {
            let name = self.name()?;
            let [is_there] = self.array()?;
            let value = self.text()?;
            selecting.fields.push((name, (is_there != 0).then(|| value.to_vec())));
        }
        Ok(selecting)
    }

    fn fields(&mut self) -> Result<HeaderMap, Undecodable> {
        let mut fields = HeaderMap::new();
        for _ in 0..self.number()? {
            let name = self.name()?;
            let value = HeaderValue::from_bytes(self.text()?).map_err(|_| Undecodable)?;
            fields.try_append(name, value).map_err(|_| Undecodable)?;
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pull::caching::tests::{fields, stored};

    fn full() -> StoredHead {
        let mut head = stored(203, &[("a", "1"), ("etag", "\"x\""), ("a", "2"), ("empty", "")]);
        head.fields.append("latin", HeaderValue::from_bytes(b"\xe9").unwrap());
        let request = fields(&[("accept-language", "de, EN")]);
        head.selecting = Selecting::of(&request, &fields(&[("vary", "Accept-Language, X-Absent")])).unwrap();
        head.total_length = Some(1 << 40);
        head.is_to_credentials = true;
        head
    }

    #[test]
    fn a_head_is_the_same_after_it_was_bytes() {
        for head in [full(), stored(200, &[])] {
            let bytes = head.to_bytes();
            assert_eq!(bytes.len(), head.encoded_bytes());
            assert_eq!(StoredHead::from_bytes(&bytes), Ok(head));
        }
    }

    #[test]
    fn bytes_that_are_no_head_are_refused() {
        let bytes = full().to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(StoredHead::from_bytes(&bytes[..length]), Err(Undecodable), "{length}");
        }
        assert_eq!(StoredHead::from_bytes(&[&bytes[..], &[0]].concat()), Err(Undecodable));
        assert_eq!(StoredHead::from_bytes(&[&[VERSION + 1], &bytes[1..]].concat()), Err(Undecodable));
        assert_eq!(StoredHead::from_bytes(&vec![VERSION; STORED_HEAD_BYTES_MAX + 1]), Err(Undecodable));
    }

    #[test]
    fn the_secondary_key_is_the_same_for_the_same_selection_only() {
        let with = |value: &str| {
            let mut head = stored(200, &[]);
            head.selecting = Selecting::of(&fields(&[("a", value)]), &fields(&[("vary", "A, B")])).unwrap();
            head.secondary_key()
        };
        assert_eq!(with("1, 2"), with("1,2"));
        assert_ne!(with("1"), with("2"));
        assert_ne!(with("1"), stored(200, &[]).secondary_key());
        assert!(stored(200, &[]).secondary_key().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_is_written_the_same(
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = full().to_bytes();
            for (place, byte) in noise {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Ok(head) = StoredHead::from_bytes(&bytes) {
                prop_assert_eq!(StoredHead::from_bytes(&head.to_bytes()), Ok(head));
            }
        }
    }
}
