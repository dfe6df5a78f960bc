//! Descriptors: what is taken for the one that was asked for, and what is not.

use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::descriptor::{DescribedObject, Descriptor, DescriptorError};
use control_client::digest::sha256;
use control_client::limits;
use control_client::wire::DocumentVersion;
use proptest::prelude::*;

fn object(name: &str, bytes: u64) -> DescribedObject {
    DescribedObject {
        name: ObjectName::parse(name).expect("a name"),
        bytes,
        sha256: Sha256::new([9; 32]),
        media_type: "video/iso.segment".to_owned(),
        last_modified: 1_795_132_800,
    }
}

fn descriptor(objects: Vec<DescribedObject>) -> Descriptor {
    Descriptor {
        version: DocumentVersion,
        path: BundlePath::parse("/titles/abc/1080p").expect("a path"),
        generation: Generation::new(2),
        objects,
    }
}

/// Reads it as the one that was asked for.
fn reread(descriptor: &Descriptor) -> Result<Descriptor, DescriptorError> {
    let bytes = descriptor.to_bytes();
    Descriptor::parse(&bytes, &sha256(&bytes), &descriptor.key())
}

#[test]
fn a_descriptor_with_another_digest_is_refused_before_it_is_read() {
    let bytes = b"no JSON at all";
    let asked = Sha256::new([1; 32]);
    let key = descriptor(vec![]).key();
    assert_eq!(Descriptor::parse(bytes, &asked, &key), Err(DescriptorError::Digest { found: sha256(bytes) }));
    assert!(matches!(Descriptor::parse(bytes, &sha256(bytes), &key), Err(DescriptorError::Syntax(_))));
}

#[test]
fn a_descriptor_of_another_bundle_is_refused() {
    let descriptor = descriptor(vec![object("a", 1)]);
    let bytes = descriptor.to_bytes();
    for other in [
        BundleKey { generation: Generation::new(3), ..descriptor.key() },
        BundleKey { path: BundlePath::parse("/titles/abc").expect("a path"), ..descriptor.key() },
    ] {
        assert_eq!(
            Descriptor::parse(&bytes, &sha256(&bytes), &other),
            Err(DescriptorError::Key(descriptor.key()))
        );
    }
}

#[test]
fn objects_that_cannot_be_are_refused_with_their_reason() {
    let two = |change: &dyn Fn(&mut DescribedObject)| {
        let mut changed = object("b", 1);
        change(&mut changed);
        vec![object("a", 1), changed]
    };
    let cases: [(Vec<DescribedObject>, &str); 9] = [
        (vec![], "0 objects; a bundle has 1 to 262144"),
        (vec![object("b", 1), object("a", 1)], "b comes before a"),
        (vec![object("a", 1), object("a", 2)], "a is listed twice"),
        (vec![object("a", limits::BUNDLE_BYTES_MAX), object("b", 1)], "274877906945 bytes in all"),
        (vec![object("a", u64::MAX), object("b", u64::MAX)], "bytes in all; a bundle has at most"),
        (
            two(&|object| object.last_modified = u64::MAX),
            "b: last_modified 18446744073709551615 is beyond the year 9999",
        ),
        (two(&|object| object.media_type = "video/ä".to_owned()), "b: its media type is not printable ASCII"),
        (two(&|object| object.media_type = "a\nb".to_owned()), "b: its media type is not printable ASCII"),
        (two(&|object| object.media_type = "a".repeat(256)), "of at most 255 bytes"),
    ];
    for (objects, what) in cases {
        let refused = reread(&descriptor(objects)).expect_err("refused");
        assert!(matches!(&refused, DescriptorError::Objects(found) if found.contains(what)), "{refused:?}");
    }
}

#[test]
fn objects_are_sorted_by_the_bytes_of_their_names_and_not_by_their_numbers() {
    let sorted = descriptor(vec![
        object("Z", 0),
        object("a", 0),
        object("seg-10", 0),
        object("seg-9", 0),
        object("é", 0),
    ]);
    assert_eq!(reread(&sorted), Ok(sorted));
}

#[test]
fn more_objects_than_a_bundle_has_are_refused() {
    let names =
        (0..=limits::DESCRIPTOR_OBJECTS_MAX).map(|number| object(&format!("{number:07}"), 1)).collect();
    let mut descriptor = descriptor(names);
    assert_eq!(descriptor.check().expect_err("refused"), "262145 objects; a bundle has 1 to 262144");
    descriptor.objects.pop();
    assert_eq!(descriptor.check(), Ok(()));
    assert_eq!(descriptor.bytes(), limits::DESCRIPTOR_OBJECTS_MAX as u64);
    assert!((descriptor.to_bytes().len() as u64) < limits::DESCRIPTOR_BYTES_MAX);
}

#[test]
fn a_descriptor_longer_than_any_is_refused_without_being_looked_at() {
    let bytes = vec![b' '; usize::try_from(limits::DESCRIPTOR_BYTES_MAX).expect("it fits") + 1];
    let refused = Descriptor::parse(&bytes, &Sha256::new([0; 32]), &descriptor(vec![]).key());
    assert!(matches!(refused, Err(DescriptorError::Syntax(what)) if what.contains("at most 67108864")));
}

proptest! {
    #[test]
    fn a_sound_descriptor_survives_its_bytes(
        objects in prop::collection::btree_map("[a-zA-Z0-9._é-]{1,40}", (0_u64..1 << 30, any::<[u8; 32]>()), 1..40),
    ) {
        let objects = objects
            .into_iter()
            .filter(|(name, _)| ObjectName::parse(name).is_ok())
            .map(|(name, (bytes, digest))| DescribedObject { sha256: Sha256::new(digest), ..object(&name, bytes) })
            .collect::<Vec<_>>();
        prop_assume!(!objects.is_empty());
        let sound = descriptor(objects);
        prop_assert_eq!(reread(&sound), Ok(sound));
    }

    #[test]
    fn two_objects_in_the_wrong_order_are_always_refused(count in 2_usize..20, at: prop::sample::Index) {
        let mut wrong = descriptor((0..count).map(|number| object(&format!("{number:03}"), 1)).collect());
        let at = at.index(count - 1);
        wrong.objects.swap(at, at + 1);
        prop_assert!(matches!(reread(&wrong), Err(DescriptorError::Objects(_))));
        wrong.objects.swap(at, at + 1);
        wrong.objects[at + 1].name = wrong.objects[at].name.clone();
        prop_assert!(matches!(reread(&wrong), Err(DescriptorError::Objects(_))));
    }

    #[test]
    fn no_bytes_make_parsing_panic(bytes: Vec<u8>) {
        let key = descriptor(vec![]).key();
        prop_assert!(Descriptor::parse(&bytes, &sha256(&bytes), &key).is_err());
    }

    #[test]
    fn one_changed_byte_is_always_refused(at: prop::sample::Index, byte: u8) {
        let sound = descriptor(vec![object("a", 1), object("b", 2)]);
        let mut bytes = sound.to_bytes();
        let digest = sha256(&bytes);
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let refused = matches!(Descriptor::parse(&bytes, &digest, &sound.key()), Err(DescriptorError::Digest { .. }));
        prop_assert!(refused);
        // Had it been signed so, it would still be refused or sound.
        if let Ok(read) = Descriptor::parse(&bytes, &sha256(&bytes), &sound.key()) {
            prop_assert_eq!(read.check(), Ok(()));
        }
    }
}
