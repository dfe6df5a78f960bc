use control_client::fleet::{RegionName, TitleName};

use super::title_directories::directories_of;
use super::{TITLES, Title, bundles_of, parsed, put_title, remove_bundle, title};
use crate::database::{Database, DatabaseError, text};
use crate::limits;
use crate::publish::PublishError;

/// What an operator changes of a title without publishing it again. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TitleChange {
    /// The regions whose appliances may hold it; all of them where the list is empty.
    pub regions: Option<Vec<RegionName>>,
    /// When viewers may begin to watch, in seconds since 1970, or nothing.
    pub release_at: Option<Option<u64>>,
    /// When its licence ends, in seconds since 1970, or nothing.
    pub expires_at: Option<Option<u64>>,
    /// Whether every appliance of its regions should hold it.
    pub pinned: Option<bool>,
}

/// Changes a title, and gives it as it is now; nothing where there is no such title. Its bundles stay.
pub async fn change_title(
    database: &Database,
    name: &TitleName,
    wanted: &TitleChange,
) -> Result<Option<Title>, PublishError> {
    let mut change = database.change().await?;
    // First, so that whoever publishes waits.
    change.count("catalogue").await?;
    let sql = format!("{TITLES} WHERE name = $1");
    let Some(row) = change.row(&sql, vec![name.as_str().into()]).await? else { return Ok(None) };
    let mut title = title(&row)?;
    let sql = "SELECT region FROM title_regions WHERE title = $1 ORDER BY region";
    for row in change.rows(sql, vec![name.as_str().into()]).await? {
        title.regions.push(parsed("a region's name", RegionName::parse(&text(&row, 0)?))?);
    }
    title.directories = directories_of(&mut change, name).await?;
    if let Some(regions) = &wanted.regions {
        title.regions.clone_from(regions);
    }
    title.release_at = wanted.release_at.unwrap_or(title.release_at);
    title.expires_at = wanted.expires_at.unwrap_or(title.expires_at);
    title.pinned = wanted.pinned.unwrap_or(title.pinned);
    title.check()?;
    put_title(&mut change, &title).await?;
    change.commit().await?;
    Ok(Some(title))
}

/// Forgets a title, its bundles of all generations and their descriptors; how many bundles these were, or nothing where there is no
/// such title. Nobody is steered to it any more; appliances keep its bytes until they need the room, or are told to purge them.
pub async fn remove_title(database: &Database, title: &TitleName) -> Result<Option<usize>, DatabaseError> {
    let mut change = database.change().await?;
    // First, so that whoever publishes waits.
    change.count("catalogue").await?;
    let bundles = bundles_of(&mut change, title).await?;
    for bundle in &bundles {
        remove_bundle(&mut change, bundle).await?;
    }
    let name = || vec![title.as_str().into()];
    change.execute("DELETE FROM title_regions WHERE title = $1", name()).await?;
    change.execute("DELETE FROM title_directories WHERE title = $1", name()).await?;
    if change.execute("DELETE FROM titles WHERE name = $1", name()).await? == 0 {
        return Ok(None);
    }
    change.commit().await?;
    Ok(Some(bundles.len()))
}

impl Title {
    /// Whether all that is said of it is possible.
    pub fn check(&self) -> Result<(), PublishError> {
        if self.regions.len() > limits::TITLE_REGIONS_MAX {
            return Err(PublishError::TooMany { what: "regions", most: limits::TITLE_REGIONS_MAX });
        }
        if self.tags.len() > limits::TITLE_TAGS_MAX || self.seasons.len() > limits::TITLE_TAGS_MAX {
            return Err(PublishError::TooMany { what: "tags or seasons", most: limits::TITLE_TAGS_MAX });
        }
        if self.tags.iter().any(|tag| tag.len() > limits::TAG_BYTES_MAX || tag.contains(char::is_control)) {
            return Err(PublishError::Tag);
        }
        if let (Some(release), Some(expiry)) = (self.release_at, self.expires_at)
            && expiry <= release
        {
            return Err(PublishError::Times);
        }
        let times = [self.release_at, self.expires_at];
        if times.into_iter().flatten().any(|at| at > control_client::limits::TIMESTAMP_MAX) {
            return Err(PublishError::Times);
        }
        if self.similar_to.as_ref() == Some(&self.name) {
            return Err(PublishError::SimilarToItself);
        }
        Ok(())
    }
}
