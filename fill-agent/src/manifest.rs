//! The manifest in force: asked of the control plane, verified, kept.
//!
//! One that is refused changes nothing: the last good one stays in force, and the reason is told to the operator (log,
//! `GET /fill`) and to the control plane (reports) until a good one comes.

use std::sync::{Arc, Mutex, PoisonError};

use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneError};
use control_client::fill_manifest::{FillManifest, ManifestRefused, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::limits::MANIFEST_BYTES_MAX;
use control_client::signature::TrustedKey;

use crate::state::{StateError, StateFolder};

const MANIFEST: &str = "manifest.json";
const SEQUENCE: &str = "sequence.json";

/// The manifest, and what is known of others.
#[derive(Debug)]
pub struct Manifests {
    audience: Option<ApplianceName>,
    trusted: Vec<TrustedKey>,
    /// The newest that was ever taken.
    newest_sequence: u64,
    in_force: Option<Kept>,
    refused: Option<String>,
}

#[derive(Debug)]
struct Kept {
    signed: SignedManifest,
    manifest: Arc<FillManifest>,
}

/// Why there is no newer manifest.
#[derive(Debug)]
pub enum NoManifest {
    /// The control plane did not give one.
    NotAnswered(ControlPlaneError),
    /// What it gave is not obeyed.
    Refused(String),
    /// It could not be kept, so it is not in force: after a restart an older one would be.
    NotKept(StateError),
}

/// Asks for a newer manifest. `true` where one came and is in force now. Nothing is locked while the control plane thinks.
pub async fn renew(
    manifests: &Mutex<Manifests>,
    control_plane: &ControlPlaneClient,
    state: &StateFolder,
) -> Result<bool, NoManifest> {
    let locked = || manifests.lock().unwrap_or_else(PoisonError::into_inner);
    let known = locked().in_force().map(|manifest| manifest.sequence);
    match control_plane.manifest(known).await {
        Ok(Some(signed)) => locked().take(signed, state),
        // The newest is the one in force, so whatever was refused is gone.
        Ok(None) => {
            locked().refused = None;
            Ok(false)
        }
        Err(ControlPlaneError::Unintelligible(what)) => {
            let refused = ManifestRefused::Syntax(what).to_string();
            locked().refuse(refused.clone());
            Err(NoManifest::Refused(refused))
        }
        Err(error) => Err(NoManifest::NotAnswered(error)),
    }
}

impl Manifests {
    /// Reads what was kept, and verifies it again: a key that is trusted no longer takes its manifests with it.
    pub fn load(state: &StateFolder, audience: Option<ApplianceName>, trusted: &[TrustedKey]) -> Self {
        let newest_sequence = state.read(SEQUENCE).unwrap_or(0);
        let mut manifests =
            Self { audience, trusted: trusted.to_vec(), newest_sequence, in_force: None, refused: None };
        let signed: Option<SignedManifest> = state
            .read_bytes(MANIFEST, 3 * MANIFEST_BYTES_MAX)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(signed) = signed {
            match manifests.open(&signed) {
                Ok(manifest) => {
                    manifests.newest_sequence = manifest.sequence;
                    manifests.in_force = Some(Kept { signed, manifest: Arc::new(manifest) });
                }
                Err(refused) => manifests.refuse(format!("the manifest that was kept: {refused}")),
            }
        }
        manifests
    }

    /// The manifest in force.
    pub fn in_force(&self) -> Option<Arc<FillManifest>> {
        self.in_force.as_ref().map(|kept| Arc::clone(&kept.manifest))
    }

    /// Its sequence; 0 where there is none.
    pub fn sequence(&self) -> u64 {
        self.in_force.as_ref().map_or(0, |kept| kept.manifest.sequence)
    }

    /// Why the last one that came was not taken, where it was not.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Takes a manifest that came, if it is to be obeyed.
    pub fn take(&mut self, signed: SignedManifest, state: &StateFolder) -> Result<bool, NoManifest> {
        let manifest = match self.open(&signed) {
            Ok(manifest) => manifest,
            Err(refused) => {
                self.refuse(refused.clone());
                return Err(NoManifest::Refused(refused));
            }
        };
        if let Some(kept) = &self.in_force
            && kept.manifest.sequence == manifest.sequence
        {
            if kept.signed.manifest == signed.manifest {
                self.refused = None;
                return Ok(false);
            }
            let refused = format!(
                "the fill manifest has sequence {} and lists something else than the one of that sequence in force; \
                 the control plane has to number it anew",
                manifest.sequence
            );
            self.refuse(refused.clone());
            return Err(NoManifest::Refused(refused));
        }
        // The sequence first: whatever is lost after it, no older manifest is taken.
        state.write(SEQUENCE, &manifest.sequence).map_err(NoManifest::NotKept)?;
        state.write(MANIFEST, &signed).map_err(NoManifest::NotKept)?;
        tracing::info!(sequence = manifest.sequence, entries = manifest.entries.len(), "a manifest came");
        self.newest_sequence = manifest.sequence;
        self.in_force = Some(Kept { signed, manifest: Arc::new(manifest) });
        self.refused = None;
        Ok(true)
    }

    fn open(&self, signed: &SignedManifest) -> Result<FillManifest, String> {
        let Some(audience) = &self.audience else {
            return Err("control.appliance has no name, so no manifest is for this appliance".to_owned());
        };
        signed.open(&self.trusted, audience, self.newest_sequence).map_err(|refused| refused.to_string())
    }

    fn refuse(&mut self, refused: String) {
        if self.refused.as_ref() != Some(&refused) {
            tracing::warn!(refused, "a manifest is not obeyed; the last good one stays in force");
        }
        self.refused = Some(refused);
    }
}

impl std::fmt::Display for NoManifest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAnswered(error) => error.fmt(formatter),
            Self::Refused(refused) => formatter.write_str(refused),
            Self::NotKept(error) => write!(formatter, "the manifest could not be kept: {error}"),
        }
    }
}

impl std::error::Error for NoManifest {}

#[cfg(test)]
mod tests {
    use control_client::signature::SigningKey;
    use control_client::wire::DocumentVersion;

    use super::*;

    struct Plane {
        key: SigningKey,
    }

    impl Plane {
        fn signed(&self, audience: &str, sequence: u64, issued_at: u64) -> SignedManifest {
            let manifest = FillManifest {
                version: DocumentVersion,
                audience: ApplianceName::parse(audience).unwrap(),
                sequence,
                issued_at,
                entries: Vec::new(),
            };
            SignedManifest::sign(&manifest, "k", &self.key)
        }

        fn load(&self, state: &StateFolder) -> Manifests {
            let name = ApplianceName::parse("oca-1").unwrap();
            Manifests::load(state, Some(name), &[self.key.trusted_key("k")])
        }
    }

    fn plane() -> (Plane, tempfile::TempDir, StateFolder) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        (Plane { key: SigningKey::from_seed(&[7; 32]) }, folder, state)
    }

    #[test]
    fn the_last_good_manifest_and_its_sequence_outlive_the_process() {
        let (plane, _folder, state) = plane();
        let mut manifests = plane.load(&state);
        assert_eq!((manifests.sequence(), manifests.in_force().is_none()), (0, true));
        assert!(manifests.take(plane.signed("oca-1", 5, 1), &state).unwrap());
        assert!(!manifests.take(plane.signed("oca-1", 5, 1), &state).unwrap(), "the same again");
        let again = plane.load(&state);
        assert_eq!((again.sequence(), again.refused()), (5, None));
    }

    #[test]
    fn what_is_not_obeyed_leaves_the_last_good_one_in_force_and_its_reason_stays_until_a_good_one_comes() {
        let (plane, _folder, state) = plane();
        let mut manifests = plane.load(&state);
        manifests.take(plane.signed("oca-1", 5, 1), &state).unwrap();
        let mut forged = plane.signed("oca-1", 9, 1);
        forged.manifest = forged.manifest.replace("\"issued_at\":1", "\"issued_at\":2");
        for (signed, word) in [
            (plane.signed("oca-1", 4, 1), "sequence 4"),
            (plane.signed("oca-2", 6, 1), "for the appliance oca-2"),
            (forged, "not signed by the key"),
            (plane.signed("oca-1", 5, 2), "lists something else"),
        ] {
            let error = manifests.take(signed, &state).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert!(manifests.refused().unwrap().contains(word));
            assert_eq!(manifests.sequence(), 5);
        }
        manifests.take(plane.signed("oca-1", 6, 1), &state).unwrap();
        assert_eq!((manifests.sequence(), manifests.refused()), (6, None));
    }

    #[test]
    fn no_older_manifest_is_taken_even_where_the_newest_was_lost() {
        let (plane, _folder, state) = plane();
        plane.load(&state).take(plane.signed("oca-1", 5, 1), &state).unwrap();
        state.remove(MANIFEST).unwrap();
        let mut manifests = plane.load(&state);
        assert_eq!(manifests.sequence(), 0);
        assert!(manifests.take(plane.signed("oca-1", 4, 1), &state).is_err());
        assert!(manifests.take(plane.signed("oca-1", 5, 1), &state).unwrap());
    }

    #[test]
    fn a_key_that_is_trusted_no_longer_takes_its_manifests_with_it() {
        let (plane, _folder, state) = plane();
        plane.load(&state).take(plane.signed("oca-1", 5, 1), &state).unwrap();
        let other = SigningKey::from_seed(&[8; 32]).trusted_key("other");
        let name = ApplianceName::parse("oca-1").unwrap();
        let manifests = Manifests::load(&state, Some(name), &[other]);
        assert!(manifests.in_force().is_none());
        assert!(manifests.refused().unwrap().contains("not in control.trusted_keys"));
    }

    #[test]
    fn an_appliance_without_a_name_obeys_no_manifest() {
        let (plane, _folder, state) = plane();
        let mut manifests = Manifests::load(&state, None, &[plane.key.trusted_key("k")]);
        let error = manifests.take(plane.signed("oca-1", 5, 1), &state).unwrap_err();
        assert!(error.to_string().contains("control.appliance"), "{error}");
    }
}
