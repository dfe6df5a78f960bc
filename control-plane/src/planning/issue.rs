use std::sync::Arc;

use control_client::content::Sha256;
use control_client::digest::sha256;
use control_client::fill_manifest::{FillEntry, FillManifest, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::wire::DocumentVersion;
use serde::Serialize;

use crate::catalogue::parsed;
use crate::database::{Database, DatabaseError, number, text};
use crate::keys::Signer;

/// What became of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A manifest was made of it; its sequence.
    New(u64),
    /// The appliance's manifest is good enough: it has the same bundles, and is signed by the same key; its sequence.
    Unchanged(u64),
}

/// Which list a manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lists {
    /// What is in it, whatever the order.
    members: Sha256,
    /// All of it: order and scores, too.
    entries: Sha256,
}

/// The manifest that an appliance has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    sequence: u64,
    issued_at: u64,
    key_id: String,
    members: String,
    entries: String,
}

impl Last {
    /// Whether another manifest has to follow it. Demand moves scores all the time; where that changes
    /// nothing but order and scores, the next one can wait.
    fn is_overdue(&self, lists: &Lists, key_id: &str, now: u64) -> bool {
        let is_old = now.saturating_sub(self.issued_at) >= REORDERED_AFTER_SECONDS;
        self.key_id != key_id
            || self.members != lists.members.to_string()
            || (is_old && self.entries != lists.entries.to_string())
    }
}

/// How old a manifest is before another one is made only because the order or the scores of its list are
/// others now: a manifest of 40,000 bundles is 14 MB, for each appliance, and what is in it is what matters.
const REORDERED_AFTER_SECONDS: u64 = 6 * 3600;

/// Signs a list and keeps it as the appliance's manifest, unless that has the same bundles already.
///
/// The sequence is the present time in seconds, or one more than the last where that is higher: so it does
/// not go back even where the database is lost, or put back from a copy.
pub async fn issue(
    database: &Database,
    signer: &Arc<Signer>,
    appliance: &ApplianceName,
    entries: Vec<FillEntry>,
    now: u64,
) -> Result<Issued, DatabaseError> {
    let (entries, lists) = compute(move || {
        let lists = lists(&entries);
        (entries, lists)
    })
    .await?;
    let last = last(database, appliance).await?;
    if let Some(last) = &last
        && !last.is_overdue(&lists, &signer.id, now)
    {
        return Ok(Issued::Unchanged(last.sequence));
    }
    let last = last.map_or(0, |last| last.sequence);
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
    let sql = "INSERT INTO manifests (appliance, sequence, issued_at, key_id, members_sha256, entries_sha256, document) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (appliance) DO UPDATE SET sequence = excluded.sequence, \
               issued_at = excluded.issued_at, key_id = excluded.key_id, members_sha256 = excluded.members_sha256, \
               entries_sha256 = excluded.entries_sha256, document = excluded.document WHERE manifests.sequence < excluded.sequence";
    let arguments = vec![
        appliance.as_str().into(),
        sequence.into(),
        now.into(),
        signer.id.as_str().into(),
        lists.members.to_string().into(),
        lists.entries.to_string().into(),
        document.into(),
    ];
    let written = change.execute(sql, arguments).await?;
    change.commit().await?;
    Ok(if written == 0 { Issued::Unchanged(sequence) } else { Issued::New(sequence) })
}

async fn last(database: &Database, appliance: &ApplianceName) -> Result<Option<Last>, DatabaseError> {
    let sql = "SELECT sequence, issued_at, key_id, members_sha256, entries_sha256 FROM manifests WHERE appliance = $1";
    let Some(row) = database.read_one(sql, vec![appliance.as_str().into()]).await? else { return Ok(None) };
    Ok(Some(Last {
        sequence: number(&row, 0)?,
        issued_at: number(&row, 1)?,
        key_id: text(&row, 2)?,
        members: text(&row, 3)?,
        entries: text(&row, 4)?,
    }))
}

fn lists(entries: &[FillEntry]) -> Lists {
    let mut members: Vec<_> = entries
        .iter()
        .map(|entry| (&entry.path, entry.generation, entry.descriptor, entry.class, entry.expires_at))
        .collect();
    members.sort_unstable();
    Lists { members: digest(&members), entries: digest(&entries) }
}

fn digest(document: &impl Serialize) -> Sha256 {
    sha256(&serde_json::to_vec(document).expect("entries hold only texts and numbers, which JSON can say"))
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
