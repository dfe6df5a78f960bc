use control_client::fill_manifest::FillClass;
use control_client::fleet::RegionName;
use control_plane::plane::now;
use control_plane::planning::{Facts, RankedRegion, RegionDemand, rank_region};
use serde::Serialize;

use crate::Session;
use crate::arguments::RankArguments;
use crate::failure::Failure;
use crate::output::{row, table};

#[derive(Serialize)]
struct Answer {
    regions: Vec<Region>,
}

#[derive(Serialize)]
struct Region {
    region: RegionName,
    bundles: usize,
    places: Vec<Place>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct Place {
    place: usize,
    path: String,
    generation: u64,
    title: String,
    class: FillClass,
    score: u64,
    bytes: u64,
    expected_per_byte_stored: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct LeftOut {
    path: String,
    why: String,
}

pub(crate) async fn rank(session: &Session, question: RankArguments) -> Result<(), Failure> {
    let database = session.database().await?;
    let facts = Facts::read(&database).await?;
    let regions = match question.region {
        None => facts.regions(),
        Some(region) if facts.regions().contains(&region) => vec![region],
        Some(region) => return Err(Failure::new(format!("no site is in the region {region}"))),
    };
    let now = now();
    let mut answer = Answer { regions: Vec::new() };
    for region in regions {
        let demand = RegionDemand::read(&database, &facts, &region, now).await?;
        let ranked = rank_region(&facts.catalogue, &region, &demand, now);
        answer.regions.push(of_region(&facts, &ranked, question.limit, session.output.explain));
    }
    session.output.write(&answer, lines)
}

fn of_region(facts: &Facts, ranked: &RankedRegion, limit: usize, explain: bool) -> Region {
    let bundle = |item: usize| &facts.catalogue.bundles[ranked.bundles[item]];
    let places = ranked.ranking.ranked.iter().enumerate().take(limit).map(|(place, entry)| {
        let bundle = bundle(entry.item);
        Place {
            place: place + 1,
            path: bundle.key.path.to_string(),
            generation: bundle.key.generation.number(),
            title: bundle.title.to_string(),
            class: entry.class,
            score: entry.score,
            bytes: bundle.bytes,
            expected_per_byte_stored: entry.per_byte,
            why: explain.then(|| entry.components.to_string()),
        }
    });
    let left_out = ranked.ranking.left_out.iter().filter(|_| explain).take(limit);
    Region {
        region: ranked.region.clone(),
        bundles: ranked.ranking.ranked.len(),
        places: places.collect(),
        left_out: left_out
            .map(|(item, why)| LeftOut { path: bundle(*item).key.path.to_string(), why: why.to_string() })
            .collect(),
    }
}

fn lines(answer: &Answer) -> Vec<String> {
    let mut lines = Vec::new();
    for region in &answer.regions {
        lines.push(format!("{}: {} bundles", region.region, region.bundles));
        let mut rows = vec![row(["place", "class", "per byte and day", "bytes a day", "bundle"])];
        rows.extend(region.places.iter().map(|place| {
            vec![
                place.place.to_string(),
                class(place.class).to_owned(),
                format!("{:.3}", place.expected_per_byte_stored),
                place.score.to_string(),
                place.path.clone(),
            ]
        }));
        let mut places = table(&rows).into_iter();
        lines.extend(places.next());
        for (line, place) in places.zip(&region.places) {
            lines.push(line);
            lines.extend(place.why.iter().map(|why| format!("       {why}")));
        }
        lines.extend(
            region.left_out.iter().map(|left_out| format!("left out: {}: {}", left_out.path, left_out.why)),
        );
    }
    lines
}

pub(crate) fn class(class: FillClass) -> &'static str {
    match class {
        FillClass::Pinned => "pinned",
        FillClass::Prewarm => "prewarm",
        FillClass::Ranked => "ranked",
    }
}
