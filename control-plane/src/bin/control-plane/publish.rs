use std::time::{SystemTime, UNIX_EPOCH};

use control_client::content::{BundleKey, Generation};
use control_plane::catalogue::{CataloguedBundle, Title};
use control_plane::publish::{Publication, Published, publish as publish_directory};
use serde::Serialize;

use crate::Session;
use crate::arguments::PublishArguments;
use crate::failure::Failure;
use crate::output::{row, table};

#[derive(Serialize)]
struct Answer {
    title: Title,
    bundles: Vec<Bundle>,
    unchanged: usize,
    withdrawn: Vec<BundleKey>,
    unsteered: Vec<Skipped>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Bundle {
    #[serde(flatten)]
    key: BundleKey,
    objects: u64,
    bytes: u64,
    descriptor: String,
}

#[derive(Serialize)]
struct Skipped {
    path: String,
    why: String,
}

pub(crate) async fn publish(session: &Session, arguments: PublishArguments) -> Result<(), Failure> {
    let publication = Publication {
        title: arguments.title,
        regions: arguments.regions,
        release_at: arguments.release.map(|moment| moment.0),
        expires_at: arguments.expires.map(|moment| moment.0),
        pinned: arguments.pin,
        similar_to: arguments.similar_to,
        tags: arguments.tags,
        seasons: arguments.seasons,
        generation: arguments.generation.map(Generation::new),
    };
    let now_micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let database = session.database().await?;
    let published =
        publish_directory(&database, &arguments.directory, &arguments.as_path, publication, now_micros)
            .await?;
    session.output.write(&answer(published), |answer| lines(answer, session.output.explain))
}

fn answer(published: Published) -> Answer {
    let bundle = |bundle: CataloguedBundle| Bundle {
        key: bundle.key,
        objects: bundle.objects,
        bytes: bundle.bytes,
        descriptor: bundle.descriptor.to_string(),
    };
    let unsteered = published.unsteered.into_iter().map(|(path, why)| Skipped { path, why: why.to_string() });
    let skipped =
        published.skipped.into_iter().map(|(path, why)| Skipped { path: path.display().to_string(), why });
    Answer {
        title: published.title,
        bundles: published.bundles.into_iter().map(bundle).collect(),
        unchanged: published.unchanged,
        withdrawn: published.withdrawn.into_iter().map(|bundle| bundle.key).collect(),
        unsteered: unsteered.collect(),
        skipped: skipped.collect(),
    }
}

fn lines(answer: &Answer, explain: bool) -> Vec<String> {
    let mut rows = vec![row(["bundle", "generation", "objects", "bytes"])];
    if explain {
        rows[0].push("descriptor".to_owned());
    }
    for bundle in &answer.bundles {
        let mut cells = vec![
            bundle.key.path.to_string(),
            bundle.key.generation.to_string(),
            bundle.objects.to_string(),
            bundle.bytes.to_string(),
        ];
        if explain {
            cells.push(bundle.descriptor.clone());
        }
        rows.push(cells);
    }
    let mut lines = table(&rows);
    for skipped in &answer.skipped {
        lines.push(format!("left out: {}: {}", skipped.path, skipped.why));
    }
    for unsteered in &answer.unsteered {
        lines.push(format!("/v1/play does not give it to players: {}: {}", unsteered.path, unsteered.why));
    }
    for key in &answer.withdrawn {
        lines.push(format!("withdrawn: {key}: the directory has it no longer"));
    }
    let new = answer.bundles.len() - answer.unchanged;
    let name = &answer.title.name;
    lines.push(format!("{name}: {} bundles, {new} of them new or changed", answer.bundles.len()));
    lines
}
