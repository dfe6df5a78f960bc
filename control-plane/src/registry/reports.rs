use std::collections::{BTreeMap, BTreeSet};

use control_client::content::BundlePath;
use control_client::fleet::ApplianceName;
use control_client::report::{DayDemand, Directive, Report};
use control_client::wire::DocumentVersion;

use super::RegistryError;
use super::directives;
use super::inventory::{self, InventoryOutcome};
use crate::database::{Change, Database, DatabaseError, Value, maybe_number, maybe_text, number, text};
use crate::limits;
use crate::popularity::DAY_SECONDS;

/// What the number of a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It was not seen before.
    New,
    /// It was not seen before, and its sender begins to count anew.
    NewInstance,
    /// It is the newest one, once more: its acknowledgement was lost. What it counts is counted already; what
    /// it tells of the present holds.
    Repeated,
    /// It is an older one, late. Nothing in it is news.
    Late,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whether it was new.
    pub novelty: Novelty,
    /// What became of its inventory.
    pub inventory: InventoryOutcome,
    /// The revision of the inventory that is known now.
    pub inventory_revision: Option<u64>,
    /// The newest manifest for the appliance; 0 where there is none.
    pub manifest_sequence: u64,
    /// What the appliance has still to do.
    pub directives: Vec<Directive>,
}

/// Decides what the number of a report says, from the newest one that is known.
pub fn novelty(known: Option<(&str, u64)>, instance: &str, sequence: u64) -> Novelty {
    match known {
        None => Novelty::New,
        Some((known, _)) if known != instance => Novelty::NewInstance,
        Some((_, newest)) if sequence > newest => Novelty::New,
        Some((_, newest)) if sequence == newest => Novelty::Repeated,
        Some(_) => Novelty::Late,
    }
}

/// Takes a report: all of it, or nothing.
pub async fn accept(
    database: &Database,
    appliance: &ApplianceName,
    report: &Report,
    now: u64,
) -> Result<Accepted, RegistryError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match accept_once(database, appliance, report, now).await {
            // Reports of one region add to the same rows. They do so in one order, as far as it is ours to say.
            Err(RegistryError::Database(error)) if error.is_conflict() && tries < limits::CONFLICT_TRIES => {}
            other => return other,
        }
    }
}

async fn accept_once(
    database: &Database,
    appliance: &ApplianceName,
    report: &Report,
    now: u64,
) -> Result<Accepted, RegistryError> {
    check(appliance, report).map_err(RegistryError::Refused)?;
    let mut change = database.change().await?;
    // Changes the row before anything is read of it: another report of the same appliance waits here.
    let sql = "UPDATE appliances SET reported_at = $1 WHERE name = $2 RETURNING instance, report_sequence, inventory_revision, site";
    let row = change.row(sql, vec![now.into(), appliance.as_str().into()]).await?;
    let row = row.ok_or_else(|| RegistryError::UnknownAppliance(appliance.clone()))?;
    let (instance, newest) = (maybe_text(&row, 0)?, number(&row, 1)?);
    let known_revision = maybe_number(&row, 2)?;
    let site = text(&row, 3)?;
    let novelty =
        novelty(instance.as_deref().map(|known| (known, newest)), &report.instance, report.sequence);

    if matches!(novelty, Novelty::New | Novelty::NewInstance) {
        count(&mut change, appliance, &site, report, now).await?;
    }
    let (inventory, inventory_revision) = if novelty == Novelty::Late {
        (InventoryOutcome::NotTold, known_revision)
    } else {
        note_present(&mut change, appliance, report, novelty, known_revision).await?
    };
    directives::note_results(&mut change, appliance, &report.directives, now).await?;
    let directives = directives::waiting(&mut change, appliance).await?;
    let manifest_sequence = manifest_sequence(&mut change, appliance).await?;
    change.commit().await?;
    Ok(Accepted { novelty, inventory, inventory_revision, manifest_sequence, directives })
}

fn check(appliance: &ApplianceName, report: &Report) -> Result<(), String> {
    let DocumentVersion = report.version;
    if report.appliance != *appliance {
        return Err(format!("the report is of {}, and came from {appliance}", report.appliance));
    }
    if !is_token(&report.instance) || report.runs.iter().any(|run| !is_token(&run.run)) {
        return Err(format!(
            "instance and run have 1 to {} bytes without control characters",
            limits::TEXT_BYTES_MAX
        ));
    }
    if report.sequence == 0 || i64::try_from(report.sequence).is_err() {
        return Err("reports are numbered from 1".to_owned());
    }
    if report.demand.len() > limits::REPORT_DAYS_MAX {
        return Err(format!("demand of more than {} days", limits::REPORT_DAYS_MAX));
    }
    if report.demand.iter().map(|day| day.paths.len()).sum::<usize>() > limits::REPORT_PATHS_MAX {
        return Err(format!("demand for more than {} directories", limits::REPORT_PATHS_MAX));
    }
    if report.runs.len() > limits::REPORT_RUNS_MAX || report.directives.len() > limits::DIRECTIVES_KEPT {
        return Err(format!("more than {} runs, or results of directives", limits::REPORT_RUNS_MAX));
    }
    Ok(())
}

fn is_token(text: &str) -> bool {
    (1..=limits::TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// What is added up: each report once.
async fn count(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    site: &str,
    report: &Report,
    now: u64,
) -> Result<(), RegistryError> {
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
               ORDER BY column3, column2 ON CONFLICT (region, path, day) DO UPDATE SET requests = demand.requests + excluded.requests, \
               bytes = demand.bytes + excluded.bytes, absent = demand.absent + excluded.absent";
    change.execute_many(sql, 6, rows).await?;
    let rows = of_site
        .into_iter()
        .map(|(day, bytes)| vec![site.into(), u64::from(day).into(), bytes.into()])
        .collect();
    let sql = "INSERT INTO site_demand (site, day, bytes) VALUES {rows} \
               ON CONFLICT (site, day) DO UPDATE SET bytes = site_demand.bytes + excluded.bytes";
    change.execute_many(sql, 3, rows).await?;
    let rows = days.iter().map(|day| vec![appliance.as_str().into(), u64::from(*day).into()]).collect();
    let sql =
        "INSERT INTO reported_days (appliance, day) VALUES {rows} ON CONFLICT (appliance, day) DO NOTHING";
    change.execute_many(sql, 2, rows).await?;
    keep_runs(change, appliance, report).await?;
    let sql = "UPDATE appliances SET instance = $1, report_sequence = $2 WHERE name = $3";
    let arguments = vec![report.instance.as_str().into(), report.sequence.into(), appliance.as_str().into()];
    change.execute(sql, arguments).await?;
    Ok(())
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

async fn keep_runs(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    report: &Report,
) -> Result<(), RegistryError> {
    for run in &report.runs {
        let document =
            serde_json::to_string(run).expect("a run holds only texts and numbers, which JSON can say");
        if document.len() > limits::RUN_BYTES_MAX {
            return Err(RegistryError::Refused("a run is larger than any can be".to_owned()));
        }
        let sql = "INSERT INTO runs (appliance, run, ended_at, document) VALUES ($1, $2, $3, $4) ON CONFLICT (appliance, run) DO NOTHING";
        let arguments =
            vec![appliance.as_str().into(), run.run.as_str().into(), run.ended_at.into(), document.into()];
        change.execute(sql, arguments).await?;
    }
    if !report.runs.is_empty() {
        let sql = "DELETE FROM runs WHERE appliance = $1 AND run NOT IN \
                   (SELECT run FROM runs WHERE appliance = $1 ORDER BY ended_at DESC, run DESC LIMIT $2)";
        change.execute(sql, vec![appliance.as_str().into(), (limits::RUNS_KEPT as u64).into()]).await?;
    }
    Ok(())
}

/// What is told of the present: the newest word counts.
async fn note_present(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    report: &Report,
    novelty: Novelty,
    known: Option<u64>,
) -> Result<(InventoryOutcome, Option<u64>), RegistryError> {
    let known = known.filter(|_| novelty != Novelty::NewInstance);
    let outcome = inventory::apply(change, appliance, known, report.inventory.as_ref()).await?;
    let revision = match outcome {
        InventoryOutcome::NotTold => known,
        InventoryOutcome::Taken(revision) => Some(revision),
        InventoryOutcome::WrongBase => None,
    };
    let sql = "UPDATE appliances SET health = $1, load = $2, inventory_revision = $3, manifest_sequence = $4, manifest_refused = $5 \
               WHERE name = $6";
    let arguments = vec![
        json(report.health.as_ref()).into(),
        json(report.load.as_ref()).into(),
        revision.into(),
        report.manifest_sequence.into(),
        report.manifest_refused.as_deref().map(cut).into(),
        appliance.as_str().into(),
    ];
    change.execute(sql, arguments).await?;
    Ok((outcome, revision))
}

async fn manifest_sequence(change: &mut Change<'_>, appliance: &ApplianceName) -> Result<u64, DatabaseError> {
    let sql = "SELECT sequence FROM manifests WHERE appliance = $1";
    change.row(sql, vec![appliance.as_str().into()]).await?.map_or(Ok(0), |row| number(&row, 0))
}

fn json(document: Option<&impl serde::Serialize>) -> Option<String> {
    document.and_then(|document| serde_json::to_string(document).ok())
}

/// A text that is only shown, at most [`limits::TEXT_BYTES_MAX`] bytes of it, without the zero that
/// PostgreSQL takes in no text.
pub(super) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(limits::TEXT_BYTES_MAX);
    text[..end].replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use control_client::demand::PathDemand;

    use super::*;

    #[test]
    fn a_number_is_new_once() {
        assert_eq!(novelty(None, "a", 7), Novelty::New);
        assert_eq!(novelty(Some(("a", 7)), "a", 8), Novelty::New);
        assert_eq!(novelty(Some(("a", 7)), "a", 12), Novelty::New);
        assert_eq!(novelty(Some(("a", 7)), "a", 7), Novelty::Repeated);
        assert_eq!(novelty(Some(("a", 7)), "a", 6), Novelty::Late);
        assert_eq!(novelty(Some(("a", 7)), "b", 1), Novelty::NewInstance);
    }

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

    #[test]
    fn texts_are_cut_between_characters() {
        let long = "é".repeat(limits::TEXT_BYTES_MAX);
        assert_eq!(cut(&long).len(), limits::TEXT_BYTES_MAX);
        assert_eq!(cut(&format!("a{long}")).len(), limits::TEXT_BYTES_MAX - 1);
        assert_eq!(cut("a\0b"), "a b");
    }
}
