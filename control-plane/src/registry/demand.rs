use std::collections::{BTreeMap, BTreeSet};

use control_client::content::BundlePath;
use control_client::fleet::ApplianceName;
use control_client::report::{DayDemand, Report};

use crate::database::{Change, DatabaseError, Value};
use crate::limits;
use crate::popularity::DAY_SECONDS;

/// Adds up what clients asked for, and notes that the appliance has told of these days.
pub(super) async fn add(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    site: &str,
    report: &Report,
    now: u64,
) -> Result<(), DatabaseError> {
    let today = u32::try_from(now / DAY_SECONDS).unwrap_or(u32::MAX);
    let mut days: BTreeSet<u32> = BTreeSet::from([today]);
    let mut rows = Vec::new();
    let mut of_site: BTreeMap<u32, u64> = BTreeMap::new();
    for ((day, path), told) in add_up(&report.demand, today) {
        days.insert(day);
        let sum = of_site.entry(day).or_default();
        *sum = sum.saturating_add(told.bytes).min(limits::DEMAND_MAX);
        rows.push(vec![
            Value::from(site),
            path.as_str().into(),
            u64::from(day).into(),
            told.requests.into(),
            told.bytes.into(),
            told.absent.into(),
        ]);
    }
    // Sorted, so that two reports lock common rows in one order. Directories that no title has are passed
    // over: anybody may ask for those.
    let sql = "INSERT INTO demand (region, path, day, requests, bytes, absent) \
               SELECT sites.region, column2, column3, column4, column5, column6 FROM (VALUES {rows}) AS told \
               JOIN sites ON sites.name = column1 WHERE EXISTS (SELECT 1 FROM bundles WHERE bundles.path = column2) \
               ORDER BY column3, column2 ON CONFLICT (region, path, day) DO UPDATE SET {requests}, {bytes}, {absent}";
    let sum = |column| bounded_sum("demand", column);
    let sql = sql
        .replace("{requests}", &sum("requests"))
        .replace("{bytes}", &sum("bytes"))
        .replace("{absent}", &sum("absent"));
    change.execute_many(&sql, 6, rows).await?;
    let rows = of_site
        .into_iter()
        .map(|(day, bytes)| vec![site.into(), u64::from(day).into(), bytes.into()])
        .collect();
    let sql = "INSERT INTO site_demand (site, day, bytes) VALUES {rows} \
               ON CONFLICT (site, day) DO UPDATE SET {bytes}";
    let sql = sql.replace("{bytes}", &bounded_sum("site_demand", "bytes"));
    change.execute_many(&sql, 3, rows).await?;
    let rows =
        days.iter().map(|day| vec![appliance.as_str().into(), u64::from(*day).into(), site.into()]).collect();
    let sql = "INSERT INTO reported_days (appliance, day, region) \
               SELECT column1, column2, sites.region FROM (VALUES {rows}) AS told JOIN sites ON sites.name = column3 \
               WHERE column2 >= 0 ON CONFLICT (appliance, day) DO NOTHING";
    change.execute_many(sql, 3, rows).await
}

/// Adds to what is there, up to a bound: a sum that no database holds would be the end of every later one.
fn bounded_sum(table: &str, column: &str) -> String {
    let most = limits::DEMAND_SUM_MAX;
    format!(
        "{column} = CASE WHEN {table}.{column} > {most} - excluded.{column} THEN {most} ELSE {table}.{column} + excluded.{column} END"
    )
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    requests: u64,
    bytes: u64,
    absent: u64,
}

/// Demand by day and directory. A day to come, or one that is not kept any more, is a clock that is wrong: it
/// counts as today.
fn add_up(demand: &[DayDemand], today: u32) -> BTreeMap<(u32, &BundlePath), Told> {
    let mut sums: BTreeMap<(u32, &BundlePath), Told> = BTreeMap::new();
    for day in demand {
        let is_kept = today.checked_sub(day.day).is_some_and(|age| age < limits::DEMAND_DAYS_KEPT);
        let number = if is_kept { day.day } else { today };
        for path in &day.paths {
            let sum = sums.entry((number, &path.path)).or_default();
            sum.requests = sum.requests.saturating_add(path.requests).min(limits::DEMAND_MAX);
            sum.bytes = sum.bytes.saturating_add(path.bytes).min(limits::DEMAND_MAX);
            sum.absent = sum.absent.saturating_add(path.absent).min(limits::DEMAND_MAX);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use control_client::demand::PathDemand;

    use super::*;

    #[test]
    fn demand_of_an_impossible_day_counts_as_today_and_sums_are_bounded() {
        let path = BundlePath::parse("/a").unwrap();
        let told = |requests, bytes| PathDemand { path: path.clone(), requests, bytes, absent: 0 };
        let demand = [
            DayDemand { day: 0, paths: vec![told(1, 10)] },
            DayDemand { day: 99_999, paths: vec![told(2, 20), told(3, 30)] },
            DayDemand { day: 19_999, paths: vec![told(u64::MAX, u64::MAX)] },
        ];
        let sums = add_up(&demand, 20_000);
        assert_eq!(sums[&(20_000, &path)], Told { requests: 6, bytes: 60, absent: 0 });
        assert_eq!(sums[&(19_999, &path)].bytes, limits::DEMAND_MAX);
        assert_eq!(sums.len(), 2);
    }
}
