//! The descriptor of a bundle: taken only for the bundle and under the digest that the manifest names; and what is taken keeps what
//! the layout of a file relies on.

use control_client::content::{BundleKey, Generation, Sha256};
use control_client::descriptor::{Descriptor, DescriptorError};
use control_client::digest::sha256;
use control_client::limits::{BUNDLE_BYTES_MAX, DESCRIPTOR_OBJECTS_MAX};

/// Reads `data` as a descriptor whose digest is the manifest's: a fuzzer guesses none.
pub(crate) fn check(data: &[u8]) {
    let digest = sha256(data);
    let Ok(described) = serde_json::from_slice::<Descriptor>(data) else { return };
    let key = described.key();
    match Descriptor::parse(data, &digest, &key) {
        Ok(descriptor) => {
            assert_eq!(descriptor, described);
            check_descriptor(&descriptor);
            let written = descriptor.to_bytes();
            assert_eq!(Descriptor::parse(&written, &sha256(&written), &key).as_ref(), Ok(&descriptor));
        }
        Err(error) => {
            assert!(matches!(error, DescriptorError::Objects(_)), "{error}");
            assert!(described.check().is_err() && !error.to_string().is_empty());
        }
    }
    let other = Sha256::new(digest.bytes().map(|byte| !byte));
    assert_eq!(Descriptor::parse(data, &other, &key), Err(DescriptorError::Digest { found: digest }));
    let next = Generation::new(key.generation.number() ^ 1);
    let other = BundleKey { generation: next, ..key };
    assert!(matches!(Descriptor::parse(data, &digest, &other), Err(DescriptorError::Key(_))));
}

/// What the layout relies on.
fn check_descriptor(descriptor: &Descriptor) {
    assert!((1..=DESCRIPTOR_OBJECTS_MAX).contains(&descriptor.objects.len()));
    assert!(descriptor.objects.is_sorted_by(|one, other| one.name.as_str() < other.name.as_str()));
    let bytes: u128 = descriptor.objects.iter().map(|object| u128::from(object.bytes)).sum();
    assert!(bytes <= u128::from(BUNDLE_BYTES_MAX) && bytes == u128::from(descriptor.bytes()));
    for object in &descriptor.objects {
        assert!(!object.media_type.chars().any(char::is_control));
    }
}
