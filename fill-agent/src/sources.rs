//! Where the bundles of a plan can be fetched: asked of the control plane at the beginning of a run, and kept, so that a
//! run goes on where the control plane is away.

use std::collections::HashMap;

use control_client::content::BundleKey;
use control_client::control_plane_client::ControlPlaneClient;
use control_client::sources::{BundleSources, FillSource, SourcesRequest};
use control_client::wire::DocumentVersion;

use crate::state::{StateFolder, or_warn};

const SOURCES: &str = "sources.json";

/// The sources of each bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    bundles: HashMap<BundleKey, Vec<FillSource>>,
}

impl Sources {
    /// The sources of a bundle, in the order in which to try them.
    pub fn of(&self, key: &BundleKey) -> &[FillSource] {
        self.bundles.get(key).map_or(&[], Vec::as_slice)
    }

    /// Asks for the sources of these bundles. Where the control plane does not answer, those that it gave last are taken.
    pub async fn ask(
        state: &StateFolder,
        control_plane: Option<&ControlPlaneClient>,
        bundles: Vec<BundleKey>,
    ) -> Self {
        if bundles.is_empty() {
            return Self::default();
        }
        let kept = || state.read::<Vec<BundleSources>>(SOURCES).unwrap_or_default();
        let Some(control_plane) = control_plane else { return Self::from(kept()) };
        match control_plane.sources(&SourcesRequest { version: DocumentVersion, bundles }).await {
            Ok(answer) => {
                or_warn(state.write(SOURCES, &answer.bundles));
                Self::from(answer.bundles)
            }
            Err(error) => {
                tracing::warn!(%error, "the control plane names no sources; those that it named last are taken");
                Self::from(kept())
            }
        }
    }
}

impl From<Vec<BundleSources>> for Sources {
    fn from(answered: Vec<BundleSources>) -> Self {
        let bundles = answered.into_iter().map(|one| (one.bundle, one.sources));
        Self { bundles: bundles.collect() }
    }
}
