//! The same decision as [`crate::steering`] in the words of players: HLS content steering
//! (draft-pantos-hls-rfc8216bis, section 7) and DASH content steering (ETSI TS 103 998), whose documents have
//! one form.
//!
//! A pathway (HLS: `PATHWAY-ID`, `"."` where there is none; DASH: `serviceLocation`) is an appliance, and called what the appliance is
//! called. Media manifests that [`crate::media_manifest`] makes have the pathways of their moment. Any other media manifest has one of its
//! own. An appliance that the manifest has not is a clone with another host, of the manifest's first appliance or of its one pathway, so that
//! a manifest need not know the fleet. A clone keeps scheme, path and query: the media manifest's own URLs must have the paths of bundles, without a
//! prefix. A player that has seen a clone keeps it.

mod pathways;
#[cfg(test)]
mod tests;

use control_client::steering::SteeringAnswer;
use serde::{Deserialize, Serialize};

pub use pathways::{Pathway, Pathways, appliances_scheme, last_pathway, pathways};

use pathways::host;

/// The pathway of an HLS playlist that names none.
pub const HLS_BASE: &str = ".";

/// The `serviceLocation` that an MPD's `BaseURL` has where the question names no other.
pub const DASH_BASE: &str = "origin";

/// The pathway of the origin in media manifests that are made here.
pub const ORIGIN_PATHWAY: &str = "origin";

/// A steering document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub struct ContentSteering {
    /// Always 1.
    pub version: u32,
    /// Seconds after which to ask again.
    pub ttl: u32,
    /// Where to ask then; the same place where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_uri: Option<String>,
    /// Pathways, the best first; never empty, none twice.
    pub pathway_priority: Vec<String>,
    /// Pathways that the media manifest does not have itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pathway_clones: Vec<PathwayClone>,
}

/// A pathway like another, with another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub struct PathwayClone {
    /// The pathway that it is like.
    pub base_id: String,
    /// What it is called.
    pub id: String,
    /// What is different.
    pub uri_replacement: UriReplacement,
}

/// What is different in the URLs of a clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub struct UriReplacement {
    /// The host, with its port where it has one.
    pub host: String,
}

/// The document for a player whose media manifest has these pathways. Where there is nothing else they stand: a document without a
/// pathway would stop the player.
pub fn content_steering(
    answer: &SteeringAnswer,
    pathways: &Pathways<'_>,
    reload_uri: Option<String>,
) -> ContentSteering {
    let mut document = ContentSteering {
        version: 1,
        ttl: answer.ttl_seconds,
        reload_uri,
        pathway_priority: Vec::with_capacity(answer.candidates.len()),
        pathway_clones: Vec::new(),
    };
    for candidate in &answer.candidates {
        let Some(appliance) = &candidate.appliance else {
            if pathways.own().contains(&pathways.origin()) {
                push_once(&mut document.pathway_priority, pathways.origin());
            }
            continue;
        };
        // An appliance that is called as the origin's pathway is cannot be told apart from it.
        let Some(host) =
            host(candidate, pathways.scheme()).filter(|_| appliance.as_str() != pathways.origin())
        else {
            continue;
        };
        if !pathways.own().contains(&appliance.as_str()) {
            let Some(base) = pathways.base() else { continue };
            document.pathway_clones.push(PathwayClone {
                base_id: base.to_owned(),
                id: appliance.to_string(),
                uri_replacement: UriReplacement { host: host.to_owned() },
            });
        }
        push_once(&mut document.pathway_priority, appliance.as_str());
    }
    if document.pathway_priority.is_empty() {
        document.pathway_priority.extend(pathways.own().iter().map(|&pathway| pathway.to_owned()));
    }
    document
}

fn push_once(pathways: &mut Vec<String>, pathway: &str) {
    if pathways.iter().all(|known| known != pathway) {
        pathways.push(pathway.to_owned());
    }
}
