use std::collections::{BTreeMap, HashMap};

use control_client::content::BundlePath;
use control_client::fleet::{RegionName, SiteName};
use sqlx::any::AnyRow;

use crate::catalogue::{Catalogue, CataloguedBundle, parsed};
use crate::database::{Database, DatabaseError, number, text};
use crate::fleet::SiteFacts;
use crate::limits;
use crate::popularity::{DAY_SECONDS, DAYS, DayBytes, ReportedDay};
use crate::registry::{self, Appliance};

/// What planning starts from.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What there is to watch.
    pub catalogue: Catalogue,
    /// All sites, sorted by name.
    pub sites: Vec<SiteFacts>,
    /// All appliances, sorted by name.
    pub appliances: Vec<Appliance>,
}

/// What was asked for in one region.
#[derive(Clone, Debug, Default)]
pub struct RegionDemand {
    /// How much of the region reported each day.
    pub reported: Vec<ReportedDay>,
    /// Bytes that each of its sites served.
    pub served: BTreeMap<SiteName, u64>,
    by_path: HashMap<BundlePath, Vec<DirectoryDay>>,
}

#[derive(Clone, Copy, Debug)]
struct DirectoryDay {
    day: u32,
    bytes: u64,
    absent: u64,
}

impl Facts {
    /// Reads them.
    pub async fn read(database: &Database) -> Result<Self, DatabaseError> {
        Ok(Self {
            catalogue: Catalogue::read(database).await?,
            sites: registry::site_facts(database).await?,
            appliances: registry::appliances(database).await?,
        })
    }

    /// The regions that have sites, sorted.
    pub fn regions(&self) -> Vec<RegionName> {
        let mut regions: Vec<_> = self.sites.iter().map(|site| site.region.clone()).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// The appliances of a site.
    pub fn appliances_of(&self, site: &SiteName) -> Vec<&Appliance> {
        self.appliances.iter().filter(|appliance| appliance.site == *site).collect()
    }
}

impl RegionDemand {
    /// Reads the last days of one region.
    pub async fn read(
        database: &Database,
        facts: &Facts,
        region: &RegionName,
        now: u64,
    ) -> Result<Self, DatabaseError> {
        let today = now / DAY_SECONDS;
        let first = today.saturating_sub(u64::from(DAYS));
        let mut demand = Self::default();
        let sql = "SELECT path, day, bytes, absent FROM demand WHERE region = $1 AND day >= $2";
        let arguments = vec![region.as_str().into(), first.into()];
        let by_path = &mut demand.by_path;
        let note = |row: &AnyRow| {
            let path = parsed("a bundle's path", BundlePath::parse(&text(row, 0)?))?;
            let day =
                DirectoryDay { day: day(number(row, 1)?), bytes: number(row, 2)?, absent: number(row, 3)? };
            by_path.entry(path).or_default().push(day);
            Ok(())
        };
        database.read_each(sql, arguments, note).await?;
        let enrolled =
            facts.appliances.iter().filter(|one| one.region == *region && one.enrolled_at.is_some()).count();
        let sql = "SELECT day, COUNT(*) FROM reported_days WHERE region = $1 AND day >= $2 GROUP BY day";
        for row in database.read(sql, vec![region.as_str().into(), first.into()]).await? {
            let share = number(&row, 1)? as f64 / enrolled.max(1) as f64;
            demand.reported.push(ReportedDay { day: day(number(&row, 0)?), share: share.min(1.0) });
        }
        let sites = facts.sites.iter().filter(|site| site.region == *region);
        demand.served = sites.map(|site| (site.name.clone(), 0)).collect();
        let sql = "SELECT site, CAST(SUM(bytes) AS BIGINT) FROM site_demand WHERE day >= $1 GROUP BY site";
        for row in database.read(sql, vec![first.into()]).await? {
            let site = parsed("a site's name", SiteName::parse(&text(&row, 0)?))?;
            if let Some(served) = demand.served.get_mut(&site) {
                *served = number(&row, 1)?;
            }
        }
        Ok(demand)
    }

    /// What was asked of a bundle, by day: bytes that were served, and for each request that found no bundle
    /// as much as an object of it has on average.
    pub fn of(&self, bundle: &CataloguedBundle) -> Vec<DayBytes> {
        let object_bytes = bundle.bytes / bundle.objects.max(1);
        let days = self.by_path.get(&bundle.key.path).map(Vec::as_slice).unwrap_or_default();
        days.iter()
            .map(|day| DayBytes {
                day: day.day,
                bytes: day.bytes.saturating_add(day.absent.saturating_mul(object_bytes)),
            })
            .collect()
    }
}

/// Forgets days that nobody looks at any more.
pub(crate) async fn forget_old_days(database: &Database, now: u64) -> Result<(), DatabaseError> {
    let first = (now / DAY_SECONDS).saturating_sub(u64::from(limits::DEMAND_DAYS_KEPT));
    let mut change = database.change().await?;
    for table in ["demand", "site_demand", "reported_days"] {
        change.execute(&format!("DELETE FROM {table} WHERE day < $1"), vec![first.into()]).await?;
    }
    change.commit().await
}

fn day(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
