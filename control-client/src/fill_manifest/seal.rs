//! Signing a manifest, and all that must hold before an appliance obeys one.

use std::collections::HashSet;
use std::fmt;

use super::{FillEntry, FillManifest, SIGNATURE_CONTEXT, SignedManifest};
use crate::fleet::ApplianceName;
use crate::signature::{SIGNATURE_BYTES, SigningKey, TrustedKey};
use crate::wire::DocumentVersion;
use crate::{hex, limits};

/// Why an appliance does not obey a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestRefused {
    /// It names a key that is not in `control.trusted_keys`.
    UnknownKey {
        /// The key that it names.
        id: String,
    },
    /// The key that it names did not sign these bytes.
    Signature {
        /// The key that it names.
        id: String,
    },
    /// What was signed is no manifest, or one that is too long.
    Syntax(String),
    /// It is for another appliance.
    Audience {
        /// The appliance that it is for.
        found: ApplianceName,
        /// This one.
        expected: ApplianceName,
    },
    /// It is older than one that was seen.
    Sequence {
        /// Its own sequence.
        found: u64,
        /// The newest that was seen.
        newest: u64,
    },
    /// What it lists cannot be.
    Entries(String),
}

impl SignedManifest {
    /// Writes the manifest down and signs that. Nothing is checked: see [`FillManifest::check`].
    pub fn sign(manifest: &FillManifest, key_id: &str, key: &SigningKey) -> Self {
        let manifest = serde_json::to_string(manifest)
            .expect("a manifest holds only strings, numbers and lists, which JSON can say");
        let signature = hex::encode(&key.sign(&signed_bytes(&manifest)));
        Self { version: DocumentVersion, key_id: key_id.to_owned(), signature, manifest }
    }

    /// The manifest, where a trusted key signed it for this appliance and it can be obeyed. A sequence equal to
    /// `newest_sequence` is taken: the caller holds it against the manifest that it has.
    pub fn open(
        &self,
        trusted: &[TrustedKey],
        audience: &ApplianceName,
        newest_sequence: u64,
    ) -> Result<FillManifest, ManifestRefused> {
        self.check_signature(trusted)?;
        let manifest: FillManifest = serde_json::from_str(&self.manifest)
            .map_err(|error| ManifestRefused::Syntax(error.to_string()))?;
        if manifest.audience != *audience {
            return Err(ManifestRefused::Audience { found: manifest.audience, expected: audience.clone() });
        }
        if manifest.sequence < newest_sequence {
            return Err(ManifestRefused::Sequence { found: manifest.sequence, newest: newest_sequence });
        }
        manifest.check().map_err(ManifestRefused::Entries)?;
        Ok(manifest)
    }

    fn check_signature(&self, trusted: &[TrustedKey]) -> Result<(), ManifestRefused> {
        let id = || self.key_id.chars().take(limits::KEY_ID_BYTES_MAX).collect();
        if self.manifest.len() as u64 > limits::MANIFEST_BYTES_MAX {
            return Err(ManifestRefused::Syntax(format!("it has {} bytes", self.manifest.len())));
        }
        let mut of_that_name = trusted.iter().filter(|key| key.id == self.key_id).peekable();
        if of_that_name.peek().is_none() {
            return Err(ManifestRefused::UnknownKey { id: id() });
        }
        let signature: [u8; SIGNATURE_BYTES] =
            hex::decode(&self.signature).ok_or_else(|| ManifestRefused::Signature { id: id() })?;
        let bytes = signed_bytes(&self.manifest);
        if of_that_name.any(|key| key.verifies(&bytes, &signature)) {
            return Ok(());
        }
        Err(ManifestRefused::Signature { id: id() })
    }
}

impl FillManifest {
    /// Whether an appliance can obey it: bounds of all numbers, each path once. Otherwise what is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        check_time("issued_at", self.issued_at)?;
        if self.sequence > limits::INTEGER_MAX {
            return Err(format!("sequence {} is above 2^53 - 1", self.sequence));
        }
        if self.entries.len() > limits::MANIFEST_ENTRIES_MAX {
            return Err(format!(
                "{} entries; at most {} are possible",
                self.entries.len(),
                limits::MANIFEST_ENTRIES_MAX
            ));
        }
        let mut paths = HashSet::with_capacity(self.entries.len());
        for entry in &self.entries {
            entry.check().map_err(|what| format!("{}: {what}", entry.path))?;
            if !paths.insert(&entry.path) {
                return Err(format!("{} is listed twice", entry.path));
            }
        }
        Ok(())
    }
}

impl FillEntry {
    fn check(&self) -> Result<(), String> {
        if self.bytes > limits::BUNDLE_BYTES_MAX {
            return Err(format!("{} bytes; a bundle has at most {}", self.bytes, limits::BUNDLE_BYTES_MAX));
        }
        if !(1..=limits::DESCRIPTOR_OBJECTS_MAX as u64).contains(&self.objects) {
            return Err(format!(
                "{} objects; a bundle has 1 to {}",
                self.objects,
                limits::DESCRIPTOR_OBJECTS_MAX
            ));
        }
        if self.score > limits::INTEGER_MAX {
            return Err(format!("score {} is above 2^53 - 1", self.score));
        }
        self.expires_at.map_or(Ok(()), |at| check_time("expires_at", at))
    }
}

fn check_time(name: &str, at: u64) -> Result<(), String> {
    if at > limits::TIMESTAMP_MAX {
        return Err(format!("{name} {at} is beyond the year 9999"));
    }
    Ok(())
}

fn signed_bytes(manifest: &str) -> Vec<u8> {
    [SIGNATURE_CONTEXT, manifest.as_bytes()].concat()
}

impl fmt::Display for ManifestRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { id } => write!(
                formatter,
                "the fill manifest is signed with the key {id:?}, which is not in control.trusted_keys; \
                 add the key, if the control plane's operator confirms it"
            ),
            Self::Signature { id } => write!(
                formatter,
                "the fill manifest is not signed by the key {id:?}; \
                 compare the key in control.trusted_keys with the control plane's, then suspect whoever stands between"
            ),
            Self::Syntax(what) => write!(
                formatter,
                "the fill manifest cannot be read: {what}; does the control plane run the same release?"
            ),
            Self::Audience { found, expected } => write!(
                formatter,
                "the fill manifest is for the appliance {found}, and this is {expected}; \
                 compare control.appliance and control.token_file with what the control plane knows"
            ),
            Self::Sequence { found, newest } => write!(
                formatter,
                "the fill manifest has sequence {found}, and {newest} was seen already; \
                 was the control plane restored from an old copy?"
            ),
            Self::Entries(what) => write!(
                formatter,
                "the fill manifest lists what cannot be: {what}; the control plane has to make another"
            ),
        }
    }
}

impl std::error::Error for ManifestRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(manifest: &str, signed: &[u8]) -> Result<FillManifest, ManifestRefused> {
        let key = SigningKey::from_seed(&[7; 32]);
        let envelope = SignedManifest {
            version: DocumentVersion,
            key_id: "a".to_owned(),
            signature: hex::encode(&key.sign(signed)),
            manifest: manifest.to_owned(),
        };
        envelope.open(&[key.trusted_key("a")], &ApplianceName::parse("oca-1").expect("a name"), 0)
    }

    #[test]
    fn a_signature_made_for_something_else_is_none_for_a_manifest() {
        let manifest = include_str!("../../tests/golden/fill_manifest.json");
        assert!(opened(manifest, &signed_bytes(manifest)).is_ok());
        let refused = ManifestRefused::Signature { id: "a".to_owned() };
        assert_eq!(opened(manifest, manifest.as_bytes()), Err(refused));
    }

    #[test]
    fn what_a_trusted_key_signed_by_mistake_is_refused_as_no_manifest() {
        for text in ["", "nonsense", "{}", "[]", "{\"version\": 2}"] {
            assert!(matches!(opened(text, &signed_bytes(text)), Err(ManifestRefused::Syntax(_))), "{text:?}");
        }
        let endless = " ".repeat(usize::try_from(limits::MANIFEST_BYTES_MAX).expect("it fits") + 1);
        let refused = opened(&endless, b"").expect_err("refused");
        assert_eq!(refused, ManifestRefused::Syntax("it has 134217729 bytes".to_owned()));
    }
}
