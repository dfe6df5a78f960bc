//! Keeps the [`Fleet`] in memory as the database is: at the start, and whenever another process has changed
//! something.
//!
//! The database is the truth; what a report changes goes there first. Publishing and the registry's commands
//! are other processes, and several control planes may share one PostgreSQL, so the mirror looks at two
//! counters and at the revisions of inventories, and reads again what has changed. Bundles are numbered here,
//! anew at every start; a number is never used for another bundle, and when they run out a new fleet is
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

    /// Reads inventories whose revision is another than the one in memory: told to another control plane, or
    /// before bundles came into the catalogue.
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

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};
    use control_client::fleet::{RegionName, SiteName, TitleName};
    use control_client::report::{HeldBundle, Report};

    use super::*;
    use crate::catalogue::{self, CataloguedBundle, Title};
    use crate::fleet::SiteFacts;
    use crate::hysteresis::Standing;
    use crate::limits::BUNDLE_NUMBERS_MAX;

    async fn publish(database: &Database, path: &str) -> BundleKey {
        let name = TitleName::parse("film").unwrap();
        let key = BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1) };
        let title = Title {
            name: name.clone(),
            regions: vec![],
            published_at: 1,
            release_at: None,
            expires_at: None,
            pinned: false,
            similar_to: None,
            tags: vec![],
            seasons: vec![],
        };
        let descriptor = control_client::digest::sha256(path.as_bytes());
        let bundle = CataloguedBundle { key: key.clone(), title: name, bytes: 1, objects: 1, descriptor };
        let mut change = database.change().await.unwrap();
        change.count("catalogue").await.unwrap();
        catalogue::put_title(&mut change, &title).await.unwrap();
        catalogue::put_bundle(&mut change, &bundle, path.to_owned()).await.unwrap();
        change.commit().await.unwrap();
        key
    }

    fn report(appliance: &ApplianceName, bundles: &[&BundleKey]) -> Report {
        let held =
            |key: &&BundleKey| HeldBundle { path: key.path.clone(), generation: key.generation, bytes: 1 };
        Report {
            version: Default::default(),
            appliance: appliance.clone(),
            instance: "one".to_owned(),
            sequence: 1,
            at: 1,
            health: None,
            load: None,
            inventory: Some(InventoryReport::Full {
                revision: 3,
                bundles: bundles.iter().map(held).collect(),
            }),
            demand: vec![],
            runs: vec![],
            manifest_sequence: 0,
            manifest_refused: None,
            directives: vec![],
            dropped: Default::default(),
        }
    }

    #[tokio::test]
    async fn when_numbers_run_out_a_new_fleet_knows_all_that_the_old_one_knew() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("state.db").display());
        let database = Database::open(&url).await.unwrap();
        let (site, name) = (SiteName::parse("edge").unwrap(), ApplianceName::parse("oca-1").unwrap());
        let region = RegionName::parse("north").unwrap();
        let facts = SiteFacts { name: site.clone(), region, upstream: None, prefixes: vec![] };
        registry::add_site(&database, facts).await.unwrap();
        registry::add_appliance(&database, &name, &site).await.unwrap();
        let first = publish(&database, "/film/a").await;
        registry::accept(&database, &name, &report(&name, &[&first]), 1).await.unwrap();
        let mirror = Mirror::new(vec![]);
        mirror.refresh(&database).await.unwrap();
        let standing = Some(Standing::Serving);
        mirror.fleet().update(&name, MemberUpdate { standing, utilisation: None });
        mirror.seen.lock().await.next_number = BUNDLE_NUMBERS_MAX;
        let second = publish(&database, "/film/b").await;
        let before = mirror.fleet();
        mirror.refresh(&database).await.unwrap();
        let fleet = mirror.fleet();
        assert!(!Arc::ptr_eq(&before, &fleet));
        let (first, second) = (fleet.number_of(&first).unwrap(), fleet.number_of(&second).unwrap());
        assert_eq!(first + second, 1, "numbered from 0 again");
        let (_, member) = fleet.appliance(&name).unwrap();
        assert!(member.standing.is_serving() && member.held.contains(first) && !member.held.contains(second));
        assert_eq!(fleet.inventory_revision(&name), Some(3));
    }
}
