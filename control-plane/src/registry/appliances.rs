use control_client::content::{BundleKey, BundlePath, Generation, Sha256};
use control_client::fill::FillRun;
use control_client::fleet::{ApplianceName, RegionName, SiteName};
use control_client::health::HealthReport;
use control_client::load::Load;
use control_client::report::HeldBundle;
use control_client::units::BitRate;
use sqlx::any::AnyRow;

use crate::catalogue::parsed;
use crate::database::{Database, DatabaseError, maybe_number, maybe_text, number, text};
use crate::limits;

/// One appliance as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// Its name.
    pub name: ApplianceName,
    /// Where it is.
    pub site: SiteName,
    /// Its site's region.
    pub region: RegionName,
    /// Whether an operator has ordered it to drain, and not yet to serve again.
    pub withdrawn: bool,
    /// When it last enrolled, in seconds since 1970.
    pub enrolled_at: Option<u64>,
    /// Its release.
    pub release: String,
    /// Where clients and peers reach it.
    pub serve_urls: Vec<String>,
    /// Where its health is polled.
    pub admin_url: String,
    /// The bytes that bundles may take on it.
    pub capacity_bytes: u64,
    /// The number of its newest report.
    pub report_sequence: u64,
    /// When that came, in seconds since 1970.
    pub reported_at: Option<u64>,
    /// What it told of its health.
    pub health: Option<HealthReport>,
    /// What it told of its load.
    pub load: Option<Load>,
    /// The revision of its inventory that is known.
    pub inventory_revision: Option<u64>,
    /// The manifest that is in force there.
    pub manifest_sequence: u64,
    /// Why it refused the last manifest that came, where it did.
    pub manifest_refused: Option<String>,
    /// What its links carry towards clients, where its operator said.
    pub link: Option<BitRate>,
    /// The last verdict, a word of [`crate::hysteresis::Standing::as_str`].
    pub standing: String,
}

const COLUMNS: &str = "appliances.name, site, sites.region, withdrawn, enrolled_at, release, serve_urls, admin_url, \
     capacity_bytes, report_sequence, reported_at, health, load, inventory_revision, manifest_sequence, manifest_refused, standing, \
     link_bits_per_second FROM appliances JOIN sites ON sites.name = appliances.site";

/// What is kept of an appliance's token.
pub async fn token_digest(
    database: &Database,
    name: &ApplianceName,
) -> Result<Option<Sha256>, DatabaseError> {
    let sql = "SELECT token_sha256 FROM appliances WHERE name = $1";
    match database.read_one(sql, vec![name.as_str().into()]).await? {
        Some(row) => Ok(Sha256::parse(&text(&row, 0)?).ok()),
        None => Ok(None),
    }
}

/// Whose token has this digest.
pub async fn appliance_of_token(
    database: &Database,
    digest: &Sha256,
) -> Result<Option<ApplianceName>, DatabaseError> {
    let sql = "SELECT name FROM appliances WHERE token_sha256 = $1";
    match database.read_one(sql, vec![digest.to_string().into()]).await? {
        Some(row) => Ok(Some(parsed("an appliance's name", ApplianceName::parse(&text(&row, 0)?))?)),
        None => Ok(None),
    }
}

/// All appliances, sorted by name.
pub async fn appliances(database: &Database) -> Result<Vec<Appliance>, DatabaseError> {
    let rows = database.read(&format!("SELECT {COLUMNS}"), vec![]).await?;
    let mut appliances = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    appliances.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(appliances)
}

/// One appliance.
pub async fn appliance(
    database: &Database,
    name: &ApplianceName,
) -> Result<Option<Appliance>, DatabaseError> {
    let sql = format!("SELECT {COLUMNS} WHERE appliances.name = $1");
    database.read_one(&sql, vec![name.as_str().into()]).await?.as_ref().map(read).transpose()
}

/// What an appliance serves, sorted.
pub async fn holdings(database: &Database, name: &ApplianceName) -> Result<Vec<HeldBundle>, DatabaseError> {
    let sql = "SELECT path, generation, bytes FROM holdings WHERE appliance = $1";
    let mut held = database.read_each(sql, vec![name.as_str().into()], held_bundle).await?;
    held.sort_unstable();
    Ok(held)
}

pub(super) fn held_bundle(row: &AnyRow) -> Result<HeldBundle, DatabaseError> {
    Ok(HeldBundle {
        path: parsed("a bundle's path", BundlePath::parse(&text(row, 0)?))?,
        generation: Generation::new(number(row, 1)?),
        bytes: number(row, 2)?,
    })
}

pub(super) fn held_key(bundle: &HeldBundle) -> BundleKey {
    BundleKey { path: bundle.path.clone(), generation: bundle.generation }
}

/// The last runs of an appliance, the newest first.
pub async fn runs(database: &Database, name: &ApplianceName) -> Result<Vec<FillRun>, DatabaseError> {
    let sql = "SELECT document FROM runs WHERE appliance = $1 ORDER BY ended_at DESC, run DESC LIMIT $2";
    let rows = database.read(sql, vec![name.as_str().into(), (limits::RUNS_KEPT as u64).into()]).await?;
    rows.iter().map(|row| parsed("a run", serde_json::from_str(&text(row, 0)?))).collect()
}

/// Remembers how an appliance stands, for the next start of a control plane.
pub async fn set_standing(
    database: &Database,
    name: &ApplianceName,
    standing: &str,
) -> Result<(), DatabaseError> {
    let mut change = database.change().await?;
    let sql = "UPDATE appliances SET standing = $1 WHERE name = $2 AND standing <> $1";
    change.execute(sql, vec![standing.into(), name.as_str().into()]).await?;
    change.commit().await
}

fn read(row: &AnyRow) -> Result<Appliance, DatabaseError> {
    // What another release wrote of health and load, and this one cannot read, is as if it had not been told.
    let health = maybe_text(row, 11)?.and_then(|document| serde_json::from_str(&document).ok());
    let load = maybe_text(row, 12)?.and_then(|document| serde_json::from_str(&document).ok());
    Ok(Appliance {
        name: parsed("an appliance's name", ApplianceName::parse(&text(row, 0)?))?,
        site: parsed("a site's name", SiteName::parse(&text(row, 1)?))?,
        region: parsed("a region's name", RegionName::parse(&text(row, 2)?))?,
        withdrawn: number(row, 3)? != 0,
        enrolled_at: maybe_number(row, 4)?,
        release: text(row, 5)?,
        serve_urls: parsed("an appliance's URLs", serde_json::from_str(&text(row, 6)?))?,
        admin_url: text(row, 7)?,
        capacity_bytes: number(row, 8)?,
        report_sequence: number(row, 9)?,
        reported_at: maybe_number(row, 10)?,
        health,
        load,
        inventory_revision: maybe_number(row, 13)?,
        manifest_sequence: number(row, 14)?,
        manifest_refused: maybe_text(row, 15)?,
        standing: text(row, 16)?,
        link: Some(number(row, 17)?).filter(|&link| link > 0).map(BitRate::new),
    })
}
