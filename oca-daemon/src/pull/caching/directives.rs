//! Cache-Control (RFC 9111 §5.2) and CDN-Cache-Control (RFC 9213), as a shared cache reads them.

mod list;
mod targeted;

use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName};

use crate::limits::DELTA_SECONDS_MAX;
use list::{Argument, Element};

/// What upstream says of a response to caches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: Reach,
    pub(super) private: Reach,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
    /// They are from CDN-Cache-Control: Cache-Control and Expires say nothing to this cache (RFC 9213 §2.2).
    pub(super) is_targeted: bool,
}

/// What a directive holds for that may name fields (`no-cache`, `private`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing: it is not there.
    #[default]
    Nothing,
    /// The named fields.
    Fields(Vec<HeaderName>),
    /// The whole response.
    Response,
}

impl Directives {
    /// Those that hold for this cache.
    pub fn of(response: &HeaderMap) -> Self {
        targeted::directives(response).unwrap_or_else(|| {
            let mut directives = Self::default();
            for element in list::elements(response.get_all(CACHE_CONTROL)) {
                directives.add(&element);
            }
            directives
        })
    }

    /// Takes one in; what is said twice holds in its strictest form.
    fn add(&mut self, element: &Element<'_>) {
        let is = |name: &str| element.name.eq_ignore_ascii_case(name.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache.add(&element.argument);
        } else if is("private") {
            self.private.add(&element.argument);
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("max-age") {
            shorten(&mut self.max_age, element.argument.seconds().unwrap_or(Duration::ZERO));
        } else if is("s-maxage") {
            shorten(&mut self.s_maxage, element.argument.seconds().unwrap_or(Duration::ZERO));
        } else if is("stale-while-revalidate") {
            shorten(&mut self.stale_while_revalidate, element.argument.seconds().unwrap_or(Duration::ZERO));
        } else if is("stale-if-error") {
            shorten(&mut self.stale_if_error, element.argument.seconds().unwrap_or(Duration::ZERO));
        }
    }

    /// The fields that may not be kept for later requests (§5.2.2.4, §5.2.2.7).
    pub(super) fn fields_kept_back(&self) -> impl Iterator<Item = &HeaderName> {
        self.no_cache.fields().iter().chain(self.private.fields())
    }
}

impl Reach {
    fn add(&mut self, argument: &Argument<'_>) {
        match (&mut *self, argument.field_names()) {
            (Self::Response, _) => {}
            (Self::Fields(known), Some(more)) => known.extend(more),
            (_, more) => *self = more.map_or(Self::Response, Self::Fields),
        }
    }

    fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::Nothing | Self::Response => &[],
        }
    }
}

impl Argument<'_> {
    /// A number of seconds, quoted or not (§5.2); `None` breaks the grammar.
    fn seconds(&self) -> Option<Duration> {
        match self {
            Self::Token(text) => delta_seconds(text),
            Self::Quoted(text) => delta_seconds(text),
            Self::None | Self::Malformed => None,
        }
    }

    /// The field names of `no-cache="a, b"`; `None` where it is not a list of such, and the directive holds for everything.
    fn field_names(&self) -> Option<Vec<HeaderName>> {
        let text: &[u8] = match self {
            Self::Token(text) => text,
            Self::Quoted(text) => text,
            Self::None | Self::Malformed => return None,
        };
        let names = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        let names: Vec<HeaderName> = names.map(HeaderName::from_bytes).collect::<Result<_, _>>().ok()?;
        (!names.is_empty()).then_some(names)
    }
}

fn shorten(known: &mut Option<Duration>, other: Duration) {
    *known = Some(known.map_or(other, |known| known.min(other)));
}

/// `delta-seconds` (§1.2.2): digits, and as many seconds as can be represented where they say more.
pub(super) fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let seconds = text.iter().try_fold(0_u64, |seconds, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(seconds.saturating_mul(10).saturating_add(digit))
    })?;
    Some(Duration::from_secs(seconds).min(DELTA_SECONDS_MAX))
}

/// Whether the client takes only what is held (§5.2.1.7), the one directive of a request that is heeded.
pub(super) fn only_if_cached(request: &HeaderMap) -> bool {
    list::elements(request.get_all(CACHE_CONTROL))
        .any(|element| element.name.eq_ignore_ascii_case(b"only-if-cached"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::caching::tests::fields;

    fn of(lines: &[&str]) -> Directives {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(CACHE_CONTROL, line.parse().unwrap());
        }
        Directives::of(&map)
    }

    fn max_age(lines: &[&str]) -> Option<u64> {
        of(lines).max_age.map(|age| age.as_secs())
    }

    #[test]
    fn max_age_is_read_as_rfc_9111_5_2_wants_and_is_stale_where_it_breaks_the_grammar() {
        for (lines, expected) in [
            (&["max-age=3600"][..], Some(3600)),
            (&["MaX-aGe=3600"], Some(3600)),
            (&["max-age=\"3600\""], Some(3600)), // §5.2: recipients ought to accept both forms
            (&["max-age=003600"], Some(3600)),
            (&["foobar, max-age=3600"], Some(3600)),
            (&["foo=\"bar, baz\" ,, max-age=3600 ,"], Some(3600)),
            (&["extension=\"max-age=3600\", max-age=1"], Some(1)),
            (&["max-age=1, extension=\"max-age=\\\"3600\\\"\""], Some(1)),
            (&["extension=\"max-age=3600\""], None),
            (&["max-age=0"], Some(0)),
            (&["max-age=-3600"], Some(0)),
            (&["max-age='3600'"], Some(0)),
            (&["max-age=3600.0"], Some(0)),
            (&["max-age=a3600"], Some(0)),
            (&["max-age=3600a"], Some(0)),
            (&["max-age"], Some(0)),
            (&["max-age="], Some(0)),
            (&["max-age =3600"], Some(0)),
            (&["max-age= 3600"], Some(0)),
            (&["max-age=\"3600"], Some(0)),
            (&["max-age=3600, max-age=1800"], Some(1800)), // §4.2.1: said twice, the shorter
            (&["max-age=1", "max-age=1800"], Some(1)),
            (&["max-age=1800", "max-age=x"], Some(0)),
            (&["max-age=2147483649"], Some(1 << 31)), // §1.2.2
            (&["max-age=99999999999999999999999999"], Some(1 << 31)),
            (&["xmax-age=1"], None),
            (&[""], None),
        ] {
            assert_eq!(max_age(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn directives_are_known_by_name_in_any_case() {
        let all = of(&[
            "No-StOrE, NO-CACHE, pRivate, PUBLIC",
            "Must-Revalidate, proxy-REVALIDATE, must-understand, s-maxage=5, stale-while-revalidate=6, stale-if-error=7",
        ]);
        let expected = Directives {
            no_store: true,
            no_cache: Reach::Response,
            private: Reach::Response,
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            must_understand: true,
            max_age: None,
            s_maxage: Some(Duration::from_secs(5)),
            stale_while_revalidate: Some(Duration::from_secs(6)),
            stale_if_error: Some(Duration::from_secs(7)),
            is_targeted: false,
        };
        assert_eq!(all, expected);
        assert_eq!(of(&["immutable, no-transform, x=y"]), Directives::default());
    }

    #[test]
    fn no_cache_and_private_may_name_fields_and_the_wider_form_wins() {
        for (lines, expected) in [
            (&["no-cache=\"a\""][..], Some(&["a"][..])),
            (&["no-cache=\"A, b\""], Some(&["a", "b"])),
            (&["no-cache=a"], Some(&["a"])),
            (&["no-cache=\"a\"", "no-cache=\"b\""], Some(&["a", "b"])),
            (&["no-cache=\"a\", no-cache"], None),
            (&["no-cache, no-cache=\"a\""], None),
            (&["no-cache=\"\""], None),
            (&["no-cache=\"a b\""], None),
            (&["no-cache=\"a"], None),
        ] {
            let reach = of(lines).no_cache;
            match expected {
                None => assert_eq!(reach, Reach::Response, "{lines:?}"),
                Some(names) => assert_eq!(reach.fields(), names, "{lines:?}"),
            }
        }
        assert_eq!(of(&["private=\"x-user\""]).private.fields(), ["x-user"]);
    }

    #[test]
    fn only_if_cached_is_found_in_a_request() {
        assert!(only_if_cached(&fields(&[("cache-control", "max-age=0, Only-If-Cached")])));
        assert!(!only_if_cached(&fields(&[("cache-control", "x=\"only-if-cached\", no-cache")])));
    }
}
