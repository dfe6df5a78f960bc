//! Lists for operators.

use std::collections::BTreeMap;

use control_client::content::{BundlePath, Generation, Sha256};
use control_client::fill::FillRun;
use control_client::fleet::{ApplianceName, RegionName, SiteName, TitleName};
use control_client::health::HealthReport;
use control_client::load::Load;
use control_client::report::HeldBundle;
use control_client::units::BitRate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalogue::{Catalogue, Title};
use crate::database::{Database, DatabaseError};
use crate::plane::ControlPlane;
use crate::registry::{self, Appliance, OrderedDirective};

/// All appliances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplianceList {
    /// By name.
    pub appliances: Vec<ApplianceView>,
}

/// One appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplianceView {
    /// Its name.
    pub name: ApplianceName,
    /// Where it is.
    pub site: SiteName,
    /// Its site's region.
    pub region: RegionName,
    /// How it stands: unknown, serving, unhealthy, unreachable or draining. Only a serving one is steered to.
    pub standing: String,
    /// Why, in words.
    pub why: String,
    /// Since when, in seconds since 1970; 0 where nothing was heard of it.
    pub since: u64,
    /// Whether an operator has ordered it to drain.
    pub withdrawn: bool,
    /// When it last enrolled, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_at: Option<u64>,
    /// Its release.
    pub release: String,
    /// Where clients and peers reach it.
    pub serve_urls: Vec<String>,
    /// Where its health is polled.
    pub admin_url: String,
    /// The bytes that bundles may take on it.
    pub capacity_bytes: u64,
    /// What its links carry towards clients, in bits per second, where its operator said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_bits_per_second: Option<u64>,
    /// When it last reported, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<u64>,
    /// The number of that report.
    pub report_sequence: u64,
    /// The revision of its inventory that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_revision: Option<u64>,
    /// The manifest that is in force there; 0 where none is.
    pub manifest_sequence: u64,
    /// Why it refused the last manifest, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_refused: Option<String>,
    /// What it told of its load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// All that is known of one appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplianceDetail {
    /// What the list shows too.
    pub appliance: ApplianceView,
    /// The newest word on its health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthReport>,
    /// What it serves.
    pub inventory: Vec<HeldBundle>,
    /// The last runs of its agent, the newest first.
    pub runs: Vec<FillRun>,
    /// Orders, the newest first.
    pub directives: Vec<OrderedDirective>,
}

/// All titles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TitleList {
    /// By name.
    pub titles: Vec<TitleView>,
}

/// One title.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TitleView {
    /// What was said of it when it was published.
    pub title: Title,
    /// Its bundles, the newest generation of each path.
    pub bundles: Vec<BundleView>,
}

/// One bundle of a title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleView {
    /// The directory that it serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
    /// The bytes of its objects.
    pub bytes: u64,
    /// How many objects it has.
    pub objects: u64,
    /// The SHA-256 of its descriptor.
    pub descriptor: Sha256,
}

pub(super) async fn appliances(plane: &ControlPlane) -> Result<ApplianceList, DatabaseError> {
    let appliances = registry::appliances(&plane.database).await?;
    Ok(ApplianceList { appliances: appliances.into_iter().map(|appliance| view(plane, appliance)).collect() })
}

pub(super) async fn detail(
    plane: &ControlPlane,
    name: &ApplianceName,
) -> Result<Option<ApplianceDetail>, DatabaseError> {
    let Some(appliance) = registry::appliance(&plane.database, name).await? else { return Ok(None) };
    let told = appliance.health.clone();
    Ok(Some(ApplianceDetail {
        appliance: view(plane, appliance),
        health: plane.standings.get(name).and_then(|tracked| tracked.health).or(told),
        inventory: registry::holdings(&plane.database, name).await?,
        runs: registry::runs(&plane.database, name).await?,
        directives: registry::directives(&plane.database, name).await?,
    }))
}

pub(super) async fn titles(database: &Database) -> Result<TitleList, DatabaseError> {
    let catalogue = Catalogue::read(database).await?;
    let mut bundles: BTreeMap<TitleName, Vec<BundleView>> = BTreeMap::new();
    for (_, bundle) in catalogue.current_places() {
        bundles.entry(bundle.title.clone()).or_default().push(BundleView {
            path: bundle.key.path.clone(),
            generation: bundle.key.generation,
            bytes: bundle.bytes,
            objects: bundle.objects,
            descriptor: bundle.descriptor,
        });
    }
    let titles = catalogue
        .titles
        .into_iter()
        .map(|title| TitleView { bundles: bundles.remove(&title.name).unwrap_or_default(), title })
        .collect();
    Ok(TitleList { titles })
}

fn view(plane: &ControlPlane, appliance: Appliance) -> ApplianceView {
    let tracked = plane.standings.get(&appliance.name).unwrap_or_default();
    let standing = tracked.standing();
    ApplianceView {
        standing: standing.as_str().to_owned(),
        why: standing.to_string(),
        since: tracked.track.since(),
        withdrawn: appliance.withdrawn,
        name: appliance.name,
        site: appliance.site,
        region: appliance.region,
        enrolled_at: appliance.enrolled_at,
        release: appliance.release,
        serve_urls: appliance.serve_urls,
        admin_url: appliance.admin_url,
        capacity_bytes: appliance.capacity_bytes,
        link_bits_per_second: appliance.link.map(BitRate::bits_per_second),
        reported_at: appliance.reported_at,
        report_sequence: appliance.report_sequence,
        inventory_revision: appliance.inventory_revision,
        manifest_sequence: appliance.manifest_sequence,
        manifest_refused: appliance.manifest_refused,
        load: appliance.load,
    }
}
