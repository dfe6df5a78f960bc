//! A record as a line of JSON.
//!
//! Written by hand: a worker makes tens of thousands of lines a second beside its requests, so
//! each must cost a fraction of what the request did. A line is pure ASCII, whatever the client sent: `"` and
//! `\` are escaped, and every byte that is not printable ASCII is written as `\u00XX`. So the log cannot be
//! forged by a newline, and a terminal that shows it cannot be driven by it. A reader gets one character
//! (U+0000 to U+00FF) for each byte.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Record;
use super::player::append_cmcd;

/// More than any line: a target whose every byte is escaped to six, what a player says, and the fields beside them.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// Makes lines, and remembers the text of the current second.
pub(super) struct LineFormat {
    second: u64,
    second_text: [u8; 19],
}

impl LineFormat {
    pub(super) fn new() -> Self {
        LineFormat { second: 0, second_text: *b"1970-01-01T00:00:00" }
    }

    /// Appends `record` to `out`, with its newline.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, record: &Record) {
        out.extend_from_slice(b"{\"time\":\"");
        self.append_time(out, record.began_unix_nanos);
        out.extend_from_slice(b"\",\"client\":\"");
        append_address(out, record.client);
        out.extend_from_slice(b"\",\"port\":");
        append_decimal(out, record.client.port().into());
        out.extend_from_slice(b",\"worker\":");
        append_decimal(out, record.worker.into());
        out.extend_from_slice(b",\"tls\":");
        append_text_or_null(out, record.tls.map_or("", |version| version.as_str()));
        out.extend_from_slice(b",\"method\":");
        append_text_or_null(out, record.method);
        out.extend_from_slice(b",\"target\":\"");
        append_escaped(out, record.target.as_bytes());
        out.extend_from_slice(if record.target.is_cut() { b"\",\"target_cut\":true" } else { b"\"" });
        out.extend_from_slice(b",\"version\":");
        append_text_or_null(out, record.version);
        if let Some(range) = record.range {
            out.extend_from_slice(b",\"range_start\":");
            append_decimal(out, range.start);
            out.extend_from_slice(b",\"range_bytes\":");
            append_decimal(out, range.end.saturating_sub(range.start));
        }
        out.extend_from_slice(b",\"status\":");
        append_decimal(out, record.status.into());
        out.extend_from_slice(b",\"outcome\":\"");
        out.extend_from_slice(record.outcome.as_str().as_bytes());
        out.extend_from_slice(b"\",\"body_bytes\":");
        append_decimal(out, record.body_bytes);
        out.extend_from_slice(b",\"first_byte_micros\":");
        match record.first_byte {
            Some(first_byte) => append_decimal(out, micros(first_byte)),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"duration_micros\":");
        append_decimal(out, micros(record.duration));
        if let Some(cmcd) = &record.cmcd {
            append_cmcd(out, cmcd);
        }
        out.extend_from_slice(b"}\n");
    }

    /// RFC 3339 in UTC, to the microsecond.
    fn append_time(&mut self, out: &mut Vec<u8>, unix_nanos: u64) {
        let second = unix_nanos / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.second_text = second_text(second);
        }
        out.extend_from_slice(&self.second_text);
        let micros = (unix_nanos % 1_000_000_000) / 1000;
        let digit = |place: u64| digit_of(micros / place);
        let fraction = [digit(100_000), digit(10_000), digit(1000), digit(100), digit(10), digit(1)];
        out.push(b'.');
        out.extend_from_slice(&fraction);
        out.push(b'Z');
    }
}

fn append_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip().to_canonical() {
        IpAddr::V4(address) => append_ipv4(out, address),
        IpAddr::V6(address) => write!(out, "{address}").expect("writing to memory cannot fail"),
    }
}

fn append_ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        append_decimal(out, octet.into());
    }
}

/// `text` is one of ours, with nothing in it to escape.
fn append_text_or_null(out: &mut Vec<u8>, text: &'static str) {
    if text.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends the content of a JSON string.
pub(super) fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    // As nearly every text is; without a way out in the middle the compiler looks at many bytes at once.
    if text.iter().fold(true, |all, &byte| all & is_plain(byte)) {
        return out.extend_from_slice(text);
    }
    while let Some(plain) = rest.iter().position(|&byte| !is_plain(byte)) {
        out.extend_from_slice(&rest[..plain]);
        let byte = rest[plain];
        if matches!(byte, b'"' | b'\\') {
            out.extend_from_slice(&[b'\\', byte]);
        } else {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

/// Nearly all numbers of a line have few digits: of a length that is known to the compiler they are written without a call.
pub(super) fn append_decimal(out: &mut Vec<u8>, value: u64) {
    let digit = |place: u64| digit_of(value / place);
    match value {
        0..10 => out.push(digit(1)),
        10..100 => out.extend_from_slice(&[digit(10), digit(1)]),
        100..1000 => out.extend_from_slice(&[digit(100), digit(10), digit(1)]),
        1000..10_000 => out.extend_from_slice(&[digit(1000), digit(100), digit(10), digit(1)]),
        10_000..100_000 => {
            out.extend_from_slice(&[digit(10_000), digit(1000), digit(100), digit(10), digit(1)]);
        }
        _ => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

const fn digit_of(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// "YYYY-MM-DDThh:mm:ss" of a second since the Unix epoch; the year wraps after 9999.
///
/// Days to civil date after Howard Hinnant, "chrono-compatible low-level date algorithms"
/// (`civil_from_days`).
fn second_text(unix_second: u64) -> [u8; 19] {
    let second_of_day = unix_second % 86_400;
    let days = unix_second / 86_400 + 719_468; // since 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, width: usize, value: u64| {
        let mut rest = value;
        for digit in text[at..at + width].iter_mut().rev() {
            *digit = digit_of(rest);
            rest /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second_of_day / 3600);
    put(14, 2, second_of_day / 60 % 60);
    put(17, 2, second_of_day % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Cmcd;
    use crate::outcome::Outcome;
    use crate::stats::TlsVersion;
    use control_client::units::ByteRange;
    use serde_json::{Value, json};

    fn record(target: &[u8]) -> Record {
        Record {
            began_unix_nanos: 1_795_219_200_123_456_789,
            client: "192.0.2.7:50000".parse().unwrap(),
            worker: 1,
            tls: Some(TlsVersion::Tls13),
            method: "GET",
            version: "HTTP/1.1",
            target: target.into(),
            range: Some(ByteRange { start: 100, end: 300 }),
            cmcd: None,
            status: 206,
            outcome: Outcome::HitDisk,
            body_bytes: 200,
            first_byte: Some(Duration::from_micros(321)),
            duration: Duration::from_millis(5),
        }
    }

    fn line(record: &Record) -> String {
        let mut out = Vec::new();
        LineFormat::new().append(&mut out, record);
        String::from_utf8(out).expect("a line is ASCII")
    }

    fn parsed(record: &Record) -> Value {
        serde_json::from_str(&line(record)).expect("a line is JSON")
    }

    #[test]
    fn a_line_says_what_happened_in_named_units() {
        assert_eq!(
            parsed(&record(b"/titles/abc/1080p/7.m4s")),
            json!({
                "time": "2026-11-21T00:00:00.123456Z", "client": "192.0.2.7", "port": 50000, "worker": 1, "tls": "1.3",
                "method": "GET", "target": "/titles/abc/1080p/7.m4s", "version": "HTTP/1.1",
                "range_start": 100, "range_bytes": 200, "status": 206, "outcome": "hit_disk", "body_bytes": 200,
                "first_byte_micros": 321, "duration_micros": 5000,
            })
        );
    }

    #[test]
    fn what_is_not_known_is_null_or_absent() {
        let mut unknown = record(b"");
        (unknown.tls, unknown.method, unknown.version) = (None, "", "");
        (unknown.range, unknown.first_byte, unknown.status) = (None, None, 0);
        let value = parsed(&unknown);
        for key in ["tls", "method", "version", "first_byte_micros"] {
            assert_eq!(value.get(key), Some(&Value::Null), "{key}");
        }
        assert!(value.get("range_start").is_none() && value.get("target_cut").is_none());
    }

    #[test]
    fn a_hostile_target_stays_one_line_of_ascii_and_reads_back_byte_for_byte() {
        let hostile: Vec<u8> = (0..=255).collect();
        for part in hostile.chunks(64) {
            let record = record(part);
            let line = line(&record);
            assert!(line.is_ascii());
            assert_eq!(line.bytes().filter(|byte| *byte < 0x20).count(), 1, "only the newline at the end");
            let target = parsed(&record)["target"].as_str().unwrap().to_owned();
            let bytes: Vec<u8> = target.chars().map(|character| u8::try_from(character).unwrap()).collect();
            assert_eq!(bytes, part);
        }
        let forged = record(b"/a\",\"status\":200}\n{\"x\":\"\\");
        assert_eq!(parsed(&forged)["status"], 206);
    }

    #[test]
    fn a_long_target_is_cut_and_says_so() {
        let value = parsed(&record(&[b'x'; 300]));
        assert_eq!(value["target"].as_str().unwrap().len(), 192);
        assert_eq!(value["target_cut"], true);
        assert!(parsed(&record(&[b'x'; 192])).get("target_cut").is_none());
    }

    #[test]
    fn no_line_is_longer_than_there_is_room_for() {
        let mut longest = record(&[0xff; 300]);
        let said = format!(
            "br=1234567890.5,bl=1234567890,d=1234567890,dl=1234567890,mtp=1234567890,rtp=1234567890,tb=1234567890,msd=1234567890,\
             pr=12345678.12,bs,su,ot=manifest,sf=other,st=v,v=2,sid=\"{}\",cid=\"{}\"",
            "\\\"".repeat(64),
            "\\\"".repeat(128)
        );
        longest.cmcd = Cmcd::read("/", &[said.as_bytes()]).map(Box::new);
        assert!(longest.cmcd.as_ref().is_some_and(|cmcd| cmcd.content.is_some() && cmcd.session.is_some()));
        longest.client = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535".parse().unwrap();
        longest.range = Some(ByteRange { start: u64::MAX - 1, end: u64::MAX });
        (longest.body_bytes, longest.duration) = (u64::MAX, Duration::MAX);
        longest.first_byte = Some(Duration::MAX);
        assert!(line(&longest).len() + 500 < LINE_BYTES_MAX, "{}", line(&longest).len());
    }

    #[test]
    fn addresses_of_both_families_are_written_canonically() {
        let mut record = record(b"/");
        for (address, text) in [
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("0.0.0.0:0", "0.0.0.0"),
            ("255.255.255.255:1", "255.255.255.255"),
        ] {
            record.client = address.parse().unwrap();
            assert_eq!(parsed(&record)["client"], text);
        }
    }

    #[test]
    fn seconds_become_civil_dates() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(std::str::from_utf8(&second_text(second)).unwrap(), text);
        }
    }

    #[test]
    fn decimals_are_whole() {
        for value in [0, 7, 10, 99, 100, 999, 1000, 9876, 10_000, 54_321, 99_999, 100_000, u64::MAX] {
            let mut out = Vec::new();
            append_decimal(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
