use control_client::content::{BundleKey, ObjectName};

use crate::database::{Change, Database, DatabaseError, text};

/// Writes the media manifests of a bundle, where they are not there yet: those of a generation never change.
pub async fn put_media_manifests(
    change: &mut Change<'_>,
    bundle: &BundleKey,
    manifests: Vec<(ObjectName, String)>,
) -> Result<(), DatabaseError> {
    let rows = manifests
        .into_iter()
        .map(|(name, content)| {
            let (path, generation) = (bundle.path.as_str(), bundle.generation.number());
            vec![path.into(), generation.into(), name.as_str().into(), content.into()]
        })
        .collect();
    let sql = "INSERT INTO media_manifests (path, generation, name, content) VALUES {rows} \
               ON CONFLICT (path, generation, name) DO NOTHING";
    change.execute_many(sql, 4, rows).await
}

/// The media manifest of that name in a bundle, as it was published.
pub async fn media_manifest(
    database: &Database,
    bundle: &BundleKey,
    name: &ObjectName,
) -> Result<Option<String>, DatabaseError> {
    let sql = "SELECT content FROM media_manifests WHERE path = $1 AND generation = $2 AND name = $3";
    let arguments =
        vec![bundle.path.as_str().into(), bundle.generation.number().into(), name.as_str().into()];
    database.read_one(sql, arguments).await?.map(|row| text(&row, 0)).transpose()
}

/// Forgets the media manifests of a bundle.
pub(super) async fn remove_media_manifests(
    change: &mut Change<'_>,
    bundle: &BundleKey,
) -> Result<(), DatabaseError> {
    let sql = "DELETE FROM media_manifests WHERE path = $1 AND generation = $2";
    let key = vec![bundle.path.as_str().into(), bundle.generation.number().into()];
    change.execute(sql, key).await.map(drop)
}
