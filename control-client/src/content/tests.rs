use proptest::prelude::*;

use super::*;

#[test]
fn a_normalised_absolute_directory_is_a_bundle_path() {
    for text in ["/", "/a", "/titles/abc/1080p", "/a b/%2F", "/größe", "/...", "/.hidden"] {
        assert_eq!(BundlePath::parse(text).expect(text).as_str(), text);
    }
}

#[test]
fn every_other_path_is_refused_with_its_reason() {
    let too_long = format!("/{}", "a".repeat(BundlePath::BYTES_MAX));
    for (text, reason) in [
        ("", NameError::Empty),
        ("a", NameError::NotAbsolute),
        ("a/b", NameError::NotAbsolute),
        ("//", NameError::EmptyComponent),
        ("/a/", NameError::EmptyComponent),
        ("/a//b", NameError::EmptyComponent),
        ("/a/./b", NameError::DotComponent),
        ("/..", NameError::DotComponent),
        ("/a\n", NameError::ControlByte),
        ("/a/\0b", NameError::ControlByte),
        ("/\x7f", NameError::ControlByte),
        (&too_long, NameError::TooLong { bytes_max: 1024 }),
    ] {
        assert_eq!(BundlePath::parse(text), Err(reason), "{text:?}");
    }
    assert!(BundlePath::parse(&too_long[..BundlePath::BYTES_MAX]).is_ok());
}

#[test]
fn one_component_is_an_object_name_and_nothing_else_is() {
    assert_eq!(ObjectName::parse("seg-00001.m4s").expect("a name").as_str(), "seg-00001.m4s");
    assert!(ObjectName::parse(&"a".repeat(255)).is_ok());
    for (text, reason) in [
        ("", NameError::Empty),
        (".", NameError::DotComponent),
        ("..", NameError::DotComponent),
        ("a/b", NameError::Slash),
        ("a\t", NameError::ControlByte),
        (&"a".repeat(256), NameError::TooLong { bytes_max: 255 }),
    ] {
        assert_eq!(ObjectName::parse(text), Err(reason), "{text:?}");
    }
}

#[test]
fn a_directory_contains_itself_and_what_is_below_but_not_its_neighbours() {
    let path = |text| BundlePath::parse(text).expect("a path");
    assert!(path("/titles/abc").is_within(&path("/titles/abc")));
    assert!(path("/titles/abc/1080p").is_within(&path("/titles/abc")));
    assert!(path("/titles/abc").is_within(&path("/")));
    assert!(path("/").is_within(&path("/")));
    assert!(!path("/titles/abcd").is_within(&path("/titles/abc")));
    assert!(!path("/titles").is_within(&path("/titles/abc")));
}

#[test]
fn a_map_of_paths_can_be_asked_with_plain_text() {
    let map = std::collections::HashMap::from([(BundlePath::parse("/a").expect("a path"), 1)]);
    assert_eq!(map.get("/a"), Some(&1));
}

#[test]
fn a_digest_is_64_lower_case_digits_and_nothing_else() {
    let text = "00010203040506070809".to_owned() + &"ff".repeat(22);
    let digest = Sha256::parse(&text).expect("a digest");
    assert_eq!(digest.bytes()[..3], [0, 1, 2]);
    assert_eq!(digest.to_string(), text);
    for refused in ["", &text[1..], &text.to_uppercase(), &text.replace('f', "g"), &(text.clone() + "0")] {
        assert_eq!(Sha256::parse(refused), Err(Sha256Error), "{refused:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_name_panic_and_what_is_accepted_is_kept(text in any::<String>()) {
        if let Ok(path) = BundlePath::parse(&text) {
            prop_assert_eq!(path.as_str(), &text);
        }
        if let Ok(name) = ObjectName::parse(&text) {
            prop_assert_eq!(name.as_str(), &text);
        }
        let _ = Sha256::parse(&text);
    }

    #[test]
    fn a_digest_survives_its_text(bytes: [u8; 32]) {
        prop_assert_eq!(Sha256::parse(&Sha256::new(bytes).to_string()), Ok(Sha256::new(bytes)));
    }
}
