use std::sync::Arc;

use control_client::digest::sha256;
use control_client::fill_manifest::{FillEntry, FillManifest, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::wire::DocumentVersion;

use crate::catalogue::parsed;
use crate::database::{Database, DatabaseError, number, text};
use crate::keys::Signer;

/// What became of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A manifest was made of it; its sequence.
    New(u64),
    /// The appliance's manifest has the same list, signed by the same key; its sequence.
    Unchanged(u64),
}

/// Signs a list and keeps it as the appliance's manifest, unless that says the same already.
///
/// The sequence is the present time in seconds, or one more than the last where that is higher: so it does not go back even where
/// the database is lost, or put back from a copy.
pub async fn issue(
    database: &Database,
    signer: &Arc<Signer>,
    appliance: &ApplianceName,
    entries: Vec<FillEntry>,
    now: u64,
) -> Result<Issued, DatabaseError> {
    let (entries, digest) = compute(move || {
        let bytes =
            serde_json::to_vec(&entries).expect("entries hold only texts and numbers, which JSON can say");
        (entries, sha256(&bytes))
    })
    .await?;
    let sql = "SELECT sequence, key_id, entries_sha256 FROM manifests WHERE appliance = $1";
    let mut last = 0;
    if let Some(row) = database.read_one(sql, vec![appliance.as_str().into()]).await? {
        last = number(&row, 0)?;
        if text(&row, 1)? == signer.id && text(&row, 2)? == digest.to_string() {
            return Ok(Issued::Unchanged(last));
        }
    }
    let sequence = now.max(last + 1);
    let manifest = FillManifest {
        version: DocumentVersion,
        audience: appliance.clone(),
        sequence,
        issued_at: now,
        entries,
    };
    let signing = Arc::clone(signer);
    let document = compute(move || {
        let signed = SignedManifest::sign(&manifest, &signing.id, &signing.key);
        serde_json::to_string(&signed).expect("a signed manifest holds only texts, which JSON can say")
    })
    .await?;
    let mut change = database.change().await?;
    // Of two control planes that do the same at the same time, the higher sequence stays.
    let sql = "INSERT INTO manifests (appliance, sequence, issued_at, key_id, entries_sha256, document) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (appliance) DO UPDATE SET sequence = excluded.sequence, \
               issued_at = excluded.issued_at, key_id = excluded.key_id, entries_sha256 = excluded.entries_sha256, \
               document = excluded.document WHERE manifests.sequence < excluded.sequence";
    let arguments = vec![
        appliance.as_str().into(),
        sequence.into(),
        now.into(),
        signer.id.as_str().into(),
        digest.to_string().into(),
        document.into(),
    ];
    let written = change.execute(sql, arguments).await?;
    change.commit().await?;
    Ok(if written == 0 { Issued::Unchanged(sequence) } else { Issued::New(sequence) })
}

/// A list of 200,000 bundles takes a while: not on a thread that answers requests.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DatabaseError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DatabaseError::row("a manifest", error))
}

/// The newest manifest of an appliance, with its sequence; nothing where `known` is that one.
pub async fn newest(
    database: &Database,
    appliance: &ApplianceName,
    known: Option<u64>,
) -> Result<Option<(u64, Option<String>)>, DatabaseError> {
    // Two queries, because a manifest that is known already has megabytes for nothing.
    let sql = "SELECT sequence FROM manifests WHERE appliance = $1";
    let Some(row) = database.read_one(sql, vec![appliance.as_str().into()]).await? else { return Ok(None) };
    let sequence = number(&row, 0)?;
    if known == Some(sequence) {
        return Ok(Some((sequence, None)));
    }
    let sql = "SELECT sequence, document FROM manifests WHERE appliance = $1";
    match database.read_one(sql, vec![appliance.as_str().into()]).await? {
        Some(row) => Ok(Some((number(&row, 0)?, Some(text(&row, 1)?)))),
        None => Ok(None),
    }
}

/// The list of an appliance's newest manifest.
pub async fn newest_list(
    database: &Database,
    appliance: &ApplianceName,
) -> Result<Option<FillManifest>, DatabaseError> {
    let Some((_, Some(document))) = newest(database, appliance, None).await? else { return Ok(None) };
    let signed: SignedManifest = parsed("a manifest", serde_json::from_str(&document))?;
    parsed("a manifest", serde_json::from_str(&signed.manifest)).map(Some)
}
