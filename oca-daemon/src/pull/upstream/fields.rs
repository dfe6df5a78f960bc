//! What requests to upstreams say of those who pass them on: `Via` (RFC 9110 §7.6.3) and `CDN-Loop` (RFC 8586).

use std::hash::{BuildHasher, RandomState};

use http::header::{USER_AGENT, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Knows its own requests when they come back.
pub(in crate::pull) struct LoopGuard {
    /// Our member of `CDN-Loop`; the identifier is this process's alone, so that appliances of one name can ask each other.
    member: String,
    via: HeaderValue,
}

impl LoopGuard {
    /// For a cache of that name, which is a token or becomes one.
    pub(in crate::pull) fn new(name: &str) -> Self {
        let is_token = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
        let name: String = name.chars().map(|c| if is_token(c) { c } else { '-' }).collect();
        let member = format!("{name}; id={:016x}", RandomState::new().hash_one(&name));
        let via = HeaderValue::from_str(&format!("1.1 {name}")).expect("a token is a field's value");
        Self { member, via }
    }

    /// Whether a request has been here before.
    pub(in crate::pull) fn has_seen(&self, fields: &HeaderMap) -> bool {
        let lines = fields.get_all(CDN_LOOP).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|member| member.trim() == self.member)
    }

    /// Puts our mark on a request. Who asks for many does not say which client has a part in it; but some refuse who says nothing.
    pub(in crate::pull) fn mark(&self, fields: &mut HeaderMap) {
        fields.entry(USER_AGENT).or_insert(HeaderValue::from_static("oca"));
        fields.append(VIA, self.via.clone());
        let member = HeaderValue::from_str(&self.member).expect("a token and digits are a field's value");
        fields.append(CDN_LOOP, member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_back_is_known_whoever_has_passed_it_on() {
        let guard = LoopGuard::new("oca 1");
        let mut fields = HeaderMap::new();
        fields.append(CDN_LOOP, HeaderValue::from_static("other.example"));
        assert!(!guard.has_seen(&fields));
        guard.mark(&mut fields);
        assert!(guard.has_seen(&fields));
        let lines: Vec<_> = fields.get_all(CDN_LOOP).iter().map(|line| line.to_str().unwrap()).collect();
        let joined = HeaderValue::from_str(&lines.join(", ")).unwrap();
        fields.insert(CDN_LOOP, joined);
        assert!(guard.has_seen(&fields));
        assert_eq!(fields[VIA], "1.1 oca-1");
    }

    #[test]
    fn appliances_of_one_name_can_ask_each_other() {
        let mut fields = HeaderMap::new();
        LoopGuard::new("oca").mark(&mut fields);
        assert!(!LoopGuard::new("oca").has_seen(&fields));
    }
}
