use control_client::fleet::ApplianceName;
use control_client::report::{Directive, Report};
use control_client::wire::DocumentVersion;

use super::RegistryError;
use super::inventory::{self, InventoryOutcome};
use super::novelty::{Newest, Novelty, novelty};
use super::{demand, directives};
use crate::database::{Change, Database, DatabaseError, maybe_number, maybe_text, number, text};
use crate::limits;

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
    let sql = "UPDATE appliances SET reported_at = $1 WHERE name = $2 RETURNING instance, report_sequence, inventory_revision, site, told_at";
    let row = change.row(sql, vec![now.into(), appliance.as_str().into()]).await?;
    let row = row.ok_or_else(|| RegistryError::UnknownAppliance(appliance.clone()))?;
    let (instance, newest) = (maybe_text(&row, 0)?, number(&row, 1)?);
    let known_revision = maybe_number(&row, 2)?;
    let site = text(&row, 3)?;
    let told_at = number(&row, 4)?;
    let known = instance.as_deref().map(|instance| Newest { instance, sequence: newest, at: told_at });
    let novelty = novelty(known, &report.instance, report.sequence, report.at);

    if novelty.counts() {
        demand::add(&mut change, appliance, &site, report, now).await?;
        keep_runs(&mut change, appliance, report).await?;
        note_number(&mut change, appliance, report).await?;
    }
    let (inventory, inventory_revision) = if novelty == Novelty::Late {
        (InventoryOutcome::NotTold, known_revision)
    } else {
        note_present(&mut change, appliance, report, novelty, known_revision).await?
    };
    // What is passed over is asked for again.
    let results = &report.directives[..report.directives.len().min(limits::DIRECTIVES_KEPT)];
    directives::note_results(&mut change, appliance, results, now).await?;
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
    if report.runs.len() > limits::REPORT_RUNS_MAX {
        return Err(format!("more than {} runs", limits::REPORT_RUNS_MAX));
    }
    Ok(())
}

fn is_token(text: &str) -> bool {
    (1..=limits::TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

async fn note_number(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    report: &Report,
) -> Result<(), DatabaseError> {
    let sql = "UPDATE appliances SET instance = $1, report_sequence = $2, told_at = $3 WHERE name = $4";
    let arguments = vec![
        report.instance.as_str().into(),
        report.sequence.into(),
        report.at.into(),
        appliance.as_str().into(),
    ];
    change.execute(sql, arguments).await.map(drop)
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
            // Its report would never be another: to refuse it would be to hear nothing from that appliance any more.
            tracing::warn!(%appliance, run = %run.run, bytes = document.len(), "a run is larger than any can be: it is not kept");
            continue;
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
    let known = known.filter(|_| !novelty.begins_anew());
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
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let long = "é".repeat(limits::TEXT_BYTES_MAX);
        assert_eq!(cut(&long).len(), limits::TEXT_BYTES_MAX);
        assert_eq!(cut(&format!("a{long}")).len(), limits::TEXT_BYTES_MAX - 1);
        assert_eq!(cut("a\0b"), "a b");
    }
}
