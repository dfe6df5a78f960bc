//! Base URLs: what configuration and wire documents say of where something is to be had by HTTP.

use std::fmt;

use crate::limits::URL_BYTES_MAX;

/// The text is no base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlError;

impl fmt::Display for UrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a URL is http://HOST or https://HOST, with a port and a path where needed, without user, query and fragment, \
             of at most {URL_BYTES_MAX} bytes"
        )
    }
}

impl std::error::Error for UrlError {}

/// Whether a path can be appended to it: `http` or `https`, a host, perhaps a port and a path (RFC 3986); no user, query,
/// fragment, space or control character. Host names are not looked up, and a host is not looked at closely.
pub fn check(text: &str) -> Result<(), UrlError> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(UrlError)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = split_port(authority).ok_or(UrlError)?;
    let is_host = !host.is_empty() && host.bytes().all(|byte| is_host_byte(byte) || host.starts_with('['));
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let is_text = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\"<>\\^`{|}".contains(&byte));
    if is_host && is_port && is_text && text.len() <= URL_BYTES_MAX { Ok(()) } else { Err(UrlError) }
}

/// Whether there is nothing after the host and the port but perhaps one `/`.
pub fn has_path(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split_once('/').is_some_and(|(_, path)| !path.is_empty())
}

/// Host and port; the host may be an IPv6 address in brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let host = &authority[..address.len() + 2];
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    Some(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_a_scheme_and_a_host_and_nothing_after_its_path() {
        for good in [
            "http://192.0.2.7",
            "https://oca-1.example.net",
            "http://[2001:db8::7]:8080",
            "https://cp.example.net:8443/edge/",
            "http://localhost:9400",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "example.net",
            "ftp://example.net",
            "http://",
            "http:///a",
            "http://a b",
            "http://a/?b",
            "http://a/#b",
            "http://user@a",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://[::1",
            "http://[nonsense]",
            "http://[::1]x",
            "http://ä",
            "http://a\n",
        ] {
            assert_eq!(check(bad), Err(UrlError), "{bad}");
        }
        assert!(check(&format!("http://a/{}", "a".repeat(URL_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_path_is_seen() {
        assert!(has_path("http://a/b"));
        assert!(!has_path("http://a/"));
        assert!(!has_path("http://a:80"));
    }
}
