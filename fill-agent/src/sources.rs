//! Where the bundles of a plan can be fetched: asked of the control plane at the beginning of a run, and kept, so that a
//! run goes on where the control plane is away.

use std::collections::HashMap;
use std::sync::Arc;

use control_client::content::BundleKey;
use control_client::sources::{BundleSources, FillSource, SourcesRequest};
use control_client::wire::DocumentVersion;

use crate::agent::Agent;
use crate::state::or_warn;

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
    pub async fn ask(agent: &Arc<Agent>, bundles: Vec<BundleKey>) -> Self {
        if bundles.is_empty() {
            return Self::default();
        }
        let answer = match &agent.control_plane {
            Some(control_plane) => {
                control_plane.sources(&SourcesRequest { version: DocumentVersion, bundles }).await.map(Some)
            }
            None => Ok(None),
        };
        if let Err(error) = &answer {
            tracing::warn!(%error, "the control plane names no sources; those that it named last are taken");
        }
        let sources = agent.blocking(move |agent| match answer {
            Ok(Some(answer)) => {
                or_warn(agent.state.write(SOURCES, &answer.bundles));
                answer.bundles
            }
            Ok(None) | Err(_) => agent.state.read(SOURCES).unwrap_or_default(),
        });
        Self::from(sources.await)
    }
}

impl From<Vec<BundleSources>> for Sources {
    fn from(answered: Vec<BundleSources>) -> Self {
        let bundles = answered.into_iter().map(|one| (one.bundle, one.sources));
        Self { bundles: bundles.collect() }
    }
}
