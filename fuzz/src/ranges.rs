//! The Range field, against a second reading of RFC 9110 §14 that is written for clearness alone.

use control_client::units::ByteRange;
use oca_daemon::limits;
use oca_daemon::request::{Parsed, parse};
use oca_daemon::response::{Body, Part, Response};
use oca_daemon::serve::{self, ObjectFacts, Policy};

use super::answer;

const LENGTHS: [u64; 8] = [0, 1, 2, 10, 100, 65_536, 1 << 38, 1000];
const START: u64 = 1 << 20;

/// What a Range field is answered with.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Whole,
    Ranges(Vec<ByteRange>),
    Unsatisfiable,
}

/// The first byte of `data` chooses the object's length, the others are the field's value.
pub(crate) fn check(data: &[u8]) {
    let Some((&choice, value)) = data.split_first() else { return };
    let length = LENGTHS[usize::from(choice) % LENGTHS.len()];
    let head = [b"GET /a/b HTTP/1.1\r\nHost: a\r\nRange: ", value, b"\r\n\r\n"].concat();
    let Parsed::Complete(request) = parse(&head) else { return };
    if request.head_bytes != head.len() || request.fields.range.one() != Some(value.trim_ascii()) {
        return;
    }
    let range_in_file = ByteRange::new(START, START + length);
    let object = ObjectFacts {
        range_in_file,
        sha256: &[0xa5; 32],
        last_modified: 784_111_777,
        media_type: "video/mp4",
    };
    let policy = policy();
    let response = serve::answer(&request, &object, &policy, 1_800_000_000);
    answer::check(&response, Some(request.method), Some(range_in_file));
    assert_eq!(answered(&response), expected(value, length));
}

fn policy() -> Policy {
    let seconds = std::time::Duration::from_secs;
    Policy::new("oca", "*", seconds(31_536_000), seconds(60), seconds(5))
        .expect("the default policy is sound")
}

fn answered(response: &Response) -> Expected {
    let ranges = match &response.body {
        Body::Object(parts) => parts.iter().filter_map(|part| match part {
            Part::File(range) => Some(ByteRange::new(range.start - START, range.end - START)),
            Part::Text(_) | Part::Bytes(_) => None,
        }),
        _ if response.status.code() == 416 => return Expected::Unsatisfiable,
        _ => return Expected::Whole,
    };
    if response.status.code() == 200 { Expected::Whole } else { Expected::Ranges(ranges.collect()) }
}

fn expected(value: &[u8], length: u64) -> Expected {
    let Some(specs) = str::from_utf8(value).ok().and_then(specs) else { return Expected::Whole };
    // First and last byte, where there is such a byte.
    let satisfiable: Vec<(u64, u64)> = specs
        .into_iter()
        .filter_map(|spec| match spec {
            (Some(first), last) => {
                (first < length).then(|| (first, last.unwrap_or(u64::MAX).min(length - 1)))
            }
            (None, Some(0)) => None,
            (None, suffix) if length > 0 => Some((length.saturating_sub(suffix?), length - 1)),
            (None, _) => Some((1, 0)),
        })
        .collect();
    let is_empty = satisfiable.iter().any(|(first, last)| first > last);
    let overlaps = satisfiable
        .iter()
        .enumerate()
        .any(|(place, a)| satisfiable[..place].iter().any(|b| a.0.max(b.0) <= a.1.min(b.1)));
    match satisfiable.len() {
        0 => Expected::Unsatisfiable,
        count if count > limits::RANGES || is_empty || overlaps => Expected::Whole,
        _ => Expected::Ranges(
            satisfiable.iter().map(|&(first, last)| ByteRange::new(first, last + 1)).collect(),
        ),
    }
}

/// The ranges of a valid field, each as its two numbers; numbers beyond 64 bits are the largest of them.
fn specs(value: &str) -> Option<Vec<(Option<u64>, Option<u64>)>> {
    let (unit, set) = value.trim_ascii().split_once('=')?;
    let number = |text: &str| match text {
        "" => Some(None),
        text if !text.bytes().all(|byte| byte.is_ascii_digit()) => None,
        text => {
            Some(Some(text.trim_start_matches('0').parse().unwrap_or(match text.trim_start_matches('0') {
                "" => 0,
                _ => u64::MAX,
            })))
        }
    };
    let mut specs = Vec::new();
    for spec in set.split(',').map(str::trim_ascii).filter(|spec| !spec.is_empty()) {
        let (first, last) = spec.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        if first.is_none() && last.is_none() || first > last && last.is_some() {
            return None;
        }
        specs.push((first, last));
    }
    (unit.eq_ignore_ascii_case("bytes") && !specs.is_empty()).then_some(specs)
}
