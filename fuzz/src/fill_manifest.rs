//! The fill manifest: nothing is obeyed but what a trusted key signed, byte for byte; and what is obeyed keeps what a plan relies on.

use std::collections::HashSet;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use control_client::fill_manifest::{FillManifest, ManifestRefused, SIGNATURE_CONTEXT, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::limits::{BUNDLE_BYTES_MAX, DESCRIPTOR_OBJECTS_MAX, MANIFEST_ENTRIES_MAX};
use control_client::signature::TrustedKey;
use control_client::wire::DocumentVersion;

/// Reads `data` as an envelope, and as the text of a manifest that the right key signed.
pub(crate) fn check(data: &[u8]) {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes are a seed");
    let public_key = key.public_key().as_ref().try_into().expect("a public key has 32 bytes");
    let trusted = [TrustedKey { id: "k".to_owned(), public_key }];
    let audience = ApplianceName::parse("oca-1").expect("a name");
    if let Ok(envelope) = serde_json::from_slice::<SignedManifest>(data) {
        // No fuzzer signs: so one that is obeyed is of the corpus.
        if envelope.open(&trusted, &audience, 0).is_ok() {
            check_forgeries(&envelope, &trusted, &audience);
        }
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let signed = sign(&key, text);
    match signed.open(&trusted, &audience, 0) {
        Ok(manifest) => {
            check_manifest(&manifest);
            check_written_again(&manifest, &key, &trusted);
            check_forgeries(&signed, &trusted, &audience);
            let newer = signed.open(&trusted, &audience, manifest.sequence + 1);
            assert!(matches!(newer, Err(ManifestRefused::Sequence { .. })), "{newer:?}");
        }
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
}

fn sign(key: &Ed25519KeyPair, text: &str) -> SignedManifest {
    let signature = key.sign(&[SIGNATURE_CONTEXT, text.as_bytes()].concat());
    let signature = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    SignedManifest { version: DocumentVersion, key_id: "k".to_owned(), signature, manifest: text.to_owned() }
}

/// What a plan relies on.
fn check_manifest(manifest: &FillManifest) {
    assert_eq!(manifest.check(), Ok(()));
    assert!(manifest.entries.len() <= MANIFEST_ENTRIES_MAX);
    let mut paths = HashSet::new();
    for entry in &manifest.entries {
        assert!(paths.insert(entry.path.as_str()), "{} is listed twice", entry.path);
        assert!(entry.bytes <= BUNDLE_BYTES_MAX);
        assert!((1..=DESCRIPTOR_OBJECTS_MAX as u64).contains(&entry.objects));
    }
}

/// What is kept in the state folder and read after a restart is the same.
fn check_written_again(manifest: &FillManifest, key: &Ed25519KeyPair, trusted: &[TrustedKey]) {
    let text = serde_json::to_string(manifest).expect("a manifest is JSON");
    let envelope = serde_json::to_vec(&sign(key, &text)).expect("an envelope is JSON");
    let again: SignedManifest = serde_json::from_slice(&envelope).expect("it was written so");
    assert_eq!(again.open(trusted, &manifest.audience, manifest.sequence).as_ref(), Ok(manifest));
}

/// The same with anything changed is not obeyed.
fn check_forgeries(signed: &SignedManifest, trusted: &[TrustedKey], audience: &ApplianceName) {
    let refused = |forged: SignedManifest| {
        let found = forged.open(trusted, audience, 0);
        assert!(
            matches!(found, Err(ManifestRefused::Signature { .. } | ManifestRefused::UnknownKey { .. })),
            "{found:?}"
        );
    };
    refused(SignedManifest { manifest: format!("{} ", signed.manifest), ..signed.clone() });
    refused(SignedManifest { manifest: signed.manifest.replacen('1', "2", 1) + " ", ..signed.clone() });
    refused(SignedManifest { key_id: "other".to_owned(), ..signed.clone() });
    let last = if signed.signature.ends_with('0') { "1" } else { "0" };
    let signature = signed.signature[..signed.signature.len() - 1].to_owned() + last;
    refused(SignedManifest { signature, ..signed.clone() });
    let other = ApplianceName::parse("somebody-else").expect("a name");
    assert!(matches!(signed.open(trusted, &other, 0), Err(ManifestRefused::Audience { .. })));
}
