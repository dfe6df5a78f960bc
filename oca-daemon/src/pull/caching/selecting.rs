//! Vary (RFC 9111 §4.1): which requests a response answers.

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};

/// The request fields that Vary names, in the order of their names, with what the request said in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selecting {
    pub(super) fields: Vec<(HeaderName, Option<Vec<u8>>)>,
}

impl Selecting {
    /// Those of the request that was answered with `response`; `None` where no other request ever has the same (`*`, or what is no
    /// list of fields).
    pub fn of(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
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
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let fields = names.into_iter().map(|name| {
            let value = normalised(request, &name);
            (name, value)
        });
        Some(Self { fields: fields.collect() })
    }

    /// Whether a request says the same in them.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, value)| normalised(request, name) == *value)
    }
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
    use crate::pull::caching::tests::fields;

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
    fn a_star_or_what_is_no_name_matches_nothing() {
        for vary in [&[("vary", "*")][..], &[("vary", "*, foo")], &[("vary", "foo, *")], &[("vary", ", *")]] {
            assert_eq!(Selecting::of(&HeaderMap::new(), &fields(vary)), None, "{vary:?}");
        }
        assert_eq!(Selecting::of(&HeaderMap::new(), &fields(&[("vary", ""), ("vary", "*")])), None);
        assert_eq!(Selecting::of(&HeaderMap::new(), &fields(&[("vary", "a b")])), None);
    }
}
