//! What a client may say after the handshake beside HTTP: a few alerts, and in TLS 1.3 that it changes its key. Anything else
//! ends the connection with the alert that names what is wrong.

use super::record::{Alert, LEVEL_FATAL, LEVEL_WARNING};
use crate::limits::QUIET_RECORDS_MAX;
use crate::stats::TlsVersion;

/// What a record that holds no data asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Nothing, or not all of it is here yet.
    Nothing,
    /// The client sends no more.
    Closed,
    /// The client has given the connection up, with this alert; it wants no answer.
    Failed(u8),
    /// The client's next record is sealed with its next key; it may want us to change ours.
    KeyUpdate {
        /// We are to change ours too.
        is_requested: bool,
    },
    /// The client wants another handshake, and is told that there is none.
    Renegotiation,
}

/// A `KeyUpdate` message: its type, a length of three bytes, and whether ours is wanted (RFC 8446 §4.6.3).
const KEY_UPDATE_BYTES: usize = 5;
const CLIENT_HELLO: u8 = 1;
const KEY_UPDATE: u8 = 24;

/// Our own: it never asks for the client's, so that neither side can make the other change keys for ever.
pub const OUR_KEY_UPDATE: [u8; KEY_UPDATE_BYTES] = [KEY_UPDATE, 0, 0, 1, 0];

/// Reads alerts and handshake messages, and keeps what is left of a message that comes in several records.
pub struct ControlReader {
    version: TlsVersion,
    message: [u8; KEY_UPDATE_BYTES],
    message_bytes: usize,
    /// Records in a row that brought no data.
    quiet_records: u8,
    has_refused_renegotiation: bool,
}

impl ControlReader {
    /// For a connection of that version.
    pub fn new(version: TlsVersion) -> Self {
        Self {
            version,
            message: [0; _],
            message_bytes: 0,
            quiet_records: 0,
            has_refused_renegotiation: false,
        }
    }

    /// A record of data has come, of that length.
    pub fn on_data(&mut self, length_bytes: usize) -> Result<(), Alert> {
        self.check_no_message_is_open()?;
        if length_bytes == 0 {
            return self.count_quiet();
        }
        self.quiet_records = 0;
        Ok(())
    }

    /// A record with an alert has come: exactly one (RFC 8446 §5.1).
    pub fn on_alert(&mut self, content: &[u8]) -> Result<Control, Alert> {
        self.check_no_message_is_open()?;
        self.count_quiet()?;
        let &[level, number] = content else {
            return Err(if content.is_empty() { Alert::UnexpectedMessage } else { Alert::DecodeError });
        };
        if number == Alert::CloseNotify as u8 {
            return Ok(Control::Closed);
        }
        let is_over = match (self.version, level) {
            // Levels mean nothing there: all alerts but two are the end (RFC 8446 §6).
            (TlsVersion::Tls13, _) => number != Alert::UserCanceled as u8,
            (TlsVersion::Tls12, LEVEL_WARNING) => false,
            (TlsVersion::Tls12, LEVEL_FATAL) => true,
            (TlsVersion::Tls12, _) => return Err(Alert::IllegalParameter),
        };
        Ok(if is_over { Control::Failed(number) } else { Control::Nothing })
    }

    /// A record with handshake messages has come.
    pub fn on_handshake(&mut self, content: &[u8]) -> Result<Control, Alert> {
        self.count_quiet()?;
        match self.version {
            TlsVersion::Tls13 => self.on_key_update(content),
            TlsVersion::Tls12 => self.on_hello(content),
        }
    }

    fn on_key_update(&mut self, content: &[u8]) -> Result<Control, Alert> {
        if content.is_empty() {
            return Err(Alert::UnexpectedMessage);
        }
        let room = &mut self.message[self.message_bytes..];
        let taken_bytes = room.len().min(content.len());
        room[..taken_bytes].copy_from_slice(&content[..taken_bytes]);
        self.message_bytes += taken_bytes;
        let [kind, length @ .., wanted] = self.message;
        if kind != KEY_UPDATE {
            return Err(Alert::UnexpectedMessage);
        }
        if self.message_bytes > 3 && length != [0, 0, 1] {
            return Err(Alert::DecodeError);
        }
        if self.message_bytes < KEY_UPDATE_BYTES {
            return Ok(Control::Nothing);
        }
        // What follows would have been sealed with a key that is no longer used (RFC 8446 §5.1).
        if taken_bytes < content.len() {
            return Err(Alert::UnexpectedMessage);
        }
        self.message_bytes = 0;
        match wanted {
            0 => Ok(Control::KeyUpdate { is_requested: false }),
            1 => Ok(Control::KeyUpdate { is_requested: true }),
            _ => Err(Alert::IllegalParameter),
        }
    }

    /// TLS 1.2 lets a client ask for another handshake at any time. It is told once that there is none (RFC 5246 §7.2.2).
    fn on_hello(&mut self, content: &[u8]) -> Result<Control, Alert> {
        let is_one_whole_hello = matches!(content, [CLIENT_HELLO, high, middle, low, rest @ ..]
            if u32::from_be_bytes([0, *high, *middle, *low]) as usize == rest.len());
        if !is_one_whole_hello || self.has_refused_renegotiation {
            return Err(Alert::UnexpectedMessage);
        }
        self.has_refused_renegotiation = true;
        Ok(Control::Renegotiation)
    }

    /// Nothing may come between the parts of a message (RFC 8446 §5.1).
    fn check_no_message_is_open(&self) -> Result<(), Alert> {
        if self.message_bytes == 0 { Ok(()) } else { Err(Alert::UnexpectedMessage) }
    }

    /// Bounds what a client can have us do without asking for anything.
    fn count_quiet(&mut self) -> Result<(), Alert> {
        self.quiet_records += 1;
        if self.quiet_records > QUIET_RECORDS_MAX { Err(Alert::UnexpectedMessage) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTED: Control = Control::KeyUpdate { is_requested: true };

    fn reader(version: TlsVersion) -> ControlReader {
        ControlReader::new(version)
    }

    #[test]
    fn a_key_update_is_taken_whole_or_in_parts() {
        let mut control = reader(TlsVersion::Tls13);
        assert_eq!(control.on_handshake(&[24, 0, 0, 1, 1]), Ok(REQUESTED));
        assert_eq!(control.on_handshake(&[24, 0, 0, 1, 0]), Ok(Control::KeyUpdate { is_requested: false }));
        for byte in [24, 0, 0, 1] {
            assert_eq!(control.on_handshake(&[byte]), Ok(Control::Nothing));
        }
        assert_eq!(control.on_handshake(&[1]), Ok(REQUESTED));
        assert_eq!(control.on_data(5), Ok(()));
    }

    #[test]
    fn what_is_no_key_update_is_refused_by_its_first_wrong_byte() {
        for (content, alert) in [
            (&[][..], Alert::UnexpectedMessage),
            (&[1], Alert::UnexpectedMessage),
            (&[4, 0, 0, 1, 0], Alert::UnexpectedMessage),
            (&[24, 0, 0, 2, 0, 0], Alert::DecodeError),
            (&[24, 0, 1, 0], Alert::DecodeError),
            (&[24, 0, 0, 1, 2], Alert::IllegalParameter),
            (&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], Alert::UnexpectedMessage),
        ] {
            assert_eq!(reader(TlsVersion::Tls13).on_handshake(content), Err(alert), "{content:?}");
        }
    }

    #[test]
    fn nothing_comes_between_the_parts_of_a_message() {
        let mut control = reader(TlsVersion::Tls13);
        assert_eq!(control.on_handshake(&[24, 0]), Ok(Control::Nothing));
        assert_eq!(control.on_data(1), Err(Alert::UnexpectedMessage));
        assert_eq!(control.on_alert(&[1, 0]), Err(Alert::UnexpectedMessage));
    }

    #[test]
    fn an_alert_ends_a_connection_of_1_3_unless_it_says_that_the_close_comes_next() {
        let mut control = reader(TlsVersion::Tls13);
        assert_eq!(control.on_alert(&[1, 90]), Ok(Control::Nothing));
        assert_eq!(control.on_alert(&[1, 100]), Ok(Control::Failed(100)));
        assert_eq!(control.on_alert(&[2, 0]), Ok(Control::Closed));
        assert_eq!(control.on_alert(&[2]), Err(Alert::DecodeError));
        assert_eq!(control.on_alert(&[1, 0, 1, 0]), Err(Alert::DecodeError));
        assert_eq!(control.on_alert(&[]), Err(Alert::UnexpectedMessage));
    }

    #[test]
    fn a_warning_does_not_end_a_connection_of_1_2() {
        let mut control = reader(TlsVersion::Tls12);
        assert_eq!(control.on_alert(&[1, 100]), Ok(Control::Nothing));
        assert_eq!(control.on_alert(&[2, 40]), Ok(Control::Failed(40)));
        assert_eq!(control.on_alert(&[3, 40]), Err(Alert::IllegalParameter));
    }

    #[test]
    fn another_handshake_is_declined_once_and_refused_then() {
        let mut control = reader(TlsVersion::Tls12);
        let hello = [1, 0, 0, 2, 3, 3];
        assert_eq!(control.on_handshake(&hello), Ok(Control::Renegotiation));
        assert_eq!(control.on_handshake(&hello), Err(Alert::UnexpectedMessage));
        assert_eq!(reader(TlsVersion::Tls12).on_handshake(&hello[..5]), Err(Alert::UnexpectedMessage));
        assert_eq!(reader(TlsVersion::Tls12).on_handshake(&[24, 0, 0, 1, 0]), Err(Alert::UnexpectedMessage));
    }

    #[test]
    fn a_client_that_only_changes_keys_or_sends_nothing_is_stopped() {
        let mut control = reader(TlsVersion::Tls13);
        for _ in 0..QUIET_RECORDS_MAX {
            assert_eq!(control.on_handshake(&[24, 0, 0, 1, 1]), Ok(REQUESTED));
        }
        assert_eq!(control.on_handshake(&[24, 0, 0, 1, 1]), Err(Alert::UnexpectedMessage));
        let mut control = reader(TlsVersion::Tls12);
        for _ in 0..QUIET_RECORDS_MAX {
            assert_eq!(control.on_data(0), Ok(()));
        }
        assert_eq!(control.on_data(1), Ok(()));
        for _ in 0..QUIET_RECORDS_MAX {
            assert_eq!(control.on_data(0), Ok(()));
        }
        assert_eq!(control.on_data(0), Err(Alert::UnexpectedMessage));
    }
}
