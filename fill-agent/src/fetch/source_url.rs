//! Where an object of a bundle is: the URL of a source, and the target of a request to it.

use std::fmt::Write;

use control_client::content::{BundlePath, ObjectName};
use hyper::Uri;

/// The URL of a source, taken apart. Two that are equal share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceUrl {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port, 80 and 443 by default.
    pub port: u16,
    /// The `Host` field of requests.
    pub authority: String,
    /// What stands before the path of a bundle; no slash at its end.
    base: String,
}

impl SourceUrl {
    /// Takes an `http` or `https` URL apart; what it must not have is named.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
        let (is_tls, default_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(format!("{url:?} is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        if authority.as_str().contains('@') {
            return Err("the URL of a source has a user's name; sources take none".to_owned());
        }
        if uri.query().is_some() || url.contains('#') {
            return Err(format!("{url:?} has a query or a fragment"));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(format!("{url:?} names no host"));
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
            authority: authority.as_str().to_owned(),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The target of a request for an object: each component percent-encoded.
    pub fn target(&self, path: &BundlePath, object: &ObjectName) -> String {
        let mut target = self.base.clone();
        let directories = path.as_str().split('/').filter(|component| !component.is_empty());
        for component in directories.chain([object.as_str()]) {
            target.push('/');
            encode(component, &mut target);
        }
        target
    }
}

/// All but the unreserved characters (RFC 3986, section 2.3).
fn encode(component: &str, target: &mut String) {
    for byte in component.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            let _ = write!(target, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, path: &str, object: &str) -> String {
        let url = SourceUrl::parse(url).unwrap();
        url.target(&BundlePath::parse(path).unwrap(), &ObjectName::parse(object).unwrap())
    }

    #[test]
    fn an_object_is_below_the_sources_url_with_every_component_encoded() {
        assert_eq!(target("http://192.0.2.7", "/titles/a", "1.m4s"), "/titles/a/1.m4s");
        assert_eq!(target("http://192.0.2.7/", "/", "1.m4s"), "/1.m4s");
        assert_eq!(target("https://o.example/v/", "/t", "x"), "/v/t/x");
        assert_eq!(target("http://o", "/a b/ü", "100%?#+~.ts"), "/a%20b/%C3%BC/100%25%3F%23%2B~.ts");
    }

    #[test]
    fn hosts_ports_and_authorities_are_taken_apart() {
        let url = SourceUrl::parse("https://[2001:db8::1]:8443/x").unwrap();
        assert_eq!((url.is_tls, url.host.as_str(), url.port), (true, "2001:db8::1", 8443));
        assert_eq!(url.authority, "[2001:db8::1]:8443");
        let url = SourceUrl::parse("http://origin.example").unwrap();
        assert_eq!((url.is_tls, url.port, url.authority.as_str()), (false, 80, "origin.example"));
        assert_eq!(SourceUrl::parse("https://o").unwrap().port, 443);
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for url in ["", "/titles", "ftp://o", "http://", "http://u:p@o", "http://o/?a", "http://o/#a", "o:80"]
        {
            assert!(SourceUrl::parse(url).is_err(), "{url}");
        }
    }
}
