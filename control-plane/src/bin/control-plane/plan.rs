use control_client::fill_manifest::FillEntry;
use control_client::fleet::ApplianceName;
use control_plane::plane::now;
use control_plane::planning::{self, Facts, RankedRegion, RegionDemand, SitePlan};
use serde::Serialize;

use crate::Session;
use crate::arguments::PlanArguments;
use crate::failure::Failure;
use crate::output::{row, table};
use crate::rank::class;

#[derive(Serialize)]
struct Answer {
    appliance: ApplianceName,
    capacity_bytes: u64,
    used_bytes: u64,
    bundles: usize,
    /// The sequence of the manifest that was made last; 0 where none was.
    manifest_sequence: u64,
    /// Whether that has other bundles than this one, or another order.
    manifest_differs: bool,
    entries: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    elsewhere: Vec<Elsewhere>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    entry: FillEntry,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct Elsewhere {
    path: String,
    why: String,
}

pub(crate) async fn plan(session: &Session, question: PlanArguments) -> Result<(), Failure> {
    let database = session.database().await?;
    let facts = Facts::read(&database).await?;
    let name = &question.appliance;
    let Some(appliance) = facts.appliances.iter().find(|appliance| appliance.name == *name) else {
        return Err(Failure::new(format!(
            "there is no appliance {name}: \"control-plane appliance list\" shows all"
        )));
    };
    let now = now();
    let demand = RegionDemand::read(&database, &facts, &appliance.region, now).await?;
    let shares = planning::shares(&demand.served);
    let share = shares.get(&appliance.site).copied().unwrap_or_default();
    let ranked = planning::rank_region(&facts.catalogue, &appliance.region, &demand, now);
    let plan = planning::plan_site(
        &facts.catalogue,
        &ranked,
        &appliance.site,
        &facts.appliances_of(&appliance.site),
        share,
        now.saturating_sub(planning::ABSENT_SECONDS),
    );
    let Some(place) = plan.place_of(name) else {
        return Err(Failure::new(format!(
            "{name} has not enrolled, or was not heard of for a day: its agent has to reach this control plane first"
        )));
    };
    let entries = plan.entries(&facts.catalogue, &ranked, place);
    let newest = planning::newest_list(&database, name).await?;
    let answer = Answer {
        appliance: name.clone(),
        capacity_bytes: appliance.capacity_bytes,
        used_bytes: plan.assignment.used_bytes[place],
        bundles: entries.len(),
        manifest_sequence: newest.as_ref().map_or(0, |manifest| manifest.sequence),
        manifest_differs: newest.is_none_or(|manifest| manifest.entries != entries),
        elsewhere: if session.output.explain {
            elsewhere(&facts, &ranked, &plan, place, question.limit)
        } else {
            Vec::new()
        },
        entries: explained(&facts, &ranked, &plan, place, entries, &question, session.output.explain),
    };
    session.output.write(&answer, lines)
}

fn explained(
    facts: &Facts,
    ranked: &RankedRegion,
    plan: &SitePlan,
    place: usize,
    entries: Vec<FillEntry>,
    question: &PlanArguments,
    explain: bool,
) -> Vec<Entry> {
    let numbers = &plan.assignment.bundles[place];
    let why = |number: u32| {
        let list = &ranked.ranking.ranked[number as usize];
        let bundle = &facts.catalogue.bundles[ranked.bundles[list.item]];
        let holders: Vec<&str> = plan.assignment.holders[number as usize]
            .iter()
            .map(|&holder| plan.appliances[holder as usize].as_str())
            .collect();
        format!(
            "place {} of {} in region {}: {}; {:.1} % of the region's demand is expected at site {}; held by {}",
            number + 1,
            ranked.ranking.ranked.len(),
            ranked.region,
            list.components,
            plan.share * 100.0,
            plan.site,
            if holders.is_empty() { bundle.key.path.as_str().to_owned() } else { holders.join(", ") }
        )
    };
    entries
        .into_iter()
        .zip(numbers)
        .take(question.limit)
        .map(|(entry, &number)| Entry { entry, why: explain.then(|| why(number)) })
        .collect()
}

/// The best bundles that the appliance is not to hold, and why.
fn elsewhere(
    facts: &Facts,
    ranked: &RankedRegion,
    plan: &SitePlan,
    place: usize,
    limit: usize,
) -> Vec<Elsewhere> {
    let list = ranked.ranking.ranked.iter().zip(&plan.assignment.holders);
    list.filter(|(_, holders)| !holders.iter().any(|&holder| holder as usize == place))
        .take(limit)
        .map(|(entry, holders)| {
            let bundle = &facts.catalogue.bundles[ranked.bundles[entry.item]];
            let names: Vec<&str> =
                holders.iter().map(|&holder| plan.appliances[holder as usize].as_str()).collect();
            let why = if names.is_empty() {
                "no appliance of the site has room for it after what is worth more".to_owned()
            } else {
                format!("it is on {}, and there is no room for another copy", names.join(", "))
            };
            Elsewhere { path: bundle.key.path.to_string(), why }
        })
        .collect()
}

fn lines(answer: &Answer) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} bundles, {} of {} bytes",
        answer.appliance, answer.bundles, answer.used_bytes, answer.capacity_bytes
    )];
    lines.push(match (answer.manifest_sequence, answer.manifest_differs) {
        (0, _) => "no manifest has been made yet: a control plane that serves makes it".to_owned(),
        (sequence, false) => format!("manifest {sequence} has this list"),
        (sequence, true) => {
            format!(
                "manifest {sequence} has another list: other bundles and a better order are in the next one (a better order of very many later), other scores after six hours"
            )
        }
    });
    let mut rows = vec![row(["class", "bytes a day", "bytes", "bundle"])];
    rows.extend(answer.entries.iter().map(|Entry { entry, .. }| {
        vec![
            class(entry.class).to_owned(),
            entry.score.to_string(),
            entry.bytes.to_string(),
            format!("{} (generation {})", entry.path, entry.generation),
        ]
    }));
    let mut places = table(&rows).into_iter();
    lines.extend(places.next());
    for (line, entry) in places.zip(&answer.entries) {
        lines.push(line);
        lines.extend(entry.why.iter().map(|why| format!("       {why}")));
    }
    lines.extend(answer.elsewhere.iter().map(|one| format!("not here: {}: {}", one.path, one.why)));
    lines
}
