//! The directories that titles were published as, the last ones of each.

use control_client::content::BundlePath;
use control_client::fleet::TitleName;
use sqlx::any::AnyRow;

use super::{Title, parsed};
use crate::database::{Change, Database, DatabaseError, text};
use crate::limits;

/// Remembers that a title is published as this directory, and gives all that are remembered of it, sorted.
///
/// `number` is that of the catalogue's change. What was published longest ago goes by it, and not by a clock, which may be set back.
pub async fn put_directory(
    change: &mut Change<'_>,
    title: &TitleName,
    directory: &BundlePath,
    number: u64,
) -> Result<Vec<BundlePath>, DatabaseError> {
    let sql = "INSERT INTO title_directories (title, path, catalogue_change) VALUES ($1, $2, $3) \
               ON CONFLICT (title, path) DO UPDATE SET catalogue_change = excluded.catalogue_change";
    change.execute(sql, vec![title.as_str().into(), directory.as_str().into(), number.into()]).await?;
    let sql = "DELETE FROM title_directories WHERE title = $1 AND path NOT IN \
               (SELECT path FROM title_directories WHERE title = $1 ORDER BY catalogue_change DESC LIMIT $2)";
    let kept = limits::TITLE_DIRECTORIES_KEPT as u64;
    change.execute(sql, vec![title.as_str().into(), kept.into()]).await?;
    directories_of(change, title).await
}

/// The directories that a title was published as, sorted.
pub(super) async fn directories_of(
    change: &mut Change<'_>,
    title: &TitleName,
) -> Result<Vec<BundlePath>, DatabaseError> {
    let sql = "SELECT path FROM title_directories WHERE title = $1";
    let rows = change.rows(sql, vec![title.as_str().into()]).await?;
    let mut directories = rows.iter().map(|row| directory(row, 0)).collect::<Result<Vec<_>, _>>()?;
    directories.sort_unstable();
    Ok(directories)
}

/// Gives titles, which are sorted by name, the directories that they were published as.
pub(super) async fn read_directories(database: &Database, titles: &mut [Title]) -> Result<(), DatabaseError> {
    let sql = "SELECT title, path FROM title_directories";
    let read = database.read_each(sql, vec![], |row| Ok((text(row, 0)?, directory(row, 1)?))).await?;
    for (name, path) in read {
        if let Ok(place) = titles.binary_search_by(|title| title.name.as_str().cmp(&name)) {
            titles[place].directories.push(path);
        }
    }
    for title in titles {
        title.directories.sort_unstable();
    }
    Ok(())
}

fn directory(row: &AnyRow, column: usize) -> Result<BundlePath, DatabaseError> {
    parsed("a title's directory", BundlePath::parse(&text(row, column)?))
}
