//! Requests as they come over a connection: where each ends, what it asks for, and how it is answered.

use std::sync::LazyLock;
use std::time::Duration;

use control_client::config::{OnMiss, PullConfig, PullRule, UnsafeMethods};
use control_client::content::{BundlePath, ObjectName};
use control_client::units::ByteRange;
use oca_daemon::limits;
use oca_daemon::outcome::Outcome;
use oca_daemon::request::{
    Cause, ContentSkipper, Framing, Location, Method, NormalTarget, Parsed, Progress, Refusal, Request,
    Scheme, parse,
};
use oca_daemon::serve::{self, Miss, MissRules, ObjectFacts, Policy, Route};

use super::{answer, reference};

/// Requests of one connection that are looked at.
const PIPELINED: usize = 8;

const NOW: u64 = 1_800_000_000;

/// Lengths of the objects that are found: none, a few bytes, more than 32 bits can count.
const LENGTHS: [u64; 3] = [0, 1000, 1 << 38];

static POLICIES: LazyLock<[Policy; 2]> = LazyLock::new(|| {
    let rules = vec![
        PullRule::new("/", OnMiss::Pull, ""),
        PullRule::new("/a", OnMiss::Redirect, "http://b"),
        PullRule::new("/b", OnMiss::Reject, ""),
    ];
    let elsewhere = PullConfig { rules, unsafe_methods: UnsafeMethods::Pass, ..PullConfig::default() };
    [("*", PullConfig::default()), ("", elsewhere)].map(|(origin, pull)| {
        let seconds = Duration::from_secs;
        let policy = Policy::new("oca", origin, seconds(31_536_000), seconds(60), seconds(5));
        policy.expect("the policy is sound").with_misses(MissRules::new(&pull))
    })
});

/// Reads `data` as a connection's worker does: request after request, as far as each says that the connection goes on.
pub(crate) fn check(data: &[u8]) {
    let mut rest = data;
    for _ in 0..PIPELINED {
        match check_request(rest) {
            Some(next) => rest = next,
            None => break,
        }
    }
}

/// What follows the request at the start of `bytes`, where it is complete and another may follow it.
fn check_request(bytes: &[u8]) -> Option<&[u8]> {
    check_prefixes(bytes);
    let request = match parse(bytes) {
        Parsed::Partial => {
            let empty_lines_bytes = limits::EMPTY_LINES_BEFORE_REQUEST * 2;
            assert!(bytes.len() < limits::HEAD_BYTES + empty_lines_bytes, "a head without end is waited for");
            return None;
        }
        Parsed::Refused(refusal) => {
            check_refusal(refusal);
            return None;
        }
        Parsed::Complete(request) => request,
    };
    assert!(request.head_bytes <= bytes.len());
    let (head, content) = bytes.split_at(request.head_bytes);
    assert!(
        matches!(parse(&head[..head.len() - 1]), Parsed::Partial),
        "the head is complete before its last byte"
    );
    check_against_httparse(&request, head);
    check_answers(&request);
    // A client that waits for leave to send its content gets an answer and an end instead.
    assert!(
        !request.expect_continue || request.persistence.is_close() && request.content_skipper().is_none()
    );
    let next = match request.content_skipper() {
        Some(skipper) => skip_content(&skipper, request.framing, content)?,
        None => content,
    };
    (!request.persistence.is_close()).then_some(next)
}

/// A prefix is never understood in another way than the whole.
fn check_prefixes(bytes: &[u8]) {
    let whole = parse(bytes);
    let step = bytes.len().div_ceil(24).max(1);
    for length in (0..bytes.len()).step_by(step) {
        match (parse(&bytes[..length]), &whole) {
            (Parsed::Partial, _) => {}
            (Parsed::Refused(early), Parsed::Refused(late)) => assert_eq!(early, *late),
            (Parsed::Complete(early), Parsed::Complete(late)) => {
                assert_eq!((early.head_bytes, early.framing), (late.head_bytes, late.framing));
                assert_eq!(
                    (early.method, early.target, early.persistence),
                    (late.method, late.target, late.persistence)
                );
            }
            (early, late) => panic!("{length} bytes are {early:?}, all are {late:?}"),
        }
    }
}

/// What is taken here is taken by another parser too, with the same end, the same target, and no other framing.
fn check_against_httparse(request: &Request<'_>, head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; limits::FIELD_LINES];
    let mut theirs = httparse::Request::new(&mut fields);
    match theirs.parse(head) {
        Ok(status) => assert_eq!(status, httparse::Status::Complete(head.len())),
        // HTTP/1.2 to 1.9, which httparse does not know.
        Err(error) => return assert_eq!(error, httparse::Error::Version),
    }
    assert_eq!(theirs.path, Some(request.target));
    let values = |name: &str| {
        let named = theirs.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect::<Vec<_>>()
    };
    let (lengths, codings, hosts) = (values("content-length"), values("transfer-encoding"), values("host"));
    match request.framing {
        Framing::Chunked => assert!(lengths.is_empty() && codings.len() == 1 && is_only_chunked(codings[0])),
        framing => {
            assert!(codings.is_empty() && lengths.len() <= 1);
            let length = lengths.first().map(|length| str::from_utf8(length).expect("a length is ASCII"));
            let length = length.map_or(0, |length| length.parse::<u64>().expect("a length is a number"));
            assert!(length <= limits::CONTENT_BYTES);
            assert_eq!(framing, if length == 0 { Framing::None } else { Framing::Length(length) });
        }
    }
    assert!(hosts.len() == 1 || hosts.is_empty() && theirs.version == Some(0));
    assert_eq!(hosts.first().copied().unwrap_or_default(), request.fields.host);
}

/// `chunked`, with empty members of the list around it.
fn is_only_chunked(value: &[u8]) -> bool {
    value
        .to_ascii_lowercase()
        .split(|&byte| byte == b',')
        .all(|member| matches!(member.trim_ascii(), b"" | b"chunked"))
}

fn check_refusal(refusal: Refusal) {
    for policy in POLICIES.iter() {
        let response = serve::refuse(refusal, policy);
        assert!(response.persistence.is_close(), "where the next request would start is not known");
        answer::check(&response, refusal.is_head.then_some(Method::Head), None);
    }
}

fn check_answers(request: &Request<'_>) {
    for (scheme, policy) in [Scheme::Http, Scheme::Https].into_iter().zip(POLICIES.iter()) {
        match serve::route(request, scheme, policy) {
            Route::Answer(response) => answer::check(&response, Some(request.method), None),
            Route::Nowhere(cause) => {
                check_missed(request, scheme, cause, policy);
                let is_about_an_object = matches!(request.method, Method::Get | Method::Head)
                    && !request.fields.expects_other
                    && has_plain_path(request.target);
                assert!(
                    !is_about_an_object || reference::location(request.target).is_none(),
                    "{}",
                    request.target
                );
            }
            Route::Find(location) => {
                check_location(&location);
                let expected = (location.directory.into_owned(), location.object.into_owned());
                assert_eq!(reference::location(request.target), Some(expected));
                check_found(request, policy);
                check_missed(request, scheme, Cause::Absent, policy);
            }
        }
    }
}

/// What no bundle holds is absent, or is pulled under a target that is its own normal form, leads nowhere above the root, and asks for
/// what was asked for.
fn check_missed(request: &Request<'_>, scheme: Scheme, cause: Cause, policy: &Policy) {
    match serve::miss(request, scheme, cause, policy) {
        Miss::Answer(response) => answer::check(&response, Some(request.method), None),
        Miss::Pull(target) => {
            assert!(
                target.path().starts_with('/') && target.text.bytes().all(|byte| byte.is_ascii_graphic())
            );
            assert!(target.path().split('/').all(|component| !matches!(component, "." | "..")), "{target:?}");
            let again = NormalTarget::of(&target.text).expect("a normal form is a target");
            assert_eq!((&again.text, again.path_bytes), (&target.text, target.path_bytes));
            let (before, after) = (request.target.split_once('?'), target.text.split_once('?'));
            assert_eq!(before.map(|(_, query)| query), after.map(|(_, query)| query));
        }
    }
}

/// Whether the target is in origin-form, and of characters that no rule is against.
fn has_plain_path(target: &str) -> bool {
    target.starts_with('/')
        && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/%._-~?".contains(&byte))
}

/// A location names what a bundle and an object could be called, and nothing that leads elsewhere.
fn check_location(location: &Location<'_>) {
    let (directory, object) = (&*location.directory, &*location.object);
    assert!(directory.starts_with('/') && !object.is_empty() && !object.contains('/'));
    let components = directory[1..].split('/').filter(|_| directory != "/").chain([object]);
    for component in components {
        assert!(!matches!(component, "" | "." | ".."), "{location:?}");
        assert!(component.bytes().all(|byte| byte >= 0x20 && byte != 0x7f), "{location:?}");
    }
    assert!(directory.len() > BundlePath::BYTES_MAX || BundlePath::parse(directory).is_ok(), "{location:?}");
    assert!(object.len() > ObjectName::BYTES_MAX || ObjectName::parse(object).is_ok(), "{location:?}");
}

fn check_found(request: &Request<'_>, policy: &Policy) {
    assert!(matches!(request.method, Method::Get | Method::Head));
    for length in LENGTHS {
        let range_in_file = ByteRange::new(4096, 4096 + length);
        let sha256: [u8; 32] = std::array::from_fn(|place| place as u8);
        let object = ObjectFacts {
            range_in_file,
            sha256: &sha256,
            last_modified: 784_111_777,
            media_type: "video/mp4",
        };
        let response = serve::answer(request, &object, policy, NOW);
        assert_eq!(response.persistence, request.persistence);
        answer::check(&response, Some(request.method), Some(range_in_file));
    }
    let busy = serve::unavailable(Some(request), Outcome::RefusedVolumeBusy, policy);
    answer::check(&busy, Some(request.method), None);
}

/// Reads past the content, which ends at the same byte in whatever slices it comes; what follows it.
fn skip_content<'a>(skipper: &ContentSkipper, framing: Framing, content: &'a [u8]) -> Option<&'a [u8]> {
    let whole = skipper.clone().skip(content);
    if framing == Framing::Chunked {
        match (whole, reference::chunked_end(content)) {
            (Progress::Done { consumed }, end) => assert_eq!(Some(consumed), end),
            (Progress::Refused(Cause::ContentTooLarge), _) | (_, None) => {}
            (other, end) => panic!("{other:?}, but the content ends at {end:?}"),
        }
    }
    let cut = content.len() / 3;
    for slice_bytes in [1, 2, 7, cut.max(1)] {
        assert_eq!(
            skip_in_slices(skipper.clone(), content, slice_bytes),
            whole,
            "in slices of {slice_bytes}"
        );
    }
    match whole {
        Progress::More => {
            let bound = limits::CONTENT_BYTES + limits::CONTENT_FRAMING_BYTES;
            assert!(content.len() as u64 <= bound, "content without end is read");
            None
        }
        Progress::Refused(cause) => {
            check_refusal(Refusal::new(cause));
            None
        }
        Progress::Done { consumed } => {
            assert!(consumed <= content.len());
            if let Framing::Length(length) = framing {
                assert_eq!(consumed as u64, length);
            }
            Some(&content[consumed..])
        }
    }
}

fn skip_in_slices(mut skipper: ContentSkipper, content: &[u8], slice_bytes: usize) -> Progress {
    let mut total = 0;
    for slice in content.chunks(slice_bytes) {
        match skipper.skip(slice) {
            Progress::More => total += slice.len(),
            Progress::Done { consumed } => return Progress::Done { consumed: total + consumed },
            refused => return refused,
        }
    }
    Progress::More
}
