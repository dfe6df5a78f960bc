//! What becomes of a request for what no bundle holds: it is answered with 404, sent elsewhere, or pulled through, as the rule with
//! the longest prefix says. Nothing here is looked at for what a bundle holds.

use control_client::config::{OnMiss, PullConfig, UnsafeMethods};

use super::{ALLOW, Policy, client_error};
use crate::outcome::Outcome;
use crate::pull::{plain_path, resolved, unescaped};
use crate::request::{Cause, Method, NormalTarget, Request, Scheme};
use crate::response::{Body, Response, Status};

/// The rules, those with the longest prefixes first.
#[derive(Clone, Debug, Default)]
pub struct MissRules {
    rules: Box<[Rule]>,
    passes_unsafe: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    prefix: Box<str>,
    then: Then,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Then {
    Pull,
    /// To this base URL, which has no slash at its end.
    Redirect(Box<str>),
    Reject,
}

/// What becomes of it.
#[derive(Debug)]
pub enum Miss {
    /// This is the answer.
    Answer(Response),
    /// Pull it through, and ask for this target.
    Pull(NormalTarget),
}

impl MissRules {
    /// As configured.
    pub fn new(config: &PullConfig) -> Self {
        let mut rules: Vec<Rule> = config
            .rules
            .iter()
            .map(|rule| {
                let then = match rule.on_miss {
                    OnMiss::Pull => Then::Pull,
                    OnMiss::Redirect => Then::Redirect(rule.redirect_to.trim_end_matches('/').into()),
                    OnMiss::Reject => Then::Reject,
                };
                Rule { prefix: rule.prefix.as_str().into(), then }
            })
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
        Self { rules: rules.into(), passes_unsafe: config.unsafe_methods == UnsafeMethods::Pass }
    }

    /// The methods that are answered or, where a rule says so, passed upstream, as far as they have names.
    pub(super) fn methods(&self) -> &'static str {
        let passes = self.passes_unsafe && self.rules.iter().any(|rule| rule.then == Then::Pull);
        if passes { ALLOW_PASSED } else { ALLOW }
    }

    /// What the rule of a path says, however an origin reads it; [`Cause::Target`] where rules would differ by that. Its plain path is
    /// what counts, as for a purge. Origins that go by the letter do not undo an escaped slash or leave out an empty component; some take
    /// what follows a `;` for a parameter, before or after they undo escapes, and look for the rest; and behind a proxy escapes are undone
    /// twice.
    fn for_path(&self, path: &str) -> Result<Option<&Then>, Cause> {
        let then = self.longest(&plain_path(path));
        let is_certain = !can_be_read_otherwise(path)
            || self.longest(path.as_bytes()) == then
                && self.is_under(then, path.as_bytes(), UNESCAPED_MAX)
                && self.is_under(then, path.replace("%3B", ";").as_bytes(), UNESCAPED_MAX);
        if is_certain { Ok(then) } else { Err(Cause::Target) }
    }

    /// Whether a path is under this rule with its parameters and without them, and with its escapes undone up to so many times.
    fn is_under(&self, then: Option<&Then>, path: &[u8], unescaped_max: usize) -> bool {
        let is_under = |path: &[u8]| {
            self.longest(&resolved(path)) == then
                && (unescaped_max == 0
                    || !path.contains(&b'%')
                    || self.is_under(then, &unescaped(path), unescaped_max - 1))
        };
        is_under(path) && (!path.contains(&b';') || is_under(&without_parameters(path)))
    }

    fn longest(&self, path: &[u8]) -> Option<&Then> {
        self.rules.iter().find(|rule| path.starts_with(rule.prefix.as_bytes())).map(|rule| &rule.then)
    }
}

/// What is allowed where changes are passed upstream.
const ALLOW_PASSED: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE";

/// How often escapes are undone, by proxies and origins together.
const UNESCAPED_MAX: usize = 2;

/// Whether there are origins that take a path in its normal form for another one.
fn can_be_read_otherwise(path: &str) -> bool {
    ["//", "%2F", "%5C", ";", "%3B", "%25"].iter().any(|part| path.contains(part))
}

/// The path without what follows the first `;` of each component (RFC 3986 §3.3).
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut is_parameter = false;
    let is_of_name = |byte: &u8| {
        is_parameter = !b"/\\".contains(byte) && (is_parameter || *byte == b';');
        !is_parameter
    };
    path.iter().copied().filter(is_of_name).collect()
}

/// Decides about a request that no bundle answers; `cause` is why, and what is answered where no rule says otherwise. `scheme` is what
/// the connection speaks.
pub fn miss(request: &Request<'_>, scheme: Scheme, cause: Cause, policy: &Policy) -> Miss {
    let answer = || Miss::Answer(client_error(cause, request, policy));
    if !may_be_elsewhere(request, cause, policy) {
        return answer();
    }
    let Ok(target) = NormalTarget::of(request.target) else { return answer() };
    let then = match policy.misses().for_path(target.path()) {
        Ok(then) => then,
        Err(cause) => return Miss::Answer(client_error(cause, request, policy)),
    };
    match then {
        None | Some(Then::Reject) => answer(),
        Some(_) if asks_https_in_cleartext(request, scheme) => {
            Miss::Answer(client_error(Cause::Misdirected, request, policy))
        }
        Some(Then::Redirect(_)) if !is_read(request.method) => answer(),
        Some(Then::Redirect(base)) => Miss::Answer(redirect(request, base, &target, policy)),
        // Its content has not been read, and would not be complete.
        Some(Then::Pull) if request.expect_continue => {
            Miss::Answer(client_error(Cause::Expectation, request, policy))
        }
        Some(Then::Pull) => Miss::Pull(target),
    }
}

/// Whether the content of a request is kept because it may be passed upstream.
pub fn takes_content(request: &Request<'_>, policy: &Policy) -> bool {
    is_passed(request.method, policy) && !request.fields.is_fill
}

/// Whether others may have what is asked for. A peer that fills from here is told that it is absent: it has sources of its own, and waits
/// for one of its site to hold it.
fn may_be_elsewhere(request: &Request<'_>, cause: Cause, policy: &Policy) -> bool {
    if policy.misses().rules.is_empty() || request.fields.is_fill || request.fields.expects_other {
        return false;
    }
    match cause {
        Cause::Absent | Cause::Target => is_read(request.method),
        Cause::Method | Cause::UnknownMethod => is_passed(request.method, policy),
        _ => false,
    }
}

fn is_read(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head)
}

/// Whether requests with that method are passed upstream. A tunnel is not ours to open, and TRACE would show what proxies add.
fn is_passed(method: Method, policy: &Policy) -> bool {
    policy.misses().passes_unsafe
        && matches!(method, Method::Post | Method::Put | Method::Delete | Method::Patch | Method::Unknown)
}

fn asks_https_in_cleartext(request: &Request<'_>, scheme: Scheme) -> bool {
    let says_https = request.target.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    scheme == Scheme::Http && says_https
}

/// 307 (RFC 9110 §15.4.8): a fill may bring it here, so that nobody should remember the way.
fn redirect(request: &Request<'_>, base: &str, target: &NormalTarget, policy: &Policy) -> Response {
    let mut response = Response::new(Status::TEMPORARY_REDIRECT, Outcome::Redirected, request.persistence);
    response.add_formatted("Location", format_args!("{base}{}", target.text));
    response.add_rendered(b"Cache-Control: no-store\r\n");
    response.add_rendered(policy.cors_lines());
    response.set_body(Body::Empty, request.method == Method::Head);
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use control_client::config::PullRule;

    use super::*;
    use crate::request::{Parsed, parse};

    fn policy(unsafe_methods: UnsafeMethods) -> Policy {
        let rule = |prefix: &str, on_miss, redirect_to: &str| PullRule {
            prefix: prefix.to_owned(),
            on_miss,
            redirect_to: redirect_to.to_owned(),
        };
        let rules = vec![
            rule("/", OnMiss::Pull, ""),
            rule("/live/", OnMiss::Redirect, "https://live.example/"),
            rule("/live/none/", OnMiss::Reject, ""),
        ];
        let config = PullConfig { rules, unsafe_methods, ..PullConfig::default() };
        let day = Duration::from_secs(86_400);
        Policy::new("oca", "*", day, day, day).unwrap().with_misses(MissRules::new(&config))
    }

    /// What becomes of it, in a word: the target that is pulled, or the status and Location.
    fn becomes(text: &str, cause: Cause, policy: &Policy) -> String {
        let bytes = format!("{text}\r\nHost: a\r\n\r\n").into_bytes();
        let Parsed::Complete(request) = parse(&bytes) else { panic!("{text}") };
        match miss(&request, Scheme::Http, cause, policy) {
            Miss::Pull(target) => target.text,
            Miss::Answer(response) => {
                let mut head = Vec::new();
                response.write_head(&mut head, &crate::response::http_date(0));
                let head = String::from_utf8(head).unwrap();
                let place = head.lines().find_map(|line| line.strip_prefix("Location: "));
                format!("{} {}", response.status.code(), place.unwrap_or_default())
            }
        }
    }

    #[test]
    fn who_asks_first_is_told_of_the_methods_that_are_passed_on() {
        let said = |unsafe_methods| {
            let policy = policy(unsafe_methods);
            let lines = String::from_utf8(policy.preflight_lines().to_vec()).unwrap();
            lines.lines().find(|line| line.starts_with("Access-Control-Allow-Methods: ")).unwrap().to_owned()
        };
        let read = "Access-Control-Allow-Methods: GET, HEAD, OPTIONS";
        assert_eq!(said(UnsafeMethods::Refuse), read);
        assert_eq!(said(UnsafeMethods::Pass), format!("{read}, POST, PUT, PATCH, DELETE"));
    }

    #[test]
    fn the_longest_prefix_decides() {
        let policy = policy(UnsafeMethods::Refuse);
        for (target, expected) in [
            ("/a?b", "/a?b"),
            ("/live", "/live"),
            ("/live/a?b", "307 https://live.example/live/a?b"),
            ("/live/none/a", "404 "),
            ("/a/../live/./none/a", "404 "),
            ("/live/none/../a", "307 https://live.example/live/a"),
            ("/li%76e/a", "307 https://live.example/live/a"),
        ] {
            assert_eq!(
                becomes(&format!("GET {target} HTTP/1.1"), Cause::Absent, &policy),
                expected,
                "{target}"
            );
            assert_eq!(
                becomes(&format!("HEAD {target} HTTP/1.1"), Cause::Absent, &policy),
                expected,
                "{target}"
            );
        }
    }

    #[test]
    fn no_way_to_write_a_path_leads_around_a_rule() {
        let policy = policy(UnsafeMethods::Refuse);
        for target in [
            "//live/none/a",
            "/live//none/a",
            "/live/none//a/../../../none/a",
            "/live%2Fnone/a",
            "/live%2fnone%2fa",
            "/live/%6eone%2Fa",
            "/live%5Cnone%5Ca",
            "/x/..%2Flive/none/a",
            "/x/..%5clive/none/a",
            "/live/none/..%2F..%2Fa",
            "/x/..;/live/none/a",
            "/x/..%3B/live/none/a",
            "/live;x=1/none;y/a",
            "/live/;/none/a",
            "//live/none/a;%2F..%2F..%2F..%2F",
            "/x%2F..;%2Flive/none/a",
            "/;%2Flive/none/a",
            "/;%5Clive%5Cnone%5Ca",
            "/x%2F..%3B%2Flive/none/a",
            "/live/x;%3B%2F..%2Fnone/a",
            "/live%252Fnone%252Fa",
            "/x/%252E%252E/live/none/a",
            "/x%252F..%253B%252Flive/none/a",
            "/x/..;%252Flive/none/a",
        ] {
            let found = becomes(&format!("GET {target} HTTP/1.1"), Cause::Absent, &policy);
            assert!(matches!(found.as_str(), "400 " | "404 "), "{target}: {found}");
        }
        // Where all readings are under one rule, upstream gets what the client wrote.
        for target in ["//a//b", "/a%2Fb", "/a;x=1/b", "/a/%28b%29+%2B", "/100%25/a%252Fb;c=%2F%3Bd"] {
            assert_eq!(becomes(&format!("GET {target} HTTP/1.1"), Cause::Absent, &policy), target);
        }
        let passes = self::policy(UnsafeMethods::Pass);
        assert_eq!(becomes("DELETE /live%2Fnone/a HTTP/1.1", Cause::Method, &passes), "400 ");
    }

    #[test]
    fn paths_that_no_bundle_can_have_are_pulled_and_broken_ones_are_not() {
        let policy = policy(UnsafeMethods::Refuse);
        assert_eq!(becomes("GET /a/ HTTP/1.1", Cause::Absent, &policy), "/a/");
        assert_eq!(becomes("GET /a%2fb HTTP/1.1", Cause::Target, &policy), "/a%2Fb");
        assert_eq!(becomes("GET /a%zz HTTP/1.1", Cause::Target, &policy), "400 ");
        assert_eq!(becomes("GET /../a HTTP/1.1", Cause::Target, &policy), "400 ");
        assert_eq!(becomes("GET https://a/b%2f HTTP/1.1", Cause::Target, &policy), "421 ");
    }

    #[test]
    fn unsafe_methods_are_passed_where_the_operator_says_so() {
        let (refuse, pass) = (policy(UnsafeMethods::Refuse), policy(UnsafeMethods::Pass));
        for (method, cause, refused) in [
            ("POST", Cause::Method, "405 "),
            ("DELETE", Cause::Method, "405 "),
            ("M-SEARCH", Cause::UnknownMethod, "501 "),
        ] {
            assert_eq!(becomes(&format!("{method} /a HTTP/1.1"), cause, &refuse), refused);
            assert_eq!(becomes(&format!("{method} /a HTTP/1.1"), cause, &pass), "/a");
        }
        assert_eq!(becomes("TRACE /a HTTP/1.1", Cause::Method, &pass), "405 ");
        assert_eq!(becomes("CONNECT a:80 HTTP/1.1", Cause::UnknownMethod, &pass), "501 ");
        assert_eq!(becomes("POST /live/a HTTP/1.1", Cause::Method, &pass), "405 ");
        let waits = "POST /a HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue";
        assert_eq!(becomes(waits, Cause::Method, &pass), "417 ");
    }

    #[test]
    fn a_peer_that_fills_is_not_pulled_for() {
        let policy = policy(UnsafeMethods::Pass);
        let agent = control_client::demand::FILL_AGENT_PREFIX;
        assert_eq!(
            becomes(&format!("GET /a HTTP/1.1\r\nUser-Agent: {agent}1"), Cause::Absent, &policy),
            "404 "
        );
    }
}
