//! Publishing a directory as a title: one bundle for each directory that has files, every file digested, a
//! descriptor for each bundle, all of it in the catalogue in one transaction.
//!
//! The files are not copied: the origins serve them under the same paths. No link is followed. A generation
//! is never changed once it is published: a directory whose bytes are as they were keeps its generation,
//! whatever the times of its files, so publishing a title twice changes nothing.

mod error;
mod media_manifests;
mod scan;

use std::path::Path;

use control_client::content::{BundlePath, Generation};
use control_client::descriptor::{DescribedObject, Descriptor};
use control_client::digest::sha256;
use control_client::fleet::{RegionName, TitleName};

use crate::catalogue::{self, CataloguedBundle, Title};
use crate::database::{Change, Database};
use crate::media_manifest::ManifestError;
use crate::ranking::Season;

pub use error::PublishError;
pub use media_manifests::MediaManifests;
pub use scan::{Scanned, ScannedDirectory, scan};

/// What is said of a title when it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Its name.
    pub title: TitleName,
    /// The regions whose appliances may hold it; empty: all.
    pub regions: Vec<RegionName>,
    /// When viewers may begin to watch, in seconds since 1970.
    pub release_at: Option<u64>,
    /// When its licence ends, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// Whether every appliance of its regions should hold it.
    pub pinned: bool,
    /// A title whose audience it is expected to have.
    pub similar_to: Option<TitleName>,
    /// What it has in common with other titles: series, genre, language.
    pub tags: Vec<String>,
    /// When in the year it is watched more, or less.
    pub seasons: Vec<Season>,
    /// The generation of what is new or has changed; left out: the present time in microseconds, as the
    /// store's import does.
    pub generation: Option<Generation>,
}

/// What publishing did.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The title as the catalogue has it.
    pub title: Title,
    /// Its bundles, sorted by path.
    pub bundles: Vec<CataloguedBundle>,
    /// Those of them that were in the catalogue already, unchanged.
    pub unchanged: usize,
    /// Bundles of the title's earlier publications that it has no longer.
    pub withdrawn: Vec<CataloguedBundle>,
    /// Media manifests that players are not given with the pathways of their steering, and why.
    pub unsteered: Vec<(String, ManifestError)>,
    /// Files and directories that were left out, and why.
    pub skipped: Vec<(std::path::PathBuf, String)>,
}

/// Publishes the tree below `directory` under `as_path`. Reads every file: blocking work is done on blocking threads.
pub async fn publish(
    database: &Database,
    directory: &Path,
    as_path: &BundlePath,
    publication: Publication,
    now_micros: u64,
) -> Result<Published, PublishError> {
    let (root, below) = (directory.to_owned(), as_path.clone());
    let scanned = tokio::task::spawn_blocking(move || scan(&root, &below))
        .await
        .map_err(|error| PublishError::Interrupted(error.to_string()))??;
    enter(database, scanned, as_path, publication, now_micros).await
}

/// Enters directories that were scanned in the catalogue: all of them are `as_path`, or lie below it.
pub async fn enter(
    database: &Database,
    scanned: scan::Scanned,
    as_path: &BundlePath,
    publication: Publication,
    now_micros: u64,
) -> Result<Published, PublishError> {
    let mut title = Title {
        name: publication.title.clone(),
        regions: publication.regions.clone(),
        published_at: now_micros / 1_000_000,
        release_at: publication.release_at,
        expires_at: publication.expires_at,
        pinned: publication.pinned,
        similar_to: publication.similar_to.clone(),
        tags: publication.tags.clone(),
        seasons: publication.seasons.clone(),
        directories: Vec::new(),
    };
    check(&title, &publication, &scanned)?;
    let mut change = database.change().await?;
    // First, so that whoever else publishes waits.
    let number = change.count("catalogue").await?;
    catalogue::put_title(&mut change, &title).await?;
    title.directories = catalogue::put_directory(&mut change, &title.name, as_path, number).await?;
    let known = catalogue::bundles_of(&mut change, &title.name).await?;
    let mut bundles = Vec::with_capacity(scanned.directories.len());
    let mut unchanged = 0;
    let mut unsteered = Vec::new();
    for mut directory in scanned.directories {
        unsteered.append(&mut directory.media_manifests.unsteered);
        let manifests = std::mem::take(&mut directory.media_manifests.kept);
        let newest = known.iter().find(|bundle| bundle.key.path == directory.path);
        if newest.is_none()
            && let Some(owner) = catalogue::title_at(&mut change, &directory.path).await?
        {
            return Err(PublishError::Taken { path: directory.path, owner });
        }
        let (bundle, is_new) =
            enter_bundle(&mut change, &title.name, directory, newest, publication.generation, now_micros)
                .await?;
        catalogue::put_media_manifests(&mut change, &bundle.key, manifests).await?;
        unchanged += usize::from(!is_new);
        bundles.push(bundle);
    }
    let withdrawn = forget(&mut change, &title.name, &bundles).await?;
    change.commit().await?;
    Ok(Published { title, bundles, unchanged, withdrawn, unsteered, skipped: scanned.skipped })
}

fn check(title: &Title, publication: &Publication, scanned: &scan::Scanned) -> Result<(), PublishError> {
    title.check()?;
    if scanned.directories.is_empty() {
        return Err(PublishError::Nothing);
    }
    // The database, the descriptor and the manifest all say the same number, and every reader of them.
    if publication.generation.is_some_and(|wanted| wanted.number() > control_client::limits::INTEGER_MAX) {
        return Err(PublishError::GenerationTooHigh);
    }
    Ok(())
}

/// The bundle of a directory: the one that is in the catalogue where it has the same objects, otherwise a new
/// one; and whether it is new.
async fn enter_bundle(
    change: &mut Change<'_>,
    title: &TitleName,
    directory: ScannedDirectory,
    newest: Option<&CataloguedBundle>,
    generation: Option<Generation>,
    now_micros: u64,
) -> Result<(CataloguedBundle, bool), PublishError> {
    if let Some(newest) = newest
        && generation.is_none_or(|wanted| wanted == newest.key.generation)
        && let Some(described) = catalogue::described(change, newest).await?
        && has_same_objects(&described, &directory)
    {
        return Ok((newest.clone(), false));
    }
    let after = newest.map(|newest| newest.key.generation);
    let next = after.map_or(1, |after| after.number().saturating_add(1));
    let generation = generation.unwrap_or_else(|| Generation::new(now_micros.max(next)));
    if after.is_some_and(|after| generation <= after) {
        return Err(PublishError::Generation { path: directory.path, newest: after.unwrap_or_default() });
    }
    let published_at = newest.map_or(now_micros / 1_000_000, |newest| newest.published_at);
    let (bundle, content) = described(title, &directory, generation, published_at)?;
    catalogue::put_bundle(change, &bundle, content).await?;
    Ok((bundle, true))
}

/// Whether the objects are the same but for the times of their files, which another copy of them has others of.
fn has_same_objects(described: &Descriptor, directory: &ScannedDirectory) -> bool {
    let objects = &directory.objects;
    described.objects.len() == objects.len()
        && described.objects.iter().zip(objects).all(|(known, found)| {
            DescribedObject { last_modified: known.last_modified, ..found.clone() } == *known
        })
}

fn described(
    title: &TitleName,
    directory: &ScannedDirectory,
    generation: Generation,
    published_at: u64,
) -> Result<(CataloguedBundle, String), PublishError> {
    let descriptor = Descriptor {
        version: Default::default(),
        path: directory.path.clone(),
        generation,
        objects: directory.objects.clone(),
    };
    descriptor.check().map_err(|what| PublishError::Objects { path: directory.path.clone(), what })?;
    let content = String::from_utf8(descriptor.to_bytes()).expect("JSON is UTF-8");
    if content.len() as u64 > control_client::limits::DESCRIPTOR_BYTES_MAX {
        let what = "their descriptor is too large".to_owned();
        return Err(PublishError::Objects { path: directory.path.clone(), what });
    }
    let bundle = CataloguedBundle {
        key: descriptor.key(),
        title: title.clone(),
        bytes: descriptor.bytes(),
        objects: descriptor.objects.len() as u64,
        descriptor: sha256(content.as_bytes()),
        published_at,
    };
    Ok((bundle, content))
}

/// Takes out of the catalogue what the title has no longer, and generations that are too old to be anywhere.
async fn forget(
    change: &mut Change<'_>,
    title: &TitleName,
    bundles: &[CataloguedBundle],
) -> Result<Vec<CataloguedBundle>, PublishError> {
    let all = catalogue::bundles_of(change, title).await?;
    let (kept, withdrawn): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| bundles.iter().any(|bundle| bundle.key.path == one.key.path));
    for bundle in withdrawn.iter().chain(catalogue::forgotten(&kept)) {
        catalogue::remove_bundle(change, bundle).await?;
    }
    Ok(withdrawn)
}
