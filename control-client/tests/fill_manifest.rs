//! What an appliance obeys, and what it refuses with which reason.

use control_client::content::{BundlePath, Generation, Sha256};
use control_client::fill_manifest::{FillClass, FillEntry, FillManifest, ManifestRefused, SignedManifest};
use control_client::fleet::{ApplianceName, TitleName};
use control_client::limits;
use control_client::signature::{SigningKey, SigningKeyError, TrustedKey};
use control_client::wire::DocumentVersion;
use proptest::prelude::*;

fn name(text: &str) -> ApplianceName {
    ApplianceName::parse(text).expect("a name")
}

fn entry(number: u64) -> FillEntry {
    FillEntry {
        path: BundlePath::parse(&format!("/titles/t{number}/1080p")).expect("a path"),
        generation: Generation::new(1),
        title: TitleName::parse(&format!("t{number}")).expect("a name"),
        bytes: 1 << 30,
        objects: 300,
        score: 1000 - number.min(1000),
        descriptor: Sha256::new([7; 32]),
        class: FillClass::Ranked,
        expires_at: None,
    }
}

fn manifest(entries: Vec<FillEntry>) -> FillManifest {
    FillManifest { version: DocumentVersion, audience: name("oca-1"), sequence: 812, issued_at: 1, entries }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn open(signed: &SignedManifest, trusted: &[TrustedKey]) -> Result<FillManifest, ManifestRefused> {
    signed.open(trusted, &name("oca-1"), 812)
}

#[test]
fn a_manifest_is_obeyed_while_any_trusted_key_signs_it_so_that_keys_can_follow_each_other() {
    let (old, new) = (key(1), key(2));
    let trusted = [old.trusted_key("2026a"), new.trusted_key("2026b")];
    let manifest = manifest(vec![entry(1), entry(2)]);
    for (id, key) in [("2026a", &old), ("2026b", &new)] {
        assert_eq!(open(&SignedManifest::sign(&manifest, id, key), &trusted), Ok(manifest.clone()));
    }
    let without_the_old = &trusted[1..];
    assert_eq!(
        open(&SignedManifest::sign(&manifest, "2026a", &old), without_the_old),
        Err(ManifestRefused::UnknownKey { id: "2026a".to_owned() })
    );
    assert!(matches!(
        open(&SignedManifest::sign(&manifest, "2026a", &old), &[]),
        Err(ManifestRefused::UnknownKey { .. })
    ));
}

#[test]
fn a_signature_by_another_key_or_over_other_bytes_is_refused() {
    let trusted = [key(1).trusted_key("a")];
    let signature_refused = Err(ManifestRefused::Signature { id: "a".to_owned() });
    let manifest = manifest(vec![entry(1)]);
    assert_eq!(open(&SignedManifest::sign(&manifest, "a", &key(2)), &trusted), signature_refused);

    let sound = SignedManifest::sign(&manifest, "a", &key(1));
    let altered = |manifest: &str, signature: &str| SignedManifest {
        manifest: manifest.to_owned(),
        signature: signature.to_owned(),
        ..sound.clone()
    };
    let other = SignedManifest::sign(&FillManifest { sequence: 813, ..manifest.clone() }, "a", &key(1));
    for refused in [
        altered(&sound.manifest.replace("1080p", "2160p"), &sound.signature),
        altered(&(sound.manifest.clone() + " "), &sound.signature),
        altered(&sound.manifest, &other.signature),
        altered(&sound.manifest, &sound.signature.to_uppercase()),
        altered(&sound.manifest, &sound.signature[2..]),
        altered(&sound.manifest, ""),
        altered(&sound.manifest, &"0".repeat(128)),
        altered(&sound.manifest, &"é".repeat(64)),
    ] {
        assert_eq!(open(&refused, &trusted), signature_refused, "{refused:?}");
    }
}

#[test]
fn a_manifest_for_another_appliance_is_refused_whoever_signed_it() {
    let trusted = [key(1).trusted_key("a")];
    let signed = SignedManifest::sign(&manifest(vec![]), "a", &key(1));
    let refused = signed.open(&trusted, &name("oca-2"), 0).expect_err("refused");
    assert_eq!(refused, ManifestRefused::Audience { found: name("oca-1"), expected: name("oca-2") });
    assert!(refused.to_string().contains("for the appliance oca-1, and this is oca-2"), "{refused}");
}

#[test]
fn a_sequence_never_goes_back_and_the_same_one_is_left_to_the_caller() {
    let trusted = [key(1).trusted_key("a")];
    let signed = SignedManifest::sign(&manifest(vec![]), "a", &key(1));
    assert!(signed.open(&trusted, &name("oca-1"), 811).is_ok());
    assert!(signed.open(&trusted, &name("oca-1"), 812).is_ok());
    let refused = signed.open(&trusted, &name("oca-1"), 813).expect_err("refused");
    assert_eq!(refused, ManifestRefused::Sequence { found: 812, newest: 813 });
    assert!(refused.to_string().contains("restored from an old copy"), "{refused}");
}

#[test]
fn what_was_signed_and_is_no_manifest_is_refused() {
    let trusted = [key(1).trusted_key("a")];
    let mut later = manifest(vec![]);
    later.entries.push(FillEntry { objects: 0, ..entry(1) });
    let refused = open(&SignedManifest::sign(&later, "a", &key(1)), &trusted).expect_err("refused");
    assert!(
        matches!(&refused, ManifestRefused::Entries(what) if what.starts_with("/titles/t1/1080p: 0 objects"))
    );
    assert!(refused.to_string().ends_with("the control plane has to make another"), "{refused}");
}

type Change<'a> = &'a dyn Fn(&mut FillManifest);

#[test]
fn every_number_has_its_bounds() {
    let check = |change: Change<'_>| {
        let mut manifest = manifest(vec![entry(1), entry(2)]);
        change(&mut manifest);
        manifest.check()
    };
    let beyond = limits::TIMESTAMP_MAX + 1;
    assert_eq!(check(&|_| {}), Ok(()));
    assert_eq!(check(&|manifest| manifest.entries[1].expires_at = Some(limits::TIMESTAMP_MAX)), Ok(()));
    assert_eq!(check(&|manifest| manifest.entries.clear()), Ok(()));
    let refused: [(Change<'_>, &str); 8] = [
        (&|manifest| manifest.issued_at = beyond, "issued_at 253402300800 is beyond the year 9999"),
        (&|manifest| manifest.sequence = u64::MAX, "sequence 18446744073709551615 is above 2^53 - 1"),
        (
            &|manifest| manifest.entries[1].expires_at = Some(beyond),
            "/titles/t2/1080p: expires_at 253402300800 is beyond the year 9999",
        ),
        (&|manifest| manifest.entries[0].bytes = u64::MAX, "a bundle has at most 274877906944"),
        (&|manifest| manifest.entries[0].objects = 0, "a bundle has 1 to 262144"),
        (&|manifest| manifest.entries[0].objects = 262_145, "a bundle has 1 to 262144"),
        (&|manifest| manifest.entries[0].score = u64::MAX, "above 2^53 - 1"),
        (
            &|manifest| manifest.entries.push(FillEntry { generation: Generation::new(9), ..entry(1) }),
            "/titles/t1/1080p is listed twice",
        ),
    ];
    for (change, what) in refused {
        let found = check(change).expect_err("refused");
        assert!(found.contains(what), "{found}");
    }
}

#[test]
fn a_longer_list_than_any_appliance_needs_is_refused() {
    let entries = (0..=limits::MANIFEST_ENTRIES_MAX as u64).map(entry).collect();
    let found = manifest(entries).check().expect_err("refused");
    assert_eq!(found, "200001 entries; at most 200000 are possible");
}

#[test]
fn a_signing_key_survives_its_file_which_nobody_else_can_read_and_nothing_overwrites() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("2026a.key");
    let key = SigningKey::generate().expect("random");
    key.save(&path).expect("saved");
    let mode = path.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = SigningKey::load(&path).expect("readable");
    assert_eq!((again.public_key(), again.id()), (key.public_key(), key.id()));
    assert!(matches!(SigningKey::generate().expect("random").save(&path), Err(SigningKeyError::File(_))));
    assert_eq!(SigningKey::load(&path).expect("as before").id(), key.id());

    for text in ["", "abc", &"g".repeat(64), &format!("{}\n{}", "a".repeat(64), "b".repeat(64))] {
        std::fs::write(&path, text).expect("written");
        assert!(matches!(SigningKey::load(&path), Err(SigningKeyError::Syntax)), "{text:?}");
    }
    assert!(!format!("{key:?}").contains(&std::fs::read_to_string(&path).expect("readable")[..16]));
}

/// RFC 8032, section 7.1, test 1; the document is what `openssl genpkey` makes of that seed (RFC 8410, section 7).
#[test]
fn a_key_of_openssl_can_be_used() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let document: Vec<u8> = format!("302e020100300506032b657004220420{seed}")
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("digits"))
        .collect();
    let key = SigningKey::from_pkcs8(&document).expect("a key");
    let public: String = key.public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(public, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    assert!(matches!(SigningKey::from_pkcs8(&document[1..]), Err(SigningKeyError::Syntax)));
}

/// A value of JSON like those of a manifest, right or wrong.
fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[/a-z.]{0,8}".prop_map(Value::from),
        Just(json!("/titles/t1/1080p")),
        Just(json!("ranked")),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,6}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn one_changed_byte_is_always_refused(index: prop::sample::Index, bit in 0_u8..7) {
        let trusted = [key(1).trusted_key("a")];
        let mut signed = SignedManifest::sign(&manifest(vec![entry(1), entry(2)]), "a", &key(1));
        let mut bytes = signed.manifest.into_bytes();
        let at = index.index(bytes.len());
        bytes[at] ^= 1 << bit;
        signed.manifest = String::from_utf8(bytes).expect("bit 7 is left alone, so it stays ASCII");
        prop_assert_eq!(open(&signed, &trusted), Err(ManifestRefused::Signature { id: "a".to_owned() }));
    }

    #[test]
    fn no_envelope_makes_opening_panic(key_id: String, signature: String, manifest: String) {
        let trusted = [TrustedKey { id: key_id.clone(), public_key: [1; 32] }];
        let signed = SignedManifest { version: DocumentVersion, key_id, signature, manifest };
        let refused = open(&signed, &trusted).expect_err("nobody signed it");
        prop_assert!(!refused.to_string().is_empty());
    }

    #[test]
    fn whatever_is_in_a_place_of_a_manifest_it_is_refused_or_within_its_bounds(
        field in prop::sample::select(vec![
            "/version", "/audience", "/sequence", "/issued_at", "/entries", "/entries/0", "/entries/0/path",
            "/entries/0/generation", "/entries/0/title", "/entries/0/bytes", "/entries/0/objects", "/entries/0/score",
            "/entries/0/descriptor", "/entries/0/class", "/entries/1/path", "/entries/1/expires_at",
        ]),
        value in value(),
    ) {
        let sound = FillManifest { entries: vec![entry(1), FillEntry { expires_at: Some(9), ..entry(2) }], ..manifest(vec![]) };
        let mut document = serde_json::to_value(&sound).expect("JSON");
        *document.pointer_mut(field).expect("a field") = value;
        if let Ok(read) = serde_json::from_value::<FillManifest>(document)
            && read.check().is_ok()
        {
            prop_assert!(read.issued_at <= limits::TIMESTAMP_MAX && read.sequence <= limits::INTEGER_MAX);
            for (index, entry) in read.entries.iter().enumerate() {
                prop_assert!(entry.bytes <= limits::BUNDLE_BYTES_MAX && entry.score <= limits::INTEGER_MAX);
                prop_assert!((1..=limits::DESCRIPTOR_OBJECTS_MAX as u64).contains(&entry.objects));
                prop_assert!(entry.expires_at.is_none_or(|at| at <= limits::TIMESTAMP_MAX));
                prop_assert!(!read.entries[..index].iter().any(|earlier| earlier.path == entry.path));
            }
        }
    }
}
