//! The fields of a request that serving looks at, and what framing and persistence follow from them.

use control_client::demand::FILL_AGENT_PREFIX;
use smallvec::SmallVec;

use super::line::is_token_byte;
use super::{Cause, Framing, Persistence, Version, Want, host};
use crate::limits;
use crate::media::cmcd::Lines;

/// The fields that serving looks at. Values are as sent, without the spaces around them.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    /// The Host field; empty where HTTP/1.0 sent none.
    pub host: &'a [u8],
    /// Range (RFC 9110 §14.2).
    pub range: Single<'a>,
    /// If-Range (§13.1.5).
    pub if_range: Single<'a>,
    /// If-Match (§13.1.1), one value per line.
    pub if_match: SmallVec<[&'a [u8]; 1]>,
    /// If-None-Match (§13.1.2), one value per line.
    pub if_none_match: SmallVec<[&'a [u8]; 1]>,
    /// If-Modified-Since (§13.1.3).
    pub if_modified_since: Single<'a>,
    /// If-Unmodified-Since (§13.1.4).
    pub if_unmodified_since: Single<'a>,
    /// Expect has a member other than `100-continue`.
    pub expects_other: bool,
    /// Origin was sent.
    pub has_origin: bool,
    /// User-Agent is that of a fill agent: another appliance asks, and no viewer.
    pub is_fill: bool,
    /// Want-Content-Digest (RFC 9530 §4), as far as it is about SHA-256.
    pub want_content_digest: Want,
    /// Want-Repr-Digest, likewise.
    pub want_repr_digest: Want,
    /// CMCD-Object, -Request, -Session and -Status (CTA-5004), whichever was sent.
    pub cmcd: Lines<'a>,
    /// Access-Control-Request-Method was sent: with Origin and OPTIONS, a CORS preflight.
    pub has_requested_method: bool,
}

/// A field that takes one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Single<'a> {
    /// Not sent.
    #[default]
    Absent,
    /// Sent once.
    One(&'a [u8]),
    /// Sent on several lines: no value can be trusted.
    Several,
}

/// What a field section says.
#[derive(Default)]
pub(super) struct Collected<'a> {
    pub(super) fields: Fields<'a>,
    pub(super) expects_continue: bool,
    host: Single<'a>,
    content_length: Single<'a>,
    transfer_coding: TransferCoding,
    says_close: bool,
    says_keep_alive: bool,
}

/// The transfer codings, in the order applied.
#[derive(Default)]
struct TransferCoding {
    is_sent: bool,
    has_unknown: bool,
    is_malformed: bool,
    chunked_times: usize,
    ends_chunked: bool,
}

/// Reads a complete field section, the empty line at its end included.
pub(super) fn collect(section: &[u8]) -> Result<Collected<'_>, Cause> {
    let mut lines = [httparse::EMPTY_HEADER; limits::FIELD_LINES];
    let lines = match httparse::parse_headers(section, &mut lines) {
        Ok(httparse::Status::Complete((bytes, lines))) if bytes == section.len() => lines,
        Err(httparse::Error::TooManyHeaders) => return Err(Cause::FieldsTooLarge),
        _ => return Err(Cause::Malformed),
    };
    let mut collected = Collected::default();
    for line in lines {
        collected.add(line.name, line.value);
    }
    Ok(collected)
}

impl<'a> Collected<'a> {
    fn add(&mut self, name: &str, value: &'a [u8]) {
        let fields = &mut self.fields;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => self.host.add(value),
            5 if is("range") => fields.range.add(value),
            6 if is("expect") => self.add_expectations(value),
            6 if is("origin") => fields.has_origin = true,
            8 if is("if-match") => fields.if_match.push(value),
            8 if is("if-range") => fields.if_range.add(value),
            10 if is("user-agent") => fields.is_fill = value.starts_with(FILL_AGENT_PREFIX.as_bytes()),
            10 if is("connection") => self.add_connection_options(value),
            11 if is("cmcd-object") || is("cmcd-status") => self.add_cmcd(value),
            12 if is("cmcd-request") || is("cmcd-session") => self.add_cmcd(value),
            13 if is("if-none-match") => fields.if_none_match.push(value),
            14 if is("content-length") => self.content_length.add(value),
            16 if is("want-repr-digest") => fields.want_repr_digest = Want::of(value),
            17 if is("if-modified-since") => fields.if_modified_since.add(value),
            17 if is("transfer-encoding") => self.transfer_coding.add(value),
            19 if is("want-content-digest") => fields.want_content_digest = Want::of(value),
            19 if is("if-unmodified-since") => fields.if_unmodified_since.add(value),
            29 if is("access-control-request-method") => fields.has_requested_method = true,
            _ => {}
        }
    }

    /// One line of each is what players send; repeated ones beyond that are not looked at.
    fn add_cmcd(&mut self, value: &'a [u8]) {
        if self.fields.cmcd.len() < CMCD_LINES_MAX {
            self.fields.cmcd.push(value);
        }
    }

    fn add_expectations(&mut self, value: &[u8]) {
        for expectation in list_members(value) {
            if expectation.eq_ignore_ascii_case(b"100-continue") {
                self.expects_continue = true;
            } else {
                self.fields.expects_other = true;
            }
        }
    }

    fn add_connection_options(&mut self, value: &[u8]) {
        for option in list_members(value) {
            self.says_close |= option.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// How long the content is (RFC 9112 §6.3), refusing every message about which two recipients could disagree.
    pub(super) fn framing(&self, version: Version) -> Result<Framing, Cause> {
        let coding = &self.transfer_coding;
        if coding.is_sent {
            // §6.1: both fields may be an attempt at smuggling; in HTTP/1.0 the framing is faulty by definition.
            if self.content_length != Single::Absent || version == Version::Http10 {
                return Err(Cause::Framing);
            }
            // §6.3: chunked not last, so that the length cannot be known: 400. §7: chunked twice is never valid.
            if coding.is_malformed || !coding.ends_chunked || coding.chunked_times > 1 {
                return Err(Cause::Framing);
            }
            // §6.1: a coding that is not understood: 501.
            return if coding.has_unknown { Err(Cause::Coding) } else { Ok(Framing::Chunked) };
        }
        match self.content_length {
            Single::Absent => Ok(Framing::None),
            Single::Several => Err(Cause::Framing),
            Single::One(value) => match parse_length(value).ok_or(Cause::Framing)? {
                0 => Ok(Framing::None),
                length if length > limits::CONTENT_BYTES => Err(Cause::ContentTooLarge),
                length => Ok(Framing::Length(length)),
            },
        }
    }

    /// Takes the one valid Host that RFC 9112 §3.2 demands; HTTP/1.0 may send none.
    pub(super) fn take_host(&mut self, version: Version) -> Result<(), Cause> {
        match self.host {
            Single::One(host) if host::is_valid(host) => self.fields.host = host,
            Single::Absent if version == Version::Http10 => {}
            _ => return Err(Cause::Host),
        }
        Ok(())
    }

    /// RFC 9112 §9.3: `close` wins; then HTTP/1.1 stays open, and HTTP/1.0 where it asked.
    pub(super) fn persistence(&self, version: Version) -> Persistence {
        match version {
            _ if self.says_close => Persistence::Close,
            Version::Http11 => Persistence::KeepAlive,
            Version::Http10 if self.says_keep_alive => Persistence::KeepAliveAsked,
            Version::Http10 => Persistence::Close,
        }
    }
}

impl<'a> Single<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = if *self == Self::Absent { Self::One(value) } else { Self::Several };
    }

    /// The value, where exactly one was sent.
    pub fn one(self) -> Option<&'a [u8]> {
        if let Self::One(value) = self { Some(value) } else { None }
    }
}

impl TransferCoding {
    fn add(&mut self, value: &[u8]) {
        self.is_sent = true;
        // A list may have empty members (RFC 9110 §5.6.1.2), but a line without any coding is taken for none by some
        // recipients and skipped by others: a way to smuggle. Found by fuzzing.
        self.is_malformed |= list_members(value).next().is_none();
        for member in list_members(value) {
            let name_bytes = member.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(member.len());
            let (name, parameters) = member.split_at(name_bytes);
            let is_chunked = name.eq_ignore_ascii_case(b"chunked");
            let has_parameters = parameters.trim_ascii_start().starts_with(b";");
            // §7.1: parameters of chunked are an error.
            self.is_malformed |= name.is_empty() || !parameters.is_empty() && (is_chunked || !has_parameters);
            self.chunked_times += usize::from(is_chunked);
            self.has_unknown |= !is_chunked;
            self.ends_chunked = is_chunked;
        }
    }
}

/// The members of a comma-separated list; empty ones are skipped (RFC 9110 §5.6.1.2).
pub(super) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// `1*DIGIT`; a number beyond 64 bits is as good as the largest (RFC 9110 §8.6 warns of overflow).
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(length.saturating_mul(10).saturating_add(digit))
    })
}

/// Lines of CMCD: one of each of its fields.
const CMCD_LINES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(lines: &str) -> Collected<'static> {
        let section = format!("{}\r\n\r\n", lines.replace('\n', "\r\n"));
        collect(section.into_bytes().leak()).unwrap()
    }

    #[test]
    fn framing_follows_rfc_9112_and_refuses_what_could_be_read_in_two_ways() {
        let chunked = Ok(Framing::Chunked);
        let framing = Err(Cause::Framing);
        for (lines, expected) in [
            ("A: b", Ok(Framing::None)),
            ("Content-Length: 0", Ok(Framing::None)),
            ("Content-Length: 5", Ok(Framing::Length(5))),
            ("content-length: 0005", Ok(Framing::Length(5))),
            ("Content-Length: 65536", Ok(Framing::Length(65536))),
            ("Content-Length: 65537", Err(Cause::ContentTooLarge)),
            ("Content-Length: 99999999999999999999999999", Err(Cause::ContentTooLarge)),
            ("Content-Length:", framing),
            ("Content-Length: +5", framing),
            ("Content-Length: -5", framing),
            ("Content-Length: 0x5", framing),
            ("Content-Length: 5 5", framing),
            ("Content-Length: 5, 5", framing),
            ("Content-Length: 5\nContent-Length: 5", framing),
            ("Content-Length: 5\nContent-Length: 6", framing),
            ("Transfer-Encoding: chunked", chunked),
            ("Transfer-Encoding: CHUNKED", chunked),
            ("Transfer-Encoding: , chunked ,", chunked),
            ("Transfer-Encoding: chunked\nContent-Length: 5", framing),
            ("Content-Length: x\nTransfer-Encoding: chunked", framing),
            ("Transfer-Encoding:", framing),
            ("Transfer-Encoding: gzip", framing),
            ("Transfer-Encoding: identity", framing),
            ("Transfer-Encoding: chunked, gzip", framing),
            ("Transfer-Encoding: chunked, chunked", framing),
            ("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", framing),
            ("Transfer-Encoding:\nTransfer-Encoding: chunked", framing),
            ("Transfer-Encoding: chunked\nTransfer-Encoding: ,", framing),
            ("Transfer-Encoding: chunked;q=1", framing),
            ("Transfer-Encoding: xchunked", framing),
            ("Transfer-Encoding: \"chunked\"", framing),
            ("Transfer-Encoding: chunked x", framing),
            ("Transfer-Encoding: gzip, chunked", Err(Cause::Coding)),
            ("Transfer-Encoding: gzip;level=1, chunked", Err(Cause::Coding)),
            ("Transfer-Encoding: gzip\nTransfer-Encoding: chunked", Err(Cause::Coding)),
        ] {
            assert_eq!(collected(lines).framing(Version::Http11), expected, "{lines:?}");
        }
        assert_eq!(collected("Transfer-Encoding: chunked").framing(Version::Http10), framing);
        assert_eq!(collected("Content-Length: 5").framing(Version::Http10), Ok(Framing::Length(5)));
    }

    #[test]
    fn persistence_follows_the_version_and_what_connection_says() {
        use Persistence::{Close, KeepAlive, KeepAliveAsked};
        for (lines, http11, http10) in [
            ("A: b", KeepAlive, Close),
            ("Connection: keep-alive", KeepAlive, KeepAliveAsked),
            ("Connection: Keep-Alive, Upgrade", KeepAlive, KeepAliveAsked),
            ("Connection: close", Close, Close),
            ("Connection: CLOSE", Close, Close),
            ("Connection: keep-alive, close", Close, Close),
            ("Connection: keep-alive\nConnection: close", Close, Close),
            ("Connection: closed", KeepAlive, Close),
            ("Connection: ,", KeepAlive, Close),
        ] {
            assert_eq!(collected(lines).persistence(Version::Http11), http11, "{lines:?}");
            assert_eq!(collected(lines).persistence(Version::Http10), http10, "{lines:?}");
        }
    }

    #[test]
    fn http_1_1_demands_one_valid_host_and_http_1_0_none() {
        for (lines, http11, http10) in [
            ("Host: cdn.example", true, true),
            ("Host:", true, true),
            ("A: b", false, true),
            ("Host: a\nHost: a", false, false),
            ("Host: a b", false, false),
            ("Host: user@a", false, false),
        ] {
            assert_eq!(collected(lines).take_host(Version::Http11).is_ok(), http11, "{lines:?}");
            assert_eq!(collected(lines).take_host(Version::Http10).is_ok(), http10, "{lines:?}");
        }
    }

    #[test]
    fn a_section_that_breaks_the_grammar_is_malformed() {
        for section in [
            "A\r\n\r\n",
            ": b\r\n\r\n",
            "A : b\r\n\r\n",
            " A: b\r\n\r\n",
            "A: b\r\n c\r\n\r\n",
            "A: b\r\n\tc\r\n\r\n",
            "(: b\r\n\r\n",
            "é: b\r\n\r\n",
        ] {
            assert!(matches!(collect(section.as_bytes()), Err(Cause::Malformed)), "{section:?}");
        }
    }

    #[test]
    fn as_many_field_lines_as_the_limit_are_read_and_no_more() {
        let lines = |count| format!("{}\r\n", "A: b\r\n".repeat(count));
        assert!(collect(lines(limits::FIELD_LINES).as_bytes()).is_ok());
        assert!(matches!(collect(lines(limits::FIELD_LINES + 1).as_bytes()), Err(Cause::FieldsTooLarge)));
    }

    #[test]
    fn fields_are_known_by_name_in_any_case_and_repeated_ones_are_told_apart() {
        let collected = collected(
            "RANGE: bytes=0-1\nIf-None-Match: \"a\"\nif-none-match: \"b\"\nIf-Range: x\nIf-Range: x",
        );
        assert_eq!(collected.fields.range, Single::One(b"bytes=0-1"));
        assert_eq!(collected.fields.if_none_match.as_slice(), [b"\"a\"", b"\"b\""]);
        assert_eq!(collected.fields.if_range, Single::Several);
        assert_eq!(collected.fields.if_modified_since, Single::Absent);
    }

    #[test]
    fn a_digest_is_wanted_by_a_weight_and_unwanted_by_zero() {
        for (value, expected) in [
            ("sha-256=10", Want::Wanted),
            ("sha-512=3, sha-256=1", Want::Wanted),
            ("sha-256=1, sha-256=0", Want::Unwanted),
            ("sha-256=0", Want::Unwanted),
            ("sha-512=10", Want::Unsaid),
            ("sha-256", Want::Unsaid),
            ("sha-256=11", Want::Unsaid),
            ("sha-256=\"1\"", Want::Unsaid),
            ("", Want::Unsaid),
        ] {
            let collected = collected(&format!("want-repr-digest: {value}\nWANT-CONTENT-DIGEST: {value}"));
            let fields = &collected.fields;
            assert_eq!(
                (fields.want_repr_digest, fields.want_content_digest),
                (expected, expected),
                "{value:?}"
            );
        }
    }

    #[test]
    fn the_four_fields_of_cmcd_are_kept_and_no_more_lines_than_four() {
        let collected =
            collected("CMCD-Object: a\ncmcd-request: b\nCMCD-SESSION: c\nCmcd-Status: d\nCMCD-Status: e");
        assert_eq!(collected.fields.cmcd.as_slice(), [b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn a_fill_agent_is_known_by_the_beginning_of_its_user_agent() {
        assert!(collected("USER-AGENT: oca-fill-agent/1.2.3").fields.is_fill);
        for user_agent in ["Mozilla/5.0 oca-fill-agent/1.2.3", "oca-fill-agent", "OCA-Fill-Agent/1", ""] {
            assert!(!collected(&format!("User-Agent: {user_agent}")).fields.is_fill, "{user_agent}");
        }
    }

    #[test]
    fn expectations_other_than_100_continue_are_noticed() {
        for (value, expects_continue, expects_other) in [
            ("100-continue", true, false),
            ("100-Continue", true, false),
            ("100-continue, x", true, true),
            ("x", false, true),
            ("", false, false),
        ] {
            let collected = collected(&format!("Expect: {value}"));
            assert_eq!(
                (collected.expects_continue, collected.fields.expects_other),
                (expects_continue, expects_other),
                "{value:?}"
            );
        }
    }
}
