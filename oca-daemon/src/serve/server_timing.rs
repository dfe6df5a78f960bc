//! `Server-Timing` (W3C): where a response's first bytes came from, and how long it took until they were there.

use std::time::Duration;

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Blocks locked in memory.
    Ram,
    /// A disk.
    Disk,
    /// What was pulled before, in memory or on a disk.
    Pulled,
    /// An upstream, asked for this request or for one that it has joined.
    Upstream,
}

/// Longer than any timeout of a response; more is said as this.
const MICROS_MAX: u128 = 999_999_999;

/// Appends the field: the source as the metric's name, milliseconds as its duration.
pub fn append_line(out: &mut Vec<u8>, source: Source, delay: Duration) {
    let micros = delay.as_micros().min(MICROS_MAX) as u32;
    out.extend_from_slice(match source {
        Source::Ram => b"Server-Timing: ram;dur=",
        Source::Disk => b"Server-Timing: disk;dur=",
        Source::Pulled => b"Server-Timing: pulled;dur=",
        Source::Upstream => b"Server-Timing: upstream;dur=",
    });
    // By hand, as on every response: `write!` takes three times as long.
    let mut digits = *b"000000.000";
    let (mut whole, mut fraction) = (micros / 1000, micros % 1000);
    for digit in digits[7..].iter_mut().rev() {
        *digit = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
    let mut first = 5;
    for (place, digit) in digits[..6].iter_mut().enumerate().rev() {
        *digit = b'0' + (whole % 10) as u8;
        whole /= 10;
        if *digit != b'0' {
            first = place;
        }
    }
    out.extend_from_slice(&digits[first..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_and_milliseconds_to_the_microsecond_are_told() {
        for (source, micros, expected) in [
            (Source::Ram, 52, "Server-Timing: ram;dur=0.052\r\n"),
            (Source::Ram, 0, "Server-Timing: ram;dur=0.000\r\n"),
            (Source::Disk, 8_600, "Server-Timing: disk;dur=8.600\r\n"),
            (Source::Pulled, 1_000, "Server-Timing: pulled;dur=1.000\r\n"),
            (Source::Upstream, 20_010, "Server-Timing: upstream;dur=20.010\r\n"),
            (Source::Disk, 10_000, "Server-Timing: disk;dur=10.000\r\n"),
            (Source::Disk, 10_203_405, "Server-Timing: disk;dur=10203.405\r\n"),
            (Source::Disk, u64::MAX, "Server-Timing: disk;dur=999999.999\r\n"),
        ] {
            let mut out = Vec::new();
            append_line(&mut out, source, Duration::from_micros(micros));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
