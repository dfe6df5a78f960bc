//! `uri-host [":" port]`, as in Host and in absolute-form (RFC 9110 §7.2, RFC 3986 §3.2.2).

use super::alphanumeric_and;

/// Whether `host` follows the grammar. The empty host does: it says that the target has no authority (RFC
/// 9110 §7.2), and a server of one namespace may take its default (RFC 9112 §3.3). User information does not
/// (RFC 9110 §4.2.4).
pub(super) fn is_valid(host: &[u8]) -> bool {
    let (name_is_valid, port) = match host.strip_prefix(b"[") {
        Some(literal) => match literal.iter().position(|&byte| byte == b']') {
            Some(end) => (is_ip_literal(&literal[..end]), &literal[end + 1..]),
            None => return false,
        },
        None => {
            let name_bytes = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
            (is_registered_name(&host[..name_bytes]), &host[name_bytes..])
        }
    };
    name_is_valid
        && match port {
            [] => true,
            [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

/// IPv6address; IPvFuture, which nothing sends, is not accepted.
fn is_ip_literal(literal: &[u8]) -> bool {
    str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// `unreserved` and `sub-delims`.
static NAME_BYTES: [bool; 256] = alphanumeric_and(b"-._~!$&'()*+,;=");

/// `*( unreserved / pct-encoded / sub-delims )`; IPv4 addresses are among them.
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (byte, after) if NAME_BYTES[usize::from(*byte)] => after,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn hosts_are_names_addresses_and_ports() {
        for host in [
            "",
            "a",
            "cdn.example",
            "cdn.example:80",
            "cdn.example:",
            ":80",
            "192.0.2.1:8080",
            "[::1]",
            "[2001:db8::1]:443",
            "a_b",
            "a%20b",
            "a,b",
        ] {
            assert!(is_valid(host.as_bytes()), "{host:?}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for host in [
            "a b",
            "user@a",
            "a/b",
            "a?b",
            "a#b",
            "a:b",
            "a:80:80",
            "[::1",
            "::1",
            "[a]",
            "[::1]80",
            "[fe80::1%25eth0]",
            "a%2",
            "a%zz",
            "\"a\"",
            "é",
            "a\\b",
            "<a>",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host:?}");
        }
    }
}
