//! CDN-Cache-Control (RFC 9213): directives for caches like this one, as a structured field (RFC 9651).

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::Directives;
use super::list::{Argument, Element};

/// Our target list (RFC 9213 §2.2), the first that is there and valid holds.
const TARGET_LIST: [HeaderName; 1] = [HeaderName::from_static("cdn-cache-control")];

/// The directives whose argument is a string.
const NAMING_FIELDS: [&str; 2] = ["no-cache", "private"];

/// What the first field of the target list says; `None` where there is none, it is empty, or it is not a dictionary.
pub(super) fn directives(response: &HeaderMap) -> Option<Directives> {
    TARGET_LIST.iter().find_map(|name| {
        let dictionary = dictionary(response, name)?;
        let mut directives = Directives { is_targeted: true, ..Directives::default() };
        for (key, entry) in &dictionary {
            if let ListEntry::Item(item) = entry {
                add(&mut directives, key.as_str(), &item.bare_item);
            }
        }
        Some(directives)
    })
}

fn dictionary(response: &HeaderMap, name: &HeaderName) -> Option<Dictionary> {
    let lines: Vec<&[u8]> = response.get_all(name).iter().map(|line| line.as_bytes()).collect();
    let dictionary: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    (!dictionary.is_empty()).then_some(dictionary)
}

/// A freshness of another type than a number is stale.
fn add(directives: &mut Directives, name: &str, value: &BareItem) {
    let digits;
    let argument = match value {
        BareItem::Boolean(false) => return,
        BareItem::Boolean(true) => Argument::None,
        BareItem::Integer(number) => {
            digits = i64::from(*number).to_string();
            Argument::Token(digits.as_bytes())
        }
        BareItem::String(names) if NAMING_FIELDS.contains(&name) => {
            Argument::Quoted(names.as_str().as_bytes().into())
        }
        _ => Argument::Malformed,
    };
    directives.add(&Element { name: name.as_bytes(), argument });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pull::caching::directives::Reach;
    use crate::pull::caching::tests::fields;

    fn of(value: &str) -> Directives {
        Directives::of(&fields(&[("cache-control", "max-age=1, no-cache"), ("cdn-cache-control", value)]))
    }

    #[test]
    fn it_is_heeded_instead_of_cache_control() {
        for (value, max_age) in [
            ("max-age=3600", 3600),
            ("max-age=10, foobar, x=(1 2);a=b, y=:aGk=:", 10),
            ("max-age=3600;not-for-you", 3600), // RFC 9213 §2.1: parameters are ignored
            ("max-age=1, max-age=20", 20),      // RFC 9651 §3.2: the last holds
            ("max-age=99999999999", 1 << 31),
            ("max-age=0", 0),
            ("max-age=-1", 0),
            ("max-age=1.0", 0),
            ("max-age=\"5\"", 0),
            ("max-age", 0),
        ] {
            let directives = of(value);
            assert!(directives.is_targeted, "{value}");
            assert_eq!(directives.max_age, Some(Duration::from_secs(max_age)), "{value}");
            assert!(directives.no_cache == Reach::Nothing, "{value}");
        }
        assert!(of("no-store").no_store && of("private;a=b").private == Reach::Response);
        assert!(!of("no-store=?0").no_store);
    }

    #[test]
    fn where_it_is_no_dictionary_cache_control_holds() {
        for value in ["", "max-age =100", "max-age= 100", "MaX-aGe=3600", "max-age=\"5", "&", "max-age=1,"] {
            let directives = of(value);
            assert!(!directives.is_targeted, "{value}");
            assert_eq!(directives.max_age, Some(Duration::from_secs(1)), "{value}");
        }
    }

    #[test]
    fn its_lines_are_one_list() {
        let map = fields(&[("cdn-cache-control", "max-age=5"), ("cdn-cache-control", "no-store")]);
        let directives = Directives::of(&map);
        assert!(directives.no_store && directives.max_age == Some(Duration::from_secs(5)));
    }
}
