//! What is asked: from method, path and query to a [`Route`]. Pure.

use std::time::Duration;

use control_client::content::BundlePath;
use hyper::Method;

use super::changes::Change;
use super::limits;

/// One thing that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Metrics,
    Inventory(Page),
    Status,
    Load,
    Demand,
    Change(Change),
}

/// Which part of the inventory is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Only bundles whose paths come after this one.
    pub(super) after: Option<BundlePath>,
    /// At most this many, and then the rest of the last one's path.
    pub(super) limit: Option<usize>,
}

/// Which door a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// TCP.
    ReadOnly,
    /// The Unix socket.
    Changes,
}

/// Why a request leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 404
    UnknownPath,
    /// 404: it exists at the other door.
    UnixSocketOnly,
    /// 405, with the methods that are allowed.
    Method(&'static str),
    /// 400: what is wrong with the query.
    Query(String),
}

const READS: &str = "GET, HEAD";

/// What `method`, `path` and `query` ask for.
pub(super) fn route(method: &Method, path: &str, query: &str, access: Access) -> Result<Route, Refusal> {
    let (route, allowed) = match path {
        "/health" => (Route::Health, READS),
        "/metrics" => (Route::Metrics, READS),
        "/inventory" => (Route::Inventory(page(query)?), READS),
        "/status" => (Route::Status, READS),
        "/load" => (Route::Load, READS),
        "/demand" => (Route::Demand, READS),
        "/adopt" => (Route::Change(Change::Adopt), "POST"),
        "/retire" => (Route::Change(Change::Retire { wait: wait(query)? }), "POST"),
        "/purge" => (Route::Change(Change::Purge), "POST"),
        "/drain" => (Route::Change(Change::Drain), "POST"),
        "/undrain" => (Route::Change(Change::Undrain), "POST"),
        _ => return Err(Refusal::UnknownPath),
    };
    if allowed == "POST" && access == Access::ReadOnly {
        return Err(Refusal::UnixSocketOnly);
    }
    let is_allowed = allowed.split(", ").any(|name| name == method.as_str());
    if is_allowed { Ok(route) } else { Err(Refusal::Method(allowed)) }
}

fn page(query: &str) -> Result<Page, Refusal> {
    let mut page = Page::default();
    for (name, value) in parameters(query) {
        match name {
            "after" => {
                let text = unescaped(value).ok_or_else(|| malformed("after", value))?;
                let path = BundlePath::parse(&text)
                    .map_err(|error| Refusal::Query(format!("after is not the path of a bundle: {error}")))?;
                page.after = Some(path);
            }
            "limit" => match value.parse() {
                Ok(limit) if limit > 0 => page.limit = Some(limit),
                _ => return Err(malformed("limit", value)),
            },
            _ => return Err(unknown(name, "after and limit")),
        }
    }
    Ok(page)
}

fn wait(query: &str) -> Result<Duration, Refusal> {
    let mut wait = limits::RETIRE_WAIT;
    for (name, value) in parameters(query) {
        match (name, value.parse().map(Duration::from_secs)) {
            ("wait_seconds", Ok(seconds)) => wait = seconds.min(limits::RETIRE_WAIT_MAX),
            ("wait_seconds", Err(_)) => return Err(malformed("wait_seconds", value)),
            _ => return Err(unknown(name, "wait_seconds")),
        }
    }
    Ok(wait)
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let fields = query.split('&').filter(|field| !field.is_empty());
    fields.map(|field| field.split_once('=').unwrap_or((field, "")))
}

/// Percent-decodes; `None` for a broken escape, or for what is not UTF-8.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(*tail.first()?)?, digit(*tail.get(1)?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

fn malformed(name: &str, value: &str) -> Refusal {
    let shown: String = value.chars().take(64).collect();
    Refusal::Query(format!("{name} has the value {shown:?}, which is not one; see docs/OPERATING.md"))
}

fn unknown(name: &str, known: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    Refusal::Query(format!("there is no parameter {shown:?} here, only {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, target: &str, access: Access) -> Result<Route, Refusal> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        route(&method.parse().unwrap(), path, query, access)
    }

    #[test]
    fn reads_are_answered_at_both_doors() {
        for access in [Access::ReadOnly, Access::Changes] {
            for method in ["GET", "HEAD"] {
                assert_eq!(ask(method, "/health", access), Ok(Route::Health));
                assert_eq!(ask(method, "/metrics", access), Ok(Route::Metrics));
                assert_eq!(ask(method, "/status", access), Ok(Route::Status));
                assert_eq!(ask(method, "/load", access), Ok(Route::Load));
                assert_eq!(ask(method, "/demand", access), Ok(Route::Demand));
                assert_eq!(ask(method, "/inventory", access), Ok(Route::Inventory(Page::default())));
            }
            assert_eq!(ask("POST", "/health", access), Err(Refusal::Method("GET, HEAD")));
        }
    }

    #[test]
    fn changes_are_made_at_the_unix_socket_alone() {
        for path in ["/adopt", "/retire", "/purge", "/drain", "/undrain"] {
            assert!(ask("POST", path, Access::Changes).is_ok(), "{path}");
            assert_eq!(ask("GET", path, Access::Changes), Err(Refusal::Method("POST")));
            for method in ["POST", "GET", "PUT", "DELETE"] {
                assert_eq!(ask(method, path, Access::ReadOnly), Err(Refusal::UnixSocketOnly), "{path}");
            }
        }
    }

    #[test]
    fn any_other_path_is_unknown() {
        for path in ["/", "", "/Health", "/health/", "//health", "/metrics/x", "/titles/a/1.m4s"] {
            assert_eq!(ask("GET", path, Access::Changes), Err(Refusal::UnknownPath), "{path}");
        }
    }

    #[test]
    fn a_page_of_the_inventory_starts_after_a_path() {
        let page = |query: &str| ask("GET", &format!("/inventory?{query}"), Access::ReadOnly);
        let expected = |after: Option<&str>, limit| {
            Ok(Route::Inventory(Page { after: after.map(|path| BundlePath::parse(path).unwrap()), limit }))
        };
        assert_eq!(page("limit=10"), expected(None, Some(10)));
        assert_eq!(page("after=/a/b&limit=1"), expected(Some("/a/b"), Some(1)));
        assert_eq!(page("after=%2Fa%2Fb%20c"), expected(Some("/a/b c"), None));
        for query in
            ["limit=0", "limit=-1", "limit=", "after=", "after=a", "after=%2", "after=/%ff", "before=/a"]
        {
            assert!(matches!(page(query), Err(Refusal::Query(_))), "{query}");
        }
    }

    #[test]
    fn a_retire_waits_as_long_as_the_caller_says_within_bounds() {
        let wait = |target: &str| match ask("POST", target, Access::Changes) {
            Ok(Route::Change(Change::Retire { wait })) => wait.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait("/retire"), 60);
        assert_eq!(wait("/retire?wait_seconds=0"), 0);
        assert_eq!(wait("/retire?wait_seconds=7"), 7);
        assert_eq!(wait("/retire?wait_seconds=99999999"), 4 * 3600);
        for query in ["wait_seconds=soon", "wait_seconds=-1", "wait=1"] {
            let answer = ask("POST", &format!("/retire?{query}"), Access::Changes);
            assert!(matches!(answer, Err(Refusal::Query(_))), "{query}");
        }
    }
}
