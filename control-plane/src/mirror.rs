//! Keeps the [`Fleet`] in memory as the database is: at the start, and whenever another process has changed something.
//!
//! The database is the truth; what a report changes goes there first. Publishing and the registry's commands are other processes, and several
//! control planes may share one PostgreSQL, so the mirror looks at two counters and at the revisions of inventories, and reads again what
//! has changed. Bundles are numbered here, anew at every start; a number is never used for another bundle, and when they run out a new fleet is
//! built.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use control_client::content::BundleKey;
use control_client::fleet::ApplianceName;
use control_client::report::InventoryReport;
use tokio::sync::Mutex;

use crate::catalogue::Catalogue;
use crate::database::{self, Database, DatabaseError, maybe_number, text};
use crate::fleet::{Fleet, MemberUpdate};
use crate::registry::{self, Appliance};

/// The fleet, and how far it follows the database.
pub struct Mirror {
    fleet: ArcSwap<Fleet>,
    origin_urls: Vec<String>,
    seen: Mutex<Seen>,
}

/// What was read last.
#[derive(Default)]
struct Seen {
    fleet: Option<u64>,
    catalogue: Option<u64>,
    bundles: HashSet<BundleKey>,
    next_number: u32,
}

/// What a refresh found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refreshed {
    /// All appliances, where sites, appliances or orders have changed.
    pub appliances: Option<Vec<Appliance>>,
    /// Whether titles have changed.
    pub catalogue: bool,
}

impl Mirror {
    /// A mirror that has seen nothing yet. `origin_urls` are where clients are sent as a last resort.
    pub fn new(origin_urls: Vec<String>) -> Self {
        let fleet = ArcSwap::from_pointee(Fleet::new(origin_urls.clone()));
        Self { fleet, origin_urls, seen: Mutex::default() }
    }

    /// The fleet as it is now.
    pub fn fleet(&self) -> Arc<Fleet> {
        self.fleet.load_full()
    }

    /// Reads what has changed since the last time.
    pub async fn refresh(&self, database: &Database) -> Result<Refreshed, DatabaseError> {
        let mut seen = self.seen.lock().await;
        let mut refreshed = Refreshed::default();
        // The counters first: what changes while the rest is read is read again next time.
        let catalogue = database::counter(database, "catalogue").await?;
        let fleet = database::counter(database, "fleet").await?;
        if seen.catalogue != Some(catalogue) {
            let bundles: HashSet<BundleKey> =
                Catalogue::read(database).await?.bundles.into_iter().map(|bundle| bundle.key).collect();
            let (left_out, next) = follow_catalogue(&self.fleet(), &bundles, &seen.bundles, seen.next_number);
            seen.next_number = next;
            if left_out > 0 && !seen.bundles.is_empty() {
                seen.next_number = self.rebuild(database, &bundles).await?;
            }
            seen.bundles = bundles;
            seen.catalogue = Some(catalogue);
            refreshed.catalogue = true;
        }
        if seen.fleet != Some(fleet) {
            refreshed.appliances = Some(read_appliances(database, &self.fleet()).await?);
            seen.fleet = Some(fleet);
        }
        Ok(refreshed)
    }

    /// Reads inventories whose revision is another than the one in memory: told to another control plane, or before bundles came into the
    /// catalogue.
    pub async fn follow_inventories(&self, database: &Database) -> Result<(), DatabaseError> {
        let fleet = self.fleet();
        for row in database.read("SELECT name, inventory_revision FROM appliances", vec![]).await? {
            let Ok(name) = ApplianceName::parse(&text(&row, 0)?) else { continue };
            let revision = maybe_number(&row, 1)?;
            if revision.is_some() && fleet.inventory_revision(&name) != revision {
                read_inventory(database, &fleet, &name).await?;
            }
        }
        Ok(())
    }

    /// Applies an inventory that the database has taken; `revision` is the one that it has now.
    pub async fn apply_inventory(
        &self,
        database: &Database,
        name: &ApplianceName,
        report: &InventoryReport,
        revision: Option<u64>,
    ) -> Result<(), DatabaseError> {
        let fleet = self.fleet();
        let _ = fleet.apply_inventory(name, report);
        if revision.is_some() && fleet.inventory_revision(name) != revision {
            read_inventory(database, &fleet, name).await?;
        }
        Ok(())
    }

    /// A new fleet, which has the numbers of all bundles that there are, and not of those that there were.
    async fn rebuild(&self, database: &Database, bundles: &HashSet<BundleKey>) -> Result<u32, DatabaseError> {
        let (old, new) = (self.fleet(), Fleet::new(self.origin_urls.clone()));
        let (left_out, next) = follow_catalogue(&new, bundles, &HashSet::new(), 0);
        if left_out > 0 {
            tracing::error!("the catalogue has more bundles than can be steered to: divide it");
        }
        for appliance in read_appliances(database, &new).await? {
            if let Some((_, member)) = old.appliance(&appliance.name) {
                let standing = Some(member.standing.clone());
                new.update(&appliance.name, MemberUpdate { standing, utilisation: Some(member.utilisation) });
            }
        }
        self.fleet.store(Arc::new(new));
        Ok(next)
    }
}

/// How many bundles had no number left, and the number that comes next.
fn follow_catalogue(
    fleet: &Fleet,
    bundles: &HashSet<BundleKey>,
    before: &HashSet<BundleKey>,
    next_number: u32,
) -> (usize, u32) {
    for gone in before.difference(bundles) {
        fleet.remove_bundle(gone);
    }
    let new: Vec<(BundleKey, u32)> = bundles.difference(before).cloned().zip(next_number..).collect();
    let next = next_number.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
    (fleet.add_bundles(new), next)
}

async fn read_appliances(database: &Database, fleet: &Fleet) -> Result<Vec<Appliance>, DatabaseError> {
    if let Err(error) = fleet.set_sites(registry::site_facts(database).await?) {
        // The registry's commands refuse such sites; two of them at the same moment may still make some.
        tracing::error!(%error, "the sites cannot be so: the last ones stay in force");
    }
    let appliances = registry::appliances(database).await?;
    for appliance in &appliances {
        let placed = fleet.appliance(&appliance.name);
        let is_same = placed.as_ref().is_some_and(|(site, member)| {
            *site == appliance.site && member.urls[..] == appliance.serve_urls[..]
        });
        if is_same {
            continue;
        }
        if let Err(error) = fleet.place(&appliance.name, &appliance.site, appliance.serve_urls.clone()) {
            tracing::error!(appliance = %appliance.name, %error, "an appliance cannot be steered to");
        } else if placed.is_none() {
            read_inventory(database, fleet, &appliance.name).await?;
        }
    }
    Ok(appliances)
}

async fn read_inventory(
    database: &Database,
    fleet: &Fleet,
    name: &ApplianceName,
) -> Result<(), DatabaseError> {
    let sql = "SELECT inventory_revision FROM appliances WHERE name = $1";
    // The revision first: if the rows are newer, the next look finds another revision, and reads once more.
    let row = database.read_one(sql, vec![name.as_str().into()]).await?;
    let Some(revision) = row.map(|row| maybe_number(&row, 0)).transpose()?.flatten() else { return Ok(()) };
    let held = registry::holdings(database, name).await?;
    let numbers = held
        .into_iter()
        .filter_map(|held| fleet.number_of(&BundleKey { path: held.path, generation: held.generation }));
    fleet.restore_inventory(name, revision, numbers.collect());
    Ok(())
}
