//! Vary (RFC 9111 §4.1): which requests a response answers.

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};

use super::Policy;
use super::fields::{is_ours, is_vouched_for};

/// The request fields that decide whom a response answers, in the order of their names, with what the request said in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selecting {
    pub(super) fields: Vec<(HeaderName, Option<Vec<u8>>)>,
}

impl Selecting {
    /// Those that Vary names, of the request that was answered with `response`; `None` where no other request ever has the same (`*`,
    /// or what is no list of fields).
    pub fn of(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        Some(Self::by(varied_by(response)?, request))
    }

    /// The same of what was `sent` upstream, and all else of that which is not known to do no harm: what is not in Vary may have been
    /// heeded for all that. What no client tells upstream selects nothing.
    pub fn of_sent(sent: &HeaderMap, response: &HeaderMap, policy: &Policy) -> Option<Self> {
        let mut names = varied_by(response)?;
        names.extend(sent.keys().filter(|name| !is_vouched_for(name, policy)).cloned());
        names.retain(|name| !is_ours(name));
        Some(Self::by(names, sent))
    }

    fn by(mut names: Vec<HeaderName>, request: &HeaderMap) -> Self {
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let fields = names.into_iter().map(|name| {
            let value = normalised(request, &name);
            (name, value)
        });
        Self { fields: fields.collect() }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|(name, _)| name)
    }

    /// Whether a request says the same in them.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, value)| normalised(request, name) == *value)
    }
}

/// The fields that Vary names; `None` for `*`, and for what is no list of fields.
pub fn varied_by(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in response.get_all(VARY) {
        for member in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            match member {
                b"" => {}
                // Also valid as a name, and never meant as one.
                b"*" => return None,
                name => names.push(HeaderName::from_bytes(name).ok()?),
            }
        }
    }
    Some(names)
}

/// The field's lines as one list, without space around its members, in small letters where case says nothing; `None` where it is not
/// there.
fn normalised(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut value: Option<Vec<u8>> = None;
    for line in request.get_all(name) {
        for member in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            match &mut value {
                None => value = Some(member.to_vec()),
                Some(value) => {
                    value.push(b',');
                    value.extend_from_slice(member);
                }
            }
        }
    }
    if [ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name) {
        value.as_deref_mut().map(<[u8]>::make_ascii_lowercase);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::caching::tests::{POLICY, fields};

    #[test]
    fn a_response_answers_requests_that_say_the_same_in_the_fields_that_vary_names() {
        for (vary, first, second, expected) in [
            ("Foo", &[("foo", "1")][..], &[("foo", "1")][..], true),
            ("Foo", &[("foo", "1")], &[("foo", "2")], false),
            ("Foo", &[("foo", "1")], &[], false),
            ("Foo", &[], &[("foo", "1")], false),
            ("Foo", &[], &[("foo", "")], false),
            ("Foo", &[], &[], true),
            ("Foo", &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")], true),
            ("Foo, bar", &[("foo", "1"), ("bar", "a")], &[("bar", "a"), ("foo", "1")], true),
            ("Foo, bar", &[("foo", "1"), ("bar", "a")], &[("bar", "a"), ("foo", "2")], false),
            ("foo,,Foo , bar", &[("foo", "1")], &[("foo", "1")], true),
            ("Foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            ("Foo", &[("foo", "1,2")], &[("foo", " 1 ,  2 ")], true),
            ("Foo", &[("foo", "1,2")], &[("foo", "2,1")], false),
            ("Foo", &[("foo", "a")], &[("foo", "A")], false),
            ("Accept-Language", &[("accept-language", "en, de")], &[("accept-language", "eN,De")], true),
            // The order may say what is liked better.
            ("Accept-Language", &[("accept-language", "en, de")], &[("accept-language", "de, en")], false),
            ("", &[("foo", "1")], &[("foo", "2")], true),
        ] {
            let selecting = Selecting::of(&fields(first), &fields(&[("vary", vary)])).unwrap();
            assert_eq!(selecting.matches(&fields(second)), expected, "{vary} {first:?} {second:?}");
        }
    }

    #[test]
    fn what_went_upstream_and_may_do_harm_selects_though_vary_does_not_name_it() {
        let policy = Policy { request_fields: vec![HeaderName::from_static("let-through")], ..POLICY };
        let sent =
            fields(&[("accept", "x"), ("cookie", "x"), ("let-through", "x"), ("origin", "a"), ("b", "1")]);
        let selecting =
            Selecting::of_sent(&sent, &fields(&[("vary", "accept, c, host, range")]), &policy).unwrap();
        assert_eq!(
            selecting.names().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["accept", "b", "c", "origin"]
        );
        assert!(selecting.matches(&fields(&[("accept", "x"), ("origin", "a"), ("b", "1")])));
        assert!(!selecting.matches(&fields(&[("accept", "x"), ("origin", "evil"), ("b", "1")])));
        assert!(!selecting.matches(&fields(&[("accept", "x")])));
    }

    #[test]
    fn a_star_or_what_is_no_name_matches_nothing() {
        for vary in [&[("vary", "*")][..], &[("vary", "*, foo")], &[("vary", "foo, *")], &[("vary", ", *")]] {
            assert_eq!(Selecting::of(&HeaderMap::new(), &fields(vary)), None, "{vary:?}");
        }
        assert_eq!(Selecting::of(&HeaderMap::new(), &fields(&[("vary", ""), ("vary", "*")])), None);
        assert_eq!(Selecting::of(&HeaderMap::new(), &fields(&[("vary", "a b")])), None);
    }
}
