//! Keeps the [`Fleet`] in memory as the database is: at the start, and whenever another process has changed
//! something.
//!
//! The database is the truth; what a report changes goes there first. Publishing and the registry's commands
//! are other processes, and several control planes may share one PostgreSQL, so the mirror looks at three
//! counters and at the revisions of inventories, and reads again what has changed. Bundles are numbered here,
//! anew at every start; a number is never used for another bundle, and when they run out a new fleet is
//! built.

mod hours;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use control_client::config::ControlPlaneConfig;
use control_client::content::BundleKey;
use control_client::fleet::ApplianceName;
use control_client::report::InventoryReport;
use tokio::sync::Mutex;

use crate::catalogue::Catalogue;
use crate::database::{self, Database, DatabaseError, maybe_number, text};
use crate::fleet::{Fleet, MemberUpdate};
use crate::limits;
use crate::plane::now;
use crate::registry::{self, Appliance};
use crate::steering::TTL_SECONDS;
use hours::Hours;

/// The fleet, and how far it follows the database.
pub struct Mirror {
    fleet: ArcSwap<Fleet>,
    origin_urls: Vec<String>,
    ttl_seconds: [u32; 3],
    seen: Mutex<Seen>,
}

/// What was read last.
#[derive(Default)]
struct Seen {
    sites: Option<u64>,
    fleet: Option<u64>,
    catalogue: Option<u64>,
    bundles: HashSet<BundleKey>,
    next_number: u32,
    /// Bundles that came into the catalogue after inventories were read: who held them already is still to be found out.
    unread: Vec<BundleKey>,
    hours: Hours,
}

/// What a refresh found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refreshed {
    /// All appliances, where these or orders for them have changed.
    pub appliances: Option<Vec<Appliance>>,
    /// Whether sites or prefixes have changed.
    pub sites: bool,
    /// Whether titles have changed.
    pub catalogue: bool,
}

impl Mirror {
    /// A mirror that has seen nothing yet. `origin_urls` are where clients are sent as a last resort.
    pub fn new(origin_urls: Vec<String>) -> Self {
        let fleet = ArcSwap::from_pointee(Fleet::new(origin_urls.clone()));
        Self { fleet, origin_urls, ttl_seconds: TTL_SECONDS, seen: Mutex::default() }
    }

    /// A mirror of what a control plane with this configuration answers from.
    pub fn of(config: &ControlPlaneConfig) -> Self {
        let mirror = Self { ttl_seconds: config.ttl_seconds(), ..Self::new(config.client_origins.clone()) };
        mirror.fleet.store(Arc::new(mirror.empty_fleet()));
        mirror
    }

    fn empty_fleet(&self) -> Fleet {
        Fleet::new(self.origin_urls.clone()).with_ttl(self.ttl_seconds)
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
        let sites = database::counter(database, "sites").await?;
        let fleet = database::counter(database, "fleet").await?;
        if seen.catalogue != Some(catalogue) {
            self.follow_catalogue(database, &mut seen).await?;
            seen.catalogue = Some(catalogue);
            refreshed.catalogue = true;
        }
        if seen.sites != Some(sites) {
            read_sites(database, &self.fleet()).await?;
            seen.sites = Some(sites);
            refreshed.sites = true;
        }
        if seen.fleet != Some(fleet) {
            refreshed.appliances = Some(read_appliances(database, &self.fleet()).await?);
            seen.fleet = Some(fleet);
        }
        if let Some(closed) = seen.hours.closed(now()) {
            self.fleet().set_closed(closed);
        }
        Ok(refreshed)
    }

    /// Reads inventories whose revision is another than the one in memory, because they were told to another
    /// control plane, and those of appliances that held bundles before these came into the catalogue.
    pub async fn follow_inventories(&self, database: &Database) -> Result<(), DatabaseError> {
        let fleet = self.fleet();
        for name in self.early_holders(database).await? {
            read_inventory(database, &fleet, &name).await?;
        }
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

    async fn follow_catalogue(&self, database: &Database, seen: &mut Seen) -> Result<(), DatabaseError> {
        let catalogue = Catalogue::read(database).await?;
        seen.hours = Hours::of(&catalogue);
        let bundles = newest_first(&catalogue);
        let is_first = seen.catalogue.is_none();
        let (mut left_out, next) = follow_bundles(&self.fleet(), &bundles, &seen.bundles, seen.next_number);
        seen.next_number = next;
        if left_out > 0 && !is_first {
            (left_out, seen.next_number) = self.rebuild(database, &bundles).await?;
            seen.unread.clear();
        } else if !is_first {
            let new = bundles.iter().filter(|bundle| !seen.bundles.contains(*bundle));
            seen.unread.extend(new.cloned());
        }
        if left_out > 0 {
            tracing::error!(left_out, "the catalogue has more bundles than can be steered to: divide it");
        }
        seen.bundles = bundles.into_iter().collect();
        Ok(())
    }

    /// Appliances that held bundles before these came into the catalogue; some of these bundles each time.
    async fn early_holders(&self, database: &Database) -> Result<BTreeSet<ApplianceName>, DatabaseError> {
        let bundles: Vec<BundleKey> = {
            let mut seen = self.seen.lock().await;
            let some = seen.unread.len().min(limits::EARLY_HOLDERS_BUNDLES);
            seen.unread.drain(..some).collect()
        };
        let mut holders = BTreeSet::new();
        for (place, bundle) in bundles.iter().enumerate() {
            // By the key of each, which begins with the appliance.
            let sql = "SELECT appliances.name FROM appliances JOIN holdings ON holdings.appliance = appliances.name \
                       AND holdings.path = $1 AND holdings.generation = $2";
            let key = vec![bundle.path.as_str().into(), bundle.generation.number().into()];
            match database.read(sql, key).await {
                Ok(rows) => {
                    for row in rows {
                        holders.extend(ApplianceName::parse(&text(&row, 0)?));
                    }
                }
                Err(error) => {
                    self.seen.lock().await.unread.extend_from_slice(&bundles[place..]);
                    return Err(error);
                }
            }
        }
        Ok(holders)
    }

    /// A new fleet, which has the numbers of all bundles that there are, and not of those that there were. How many had no number
    /// left, and the number that comes next.
    async fn rebuild(
        &self,
        database: &Database,
        bundles: &[BundleKey],
    ) -> Result<(usize, u32), DatabaseError> {
        let (old, new) = (self.fleet(), self.empty_fleet());
        let numbered = follow_bundles(&new, bundles, &HashSet::new(), 0);
        read_sites(database, &new).await?;
        for appliance in read_appliances(database, &new).await? {
            if let Some((_, member)) = old.appliance(&appliance.name) {
                let standing = Some(member.standing.clone());
                new.update(&appliance.name, MemberUpdate { standing, utilisation: Some(member.utilisation) });
            }
        }
        self.fleet.store(Arc::new(new));
        Ok(numbered)
    }
}

/// The newest generation of every path, then older ones: in that order they get numbers.
fn newest_first(catalogue: &Catalogue) -> Vec<BundleKey> {
    let current: HashSet<usize> = catalogue.current_places().map(|(place, _)| place).collect();
    let (newest, older): (Vec<_>, Vec<_>) =
        catalogue.bundles.iter().enumerate().partition(|(place, _)| current.contains(place));
    newest.into_iter().chain(older).map(|(_, bundle)| bundle.key.clone()).collect()
}

/// How many bundles had no number left, and the number that comes next.
fn follow_bundles(
    fleet: &Fleet,
    bundles: &[BundleKey],
    before: &HashSet<BundleKey>,
    next_number: u32,
) -> (usize, u32) {
    let now: HashSet<&BundleKey> = bundles.iter().collect();
    for gone in before.iter().filter(|bundle| !now.contains(bundle)) {
        fleet.remove_bundle(gone);
    }
    let new = bundles.iter().filter(|bundle| !before.contains(*bundle));
    let new: Vec<(BundleKey, u32)> = new.cloned().zip(next_number..).collect();
    let next = next_number.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
    (fleet.add_bundles(new), next)
}

async fn read_sites(database: &Database, fleet: &Fleet) -> Result<(), DatabaseError> {
    if let Err(error) = fleet.set_sites(registry::site_facts(database).await?) {
        // The registry's commands refuse such sites.
        tracing::error!(%error, "the sites cannot be so: the last ones stay in force");
    }
    Ok(())
}

async fn read_appliances(database: &Database, fleet: &Fleet) -> Result<Vec<Appliance>, DatabaseError> {
    let appliances = registry::appliances(database).await?;
    for name in fleet.names() {
        if appliances.binary_search_by(|appliance| appliance.name.cmp(&name)).is_err() {
            fleet.remove(&name);
        }
    }
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

#[cfg(test)]
mod tests;
