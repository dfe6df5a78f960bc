//! What there is to watch: titles, their bundles, the descriptors that bind these to bytes.

mod media_manifests;
mod title_change;
mod title_directories;

use control_client::content::{BundleKey, BundlePath, Generation, Sha256};
use control_client::descriptor::Descriptor;
use control_client::fleet::{RegionName, TitleName};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use crate::database::{Change, Database, DatabaseError, maybe_number, maybe_text, number, text};
use crate::limits;
use crate::ranking::Season;

pub use media_manifests::{media_manifest, put_media_manifests};
pub use title_change::{TitleChange, change_title, remove_title};
pub use title_directories::put_directory;

/// A work that a viewer chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Title {
    /// Its name.
    pub name: TitleName,
    /// The regions whose appliances may hold it; all of them where the list is empty.
    pub regions: Vec<RegionName>,
    /// When it was first published, in seconds since 1970.
    pub published_at: u64,
    /// When viewers may begin to watch, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_at: Option<u64>,
    /// When its licence ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Whether every appliance of its regions should hold it, whatever its popularity.
    pub pinned: bool,
    /// A title whose audience it is expected to have while it has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar_to: Option<TitleName>,
    /// What it has in common with other titles: series, genre, language.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When in the year it is watched more, or less, as `12-01..01-06 x3`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub seasons: Vec<Season>,
    /// The directories that it was published as, the last ones, sorted by path: what lies below them is the title's.
    #[serde(default)]
    pub directories: Vec<BundlePath>,
}

/// One bundle of a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CataloguedBundle {
    /// Its path and generation.
    pub key: BundleKey,
    /// The title that it is a part of.
    pub title: TitleName,
    /// The bytes of its objects.
    pub bytes: u64,
    /// How many objects it has.
    pub objects: u64,
    /// The SHA-256 of its descriptor.
    pub descriptor: Sha256,
    /// When its path was first published, in seconds since 1970.
    pub published_at: u64,
}

/// All of it, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// Titles, sorted by name.
    pub titles: Vec<Title>,
    /// Bundles of all generations that are remembered, sorted by path, the newest generation first.
    pub bundles: Vec<CataloguedBundle>,
}

impl Catalogue {
    /// Reads it.
    pub async fn read(database: &Database) -> Result<Self, DatabaseError> {
        // Bundles first: a title that is published in between has no bundles yet, which is true of titles
        // anyway; the other way round, there would be bundles of no title.
        let bundles = bundles(database).await?;
        let titles = titles(database).await?;
        Ok(Self { titles, bundles })
    }

    /// The title of that name.
    pub fn title(&self, name: &TitleName) -> Option<&Title> {
        let place = self.titles.binary_search_by(|title| title.name.cmp(name)).ok()?;
        Some(&self.titles[place])
    }

    /// The newest generation of each path, with its place in `bundles`.
    pub fn current_places(&self) -> impl Iterator<Item = (usize, &CataloguedBundle)> {
        let bundles = &self.bundles;
        bundles
            .iter()
            .enumerate()
            .filter(move |(place, bundle)| *place == 0 || bundles[place - 1].key.path != bundle.key.path)
    }
}

const TITLES: &str =
    "SELECT name, published_at, release_at, expires_at, pinned, similar_to, tags, seasons FROM titles";

/// All titles, sorted by name.
pub async fn titles(database: &Database) -> Result<Vec<Title>, DatabaseError> {
    let rows = database.read(TITLES, vec![]).await?;
    let mut titles = rows.iter().map(title).collect::<Result<Vec<_>, _>>()?;
    titles.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    let sql = "SELECT title, region FROM title_regions";
    for row in database.read(sql, vec![]).await? {
        let (name, region) = (text(&row, 0)?, text(&row, 1)?);
        if let Ok(place) = titles.binary_search_by(|title| title.name.as_str().cmp(&name)) {
            titles[place].regions.push(parsed("a region's name", RegionName::parse(&region))?);
        }
    }
    for title in &mut titles {
        title.regions.sort_unstable();
    }
    title_directories::read_directories(database, &mut titles).await?;
    Ok(titles)
}

/// All bundles, sorted by path, the newest generation first.
async fn bundles(database: &Database) -> Result<Vec<CataloguedBundle>, DatabaseError> {
    let sql = "SELECT path, generation, title, bytes, objects, descriptor, published_at FROM bundles";
    let mut bundles = database.read_each(sql, vec![], bundle).await?;
    // Here and not by the database, whose collation may order otherwise.
    bundles.sort_unstable_by(|left, right| {
        left.key.path.cmp(&right.key.path).then_with(|| right.key.generation.cmp(&left.key.generation))
    });
    Ok(bundles)
}

/// The bundles of one title, sorted by path, the newest generation first.
pub async fn bundles_of(
    change: &mut Change<'_>,
    title: &TitleName,
) -> Result<Vec<CataloguedBundle>, DatabaseError> {
    let sql = "SELECT path, generation, title, bytes, objects, descriptor, published_at FROM bundles WHERE title = $1";
    let rows = change.rows(sql, vec![title.as_str().into()]).await?;
    let mut bundles = rows.iter().map(bundle).collect::<Result<Vec<_>, _>>()?;
    bundles.sort_unstable_by(|left, right| {
        left.key.path.cmp(&right.key.path).then_with(|| right.key.generation.cmp(&left.key.generation))
    });
    Ok(bundles)
}

/// The title that has this path, where one has.
pub async fn title_at(
    change: &mut Change<'_>,
    path: &BundlePath,
) -> Result<Option<TitleName>, DatabaseError> {
    let sql = "SELECT title FROM bundles WHERE path = $1 LIMIT 1";
    match change.row(sql, vec![path.as_str().into()]).await? {
        Some(row) => Ok(Some(parsed("a title's name", TitleName::parse(&text(&row, 0)?))?)),
        None => Ok(None),
    }
}

/// Writes a title, over the one of that name where there is one: `published_at` stays the first one's, and its directories
/// stay as they are, for [`put_directory`] writes these.
pub async fn put_title(change: &mut Change<'_>, title: &Title) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO titles (name, published_at, release_at, expires_at, pinned, similar_to, tags, seasons) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
               ON CONFLICT (name) DO UPDATE SET release_at = excluded.release_at, expires_at = excluded.expires_at, \
               pinned = excluded.pinned, similar_to = excluded.similar_to, tags = excluded.tags, seasons = excluded.seasons";
    let arguments = vec![
        title.name.as_str().into(),
        title.published_at.into(),
        title.release_at.into(),
        title.expires_at.into(),
        title.pinned.into(),
        title.similar_to.as_ref().map(|name| name.as_str().to_owned()).into(),
        serde_json::to_string(&title.tags).expect("a list of texts is JSON").into(),
        serde_json::to_string(&title.seasons).expect("a list of texts is JSON").into(),
    ];
    change.execute(sql, arguments).await?;
    let sql = "DELETE FROM title_regions WHERE title = $1";
    change.execute(sql, vec![title.name.as_str().into()]).await?;
    let regions =
        title.regions.iter().map(|region| vec![title.name.as_str().into(), region.as_str().into()]).collect();
    change.execute_many("INSERT INTO title_regions (title, region) VALUES {rows}", 2, regions).await
}

/// Writes a bundle and its descriptor's bytes.
pub async fn put_bundle(
    change: &mut Change<'_>,
    bundle: &CataloguedBundle,
    descriptor: String,
) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO descriptors (sha256, content) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING";
    change.execute(sql, vec![bundle.descriptor.to_string().into(), descriptor.into()]).await?;
    let sql = "INSERT INTO bundles (path, generation, title, bytes, objects, descriptor, published_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let arguments = vec![
        bundle.key.path.as_str().into(),
        bundle.key.generation.number().into(),
        bundle.title.as_str().into(),
        bundle.bytes.into(),
        bundle.objects.into(),
        bundle.descriptor.to_string().into(),
        bundle.published_at.into(),
    ];
    change.execute(sql, arguments).await.map(drop)
}

/// The descriptor of a bundle, as it is within a change.
pub async fn described(
    change: &mut Change<'_>,
    bundle: &CataloguedBundle,
) -> Result<Option<Descriptor>, DatabaseError> {
    let sql = "SELECT content FROM descriptors WHERE sha256 = $1";
    let Some(row) = change.row(sql, vec![bundle.descriptor.to_string().into()]).await? else {
        return Ok(None);
    };
    let content = text(&row, 0)?;
    Ok(Descriptor::parse(content.as_bytes(), &bundle.descriptor, &bundle.key).ok())
}

/// Forgets a bundle, its descriptor and its media manifests.
pub async fn remove_bundle(change: &mut Change<'_>, bundle: &CataloguedBundle) -> Result<(), DatabaseError> {
    let sql = "DELETE FROM bundles WHERE path = $1 AND generation = $2";
    let key = vec![bundle.key.path.as_str().into(), bundle.key.generation.number().into()];
    change.execute(sql, key).await?;
    media_manifests::remove_media_manifests(change, &bundle.key).await?;
    let sql = "DELETE FROM descriptors WHERE sha256 = $1";
    change.execute(sql, vec![bundle.descriptor.to_string().into()]).await.map(drop)
}

/// How many bytes a descriptor has.
pub async fn descriptor_bytes(database: &Database, sha256: &Sha256) -> Result<Option<u64>, DatabaseError> {
    let sql = "SELECT CAST(octet_length(content) AS BIGINT) FROM descriptors WHERE sha256 = $1";
    let row = database.read_one(sql, vec![sha256.to_string().into()]).await?;
    row.map(|row| number(&row, 0)).transpose()
}

/// The bytes of a descriptor.
pub async fn descriptor(database: &Database, sha256: &Sha256) -> Result<Option<String>, DatabaseError> {
    let sql = "SELECT content FROM descriptors WHERE sha256 = $1";
    match database.read_one(sql, vec![sha256.to_string().into()]).await? {
        Some(row) => Ok(Some(text(&row, 0)?)),
        None => Ok(None),
    }
}

/// How many titles and bundles there are, all generations.
pub async fn counts(database: &Database) -> Result<(u64, u64), DatabaseError> {
    let sql = "SELECT (SELECT COUNT(*) FROM titles), (SELECT COUNT(*) FROM bundles)";
    let row = database.read_one(sql, vec![]).await?.ok_or(DatabaseError::Shape("no counts"))?;
    Ok((number(&row, 0)?, number(&row, 1)?))
}

/// Editions of one path beyond those that are remembered.
pub fn forgotten(bundles: &[CataloguedBundle]) -> Vec<&CataloguedBundle> {
    let mut kept = 0;
    let mut forgotten = Vec::new();
    for (place, bundle) in bundles.iter().enumerate() {
        kept = if place > 0 && bundles[place - 1].key.path == bundle.key.path { kept + 1 } else { 1 };
        if kept > limits::GENERATIONS_KEPT {
            forgotten.push(bundle);
        }
    }
    forgotten
}

fn title(row: &AnyRow) -> Result<Title, DatabaseError> {
    let similar_to = maybe_text(row, 5)?.map(|name| TitleName::parse(&name)).transpose();
    Ok(Title {
        name: parsed("a title's name", TitleName::parse(&text(row, 0)?))?,
        regions: Vec::new(),
        published_at: number(row, 1)?,
        release_at: maybe_number(row, 2)?,
        expires_at: maybe_number(row, 3)?,
        pinned: number(row, 4)? != 0,
        similar_to: parsed("a title's name", similar_to)?,
        tags: parsed("a title's tags", serde_json::from_str(&text(row, 6)?))?,
        seasons: parsed("a title's seasons", serde_json::from_str(&text(row, 7)?))?,
        directories: Vec::new(),
    })
}

fn bundle(row: &AnyRow) -> Result<CataloguedBundle, DatabaseError> {
    Ok(CataloguedBundle {
        key: BundleKey {
            path: parsed("a bundle's path", BundlePath::parse(&text(row, 0)?))?,
            generation: Generation::new(number(row, 1)?),
        },
        title: parsed("a title's name", TitleName::parse(&text(row, 2)?))?,
        bytes: number(row, 3)?,
        objects: number(row, 4)?,
        descriptor: Sha256::parse(&text(row, 5)?)
            .map_err(|_| DatabaseError::Shape("a descriptor's digest is none"))?,
        published_at: number(row, 6)?,
    })
}

/// A name as this program wrote it, or why it is none.
pub(crate) fn parsed<T, E: std::fmt::Display>(what: &str, name: Result<T, E>) -> Result<T, DatabaseError> {
    name.map_err(|error| DatabaseError::row(what, error))
}
