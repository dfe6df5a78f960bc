//! The record protocol's bytes: headers, content types, alerts and sizes (RFC 8446 §5 and §6, RFC 5246 §6.2 and §7.2).

/// A record's header: its content type, a version, and the length of what follows.
pub const HEADER_BYTES: usize = 5;

/// The most that one record may hold.
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 14;

/// What authenticates a record, in every suite.
pub const TAG_BYTES: usize = 16;

/// The most by which a sealed record is longer than what it holds: a header, and the explicit nonce of TLS 1.2 with GCM.
pub const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES + 8 + TAG_BYTES;

/// The longest record that we send.
pub const RECORD_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX + OVERHEAD_BYTES_MAX;

/// The version in the header of every record, 1.2, whatever is spoken (RFC 8446 §5.1).
pub const WIRE_VERSION: [u8; 2] = [3, 3];

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentType {
    /// Of handshakes only.
    ChangeCipherSpec = 20,
    /// An [`Alert`].
    Alert = 21,
    /// Handshake messages, and those that come after a handshake.
    Handshake = 22,
    /// HTTP; in TLS 1.3 the outer type of every sealed record.
    ApplicationData = 23,
}

impl ContentType {
    /// The type of that number, if it has one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::ChangeCipherSpec, Self::Alert, Self::Handshake, Self::ApplicationData]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The alerts that we send, or treat otherwise than as the end (RFC 8446 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// Nothing more will be sent.
    CloseNotify = 0,
    /// Something that may not come here.
    UnexpectedMessage = 10,
    /// A record that was not sealed with the key agreed on, or was changed since.
    BadRecordMac = 20,
    /// A record longer than may be.
    RecordOverflow = 22,
    /// A field has a value that it may not have.
    IllegalParameter = 47,
    /// A message that does not have its form.
    DecodeError = 50,
    /// A version other than the one settled on.
    ProtocolVersion = 70,
    /// A defect of ours.
    InternalError = 80,
    /// The client cancels, and closes next.
    UserCanceled = 90,
    /// TLS 1.2: no second handshake.
    NoRenegotiation = 100,
}

impl Alert {
    /// The two bytes of it: its level, which TLS 1.3 ignores, and its number.
    pub fn bytes(self) -> [u8; 2] {
        let is_warning = matches!(self, Alert::CloseNotify | Alert::UserCanceled | Alert::NoRenegotiation);
        [if is_warning { LEVEL_WARNING } else { LEVEL_FATAL }, self as u8]
    }
}

/// The level of an alert after which a connection goes on.
pub const LEVEL_WARNING: u8 = 1;
/// The level of an alert that ends a connection.
pub const LEVEL_FATAL: u8 = 2;

/// A record's header as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record says that it holds.
    pub kind: ContentType,
    /// TLS 1.3 ignores it.
    pub version: [u8; 2],
    /// Bytes of the record after the header.
    pub body_bytes: usize,
}

impl RecordHeader {
    /// Reads a header; `body_bytes_max` is the longest body that may follow.
    pub fn parse(header: [u8; HEADER_BYTES], body_bytes_max: usize) -> Result<Self, Alert> {
        let [kind, major, minor, high, low] = header;
        let kind = ContentType::from_byte(kind).ok_or(Alert::UnexpectedMessage)?;
        let body_bytes = usize::from(u16::from_be_bytes([high, low]));
        if body_bytes > body_bytes_max {
            return Err(Alert::RecordOverflow);
        }
        Ok(Self { kind, version: [major, minor], body_bytes })
    }

    /// The header of a record that we send; `body_bytes` is at most [`RECORD_BYTES_MAX`].
    pub fn bytes(kind: ContentType, body_bytes: usize) -> [u8; HEADER_BYTES] {
        let [high, low] = (body_bytes as u16).to_be_bytes();
        [kind as u8, WIRE_VERSION[0], WIRE_VERSION[1], high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let header = RecordHeader::bytes(ContentType::ApplicationData, 0x1234);
        assert_eq!(header, [23, 3, 3, 0x12, 0x34]);
        let read = RecordHeader::parse(header, 0x1234).unwrap();
        assert_eq!(
            read,
            RecordHeader { kind: ContentType::ApplicationData, version: [3, 3], body_bytes: 0x1234 }
        );
    }

    #[test]
    fn a_header_of_no_known_type_or_too_long_a_body_is_refused() {
        assert_eq!(RecordHeader::parse([24, 3, 3, 0, 1], 100), Err(Alert::UnexpectedMessage));
        assert_eq!(RecordHeader::parse(*b"GET /", 100), Err(Alert::UnexpectedMessage));
        assert_eq!(RecordHeader::parse([23, 3, 3, 0, 101], 100), Err(Alert::RecordOverflow));
    }

    #[test]
    fn only_a_farewell_and_what_a_connection_survives_is_a_warning() {
        assert_eq!(Alert::CloseNotify.bytes(), [1, 0]);
        assert_eq!(Alert::NoRenegotiation.bytes(), [1, 100]);
        assert_eq!(Alert::BadRecordMac.bytes(), [2, 20]);
    }
}
