//! The manifest in force: asked of the control plane, verified, kept.
//!
//! One that is refused changes nothing: the last good one stays in force, and the reason is told to the operator (log,
//! `GET /fill`) and to the control plane (reports) until a good one comes.

use std::sync::{Arc, Mutex};

use control_client::control_plane_client::ControlPlaneError;
use control_client::fill_manifest::{FillManifest, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::limits::MANIFEST_BYTES_MAX;
use control_client::signature::TrustedKey;

use crate::agent::locked;
use crate::state::{StateError, StateFolder, or_warn};

const MANIFEST: &str = "manifest.json";
const SEQUENCE: &str = "sequence.json";

/// The manifest, and what is known of others.
#[derive(Debug)]
pub struct Manifests {
    trust: Arc<Trust>,
    /// Held while a manifest is taken: one at a time, and whoever only reads need not wait for the disk.
    taking: Arc<Mutex<()>>,
    /// The newest that was ever taken.
    newest_sequence: u64,
    in_force: Option<Arc<Kept>>,
    refused: Option<String>,
}

/// Whose manifests are obeyed.
#[derive(Debug)]
struct Trust {
    audience: Option<ApplianceName>,
    keys: Vec<TrustedKey>,
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

/// Takes a manifest that came, if it is to be obeyed. `true` where it is another than the one in force. Blocks; meanwhile the
/// one in force can be read.
pub fn take(
    manifests: &Mutex<Manifests>,
    signed: SignedManifest,
    state: &StateFolder,
) -> Result<bool, NoManifest> {
    let (trust, taking) = {
        let manifests = locked(manifests);
        (Arc::clone(&manifests.trust), Arc::clone(&manifests.taking))
    };
    let _one_at_a_time = locked(&taking);
    let (newest_sequence, in_force) = {
        let manifests = locked(manifests);
        (manifests.newest_sequence, manifests.in_force.clone())
    };
    let judged = trust.open(&signed, newest_sequence).and_then(|manifest| match &in_force {
        Some(kept) if kept.manifest.sequence != manifest.sequence => Ok(Some(manifest)),
        Some(kept) if kept.signed.manifest == signed.manifest => Ok(None),
        Some(_) => Err(format!(
            "the fill manifest has sequence {} and lists something else than the one of that sequence in force; \
             the control plane has to number it anew",
            manifest.sequence
        )),
        None => Ok(Some(manifest)),
    });
    match judged {
        Ok(Some(manifest)) => {
            // The manifest first: an agent that dies between the two goes on with it, and takes none that is older.
            state.write(MANIFEST, &signed).map_err(NoManifest::NotKept)?;
            state.write(SEQUENCE, &manifest.sequence).map_err(NoManifest::NotKept)?;
            tracing::info!(sequence = manifest.sequence, entries = manifest.entries.len(), "a manifest came");
            let mut manifests = locked(manifests);
            manifests.newest_sequence = manifest.sequence;
            manifests.in_force = Some(Arc::new(Kept { signed, manifest: Arc::new(manifest) }));
            manifests.refused = None;
            Ok(true)
        }
        Ok(None) => {
            locked(manifests).refused = None;
            Ok(false)
        }
        Err(refused) => {
            locked(manifests).refuse(refused.clone());
            Err(NoManifest::Refused(refused))
        }
    }
}

impl Manifests {
    /// Reads what was kept, and verifies it again: a key that is trusted no longer takes its manifests with it.
    pub fn load(state: &StateFolder, audience: Option<ApplianceName>, trusted: &[TrustedKey]) -> Self {
        let trust = Arc::new(Trust { audience, keys: trusted.to_vec() });
        let newest_sequence = state.read(SEQUENCE).unwrap_or(0);
        let mut manifests = Self {
            trust: Arc::clone(&trust),
            taking: Arc::default(),
            newest_sequence,
            in_force: None,
            refused: None,
        };
        let signed = match state.read_within::<SignedManifest>(MANIFEST, 3 * MANIFEST_BYTES_MAX) {
            Ok(None) => return manifests,
            Ok(Some(signed)) => signed,
            Err(damage) => {
                manifests.refuse(format!("the manifest that was kept is damaged: {damage}"));
                return manifests;
            }
        };
        match trust.open(&signed, newest_sequence) {
            Ok(manifest) => {
                if manifest.sequence != newest_sequence {
                    or_warn(state.write(SEQUENCE, &manifest.sequence));
                }
                manifests.newest_sequence = manifest.sequence;
                manifests.in_force = Some(Arc::new(Kept { signed, manifest: Arc::new(manifest) }));
            }
            Err(refused) => manifests.refuse(format!("the manifest that was kept: {refused}")),
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

    /// The newest is the one in force, so whatever was refused is gone.
    pub(crate) fn confirm(&mut self) {
        self.refused = None;
    }

    /// What came is not obeyed.
    pub(crate) fn refuse(&mut self, refused: String) {
        if self.refused.as_ref() != Some(&refused) {
            tracing::warn!(refused, "a manifest is not obeyed; the last good one stays in force");
        }
        self.refused = Some(refused);
    }
}

impl Trust {
    fn open(&self, signed: &SignedManifest, newest_sequence: u64) -> Result<FillManifest, String> {
        let Some(audience) = &self.audience else {
            return Err("control.appliance has no name, so no manifest is for this appliance".to_owned());
        };
        signed.open(&self.keys, audience, newest_sequence).map_err(|refused| refused.to_string())
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
mod tests;
