use std::sync::Arc;

use control_client::content::Sha256;
use control_client::digest::sha256;
use control_client::fill_manifest::{FillEntry, FillManifest, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::limits::{INTEGER_MAX, MANIFEST_BYTES_MAX};
use control_client::wire::DocumentVersion;
use serde::Serialize;

use super::reordering::{GAIN_MIN, RESCORED_AFTER_SECONDS, gain, reordered_after};
use crate::catalogue::parsed;
use crate::database::{Database, DatabaseError, maybe_number, number, text};
use crate::keys::Signer;

/// What became of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A manifest was made of it; its sequence.
    New(u64),
    /// The appliance's manifest is good enough: it has the same bundles in an order that is about as good, and is signed by the
    /// same key; its sequence.
    Unchanged(u64),
    /// Another control plane was faster: its manifest stays.
    Superseded,
    /// No appliance takes one of so many bytes: the last one stays.
    TooLarge(usize),
    /// There is no such appliance any more.
    Gone,
}

/// Which list a manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lists {
    /// What is in it, whatever the order.
    members: Sha256,
    /// All of it: order and scores, too.
    entries: Sha256,
}

/// The manifest that was made last for an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    sequence: u64,
    issued_at: u64,
    key_id: String,
    members: String,
    entries: String,
    document_bytes: u64,
}

/// Whether another manifest has to follow the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// If it has a better order.
    BetterOrder,
    Another,
}

impl Last {
    /// Where the appliance has a newer one, this database was put back from a copy, and its manifest is refused.
    fn need(&self, lists: &Lists, key_id: &str, reported: u64, now: u64) -> Need {
        let age = now.saturating_sub(self.issued_at);
        if self.sequence < reported || self.key_id != key_id || self.members != lists.members.to_string() {
            return Need::Another;
        }
        if self.entries == lists.entries.to_string() {
            return Need::Nothing;
        }
        match age {
            RESCORED_AFTER_SECONDS.. => Need::Another,
            _ if age >= reordered_after(self.document_bytes) => Need::BetterOrder,
            _ => Need::Nothing,
        }
    }
}

/// Signs a list and keeps it as the appliance's manifest, unless that has the same bundles already, in an order that is about as good.
/// Rounds of planning come once in `manifest_interval` (1 h), and a moment after the catalogue or an appliance has changed; an order that
/// brings enough is followed with the next of them, or somewhat later where the document is large.
///
/// The sequence is the present time in seconds, or one more than the last, or than the one that the appliance
/// has, where that is higher: so it does not go back even where the database is lost, or put back from a copy.
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
    let Some((reported, last)) = last(database, appliance).await? else { return Ok(Issued::Gone) };
    let need = last.as_ref().map_or(Need::Another, |last| last.need(&lists, &signer.id, reported, now));
    let (entries, is_needed) = match need {
        Need::Another => (entries, true),
        Need::Nothing => (entries, false),
        Need::BetterOrder => is_better(database, appliance, entries).await?,
    };
    if let Some(last) = &last
        && !is_needed
    {
        return Ok(Issued::Unchanged(last.sequence));
    }
    let last = last.map_or(0, |last| last.sequence);
    let sequence = now.max(last.max(reported) + 1);
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
    if document.len() as u64 > MANIFEST_BYTES_MAX {
        return Ok(Issued::TooLarge(document.len()));
    }
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
    let written = match change.execute(sql, arguments).await {
        Err(error) if error.is_dangling() => return Ok(Issued::Gone),
        written => written?,
    };
    change.commit().await?;
    Ok(if written == 0 { Issued::Superseded } else { Issued::New(sequence) })
}

/// Gives the list back, and whether it brings enough beside the one that the appliance has. One that cannot be read is worth nothing.
async fn is_better(
    database: &Database,
    appliance: &ApplianceName,
    entries: Vec<FillEntry>,
) -> Result<(Vec<FillEntry>, bool), DatabaseError> {
    let newest = newest(database, appliance).await?;
    compute(move || {
        let last = newest.and_then(|(_, document)| list(&document).ok());
        let is_better = last.is_none_or(|last| gain(&last.entries, &entries) >= GAIN_MIN);
        (entries, is_better)
    })
    .await
}

/// The sequence that the appliance has told of, and the manifest that was made last.
async fn last(
    database: &Database,
    appliance: &ApplianceName,
) -> Result<Option<(u64, Option<Last>)>, DatabaseError> {
    let sql = "SELECT appliances.manifest_sequence, sequence, issued_at, key_id, members_sha256, entries_sha256, \
               CAST(octet_length(document) AS BIGINT) \
               FROM appliances LEFT JOIN manifests ON manifests.appliance = appliances.name WHERE appliances.name = $1";
    let Some(row) = database.read_one(sql, vec![appliance.as_str().into()]).await? else { return Ok(None) };
    // One that no manifest can have is no sequence: whoever tells of it refuses all that come, and hurts itself alone.
    let reported = Some(number(&row, 0)?).filter(|&told| told < INTEGER_MAX).unwrap_or_default();
    let Some(sequence) = maybe_number(&row, 1)? else { return Ok(Some((reported, None))) };
    let last = Last {
        sequence,
        issued_at: number(&row, 2)?,
        key_id: text(&row, 3)?,
        members: text(&row, 4)?,
        entries: text(&row, 5)?,
        document_bytes: number(&row, 6)?,
    };
    Ok(Some((reported, Some(last))))
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

/// The keys that have signed the newest manifests.
pub async fn signing_keys(database: &Database) -> Result<Vec<String>, DatabaseError> {
    let rows = database.read("SELECT DISTINCT key_id FROM manifests ORDER BY key_id", vec![]).await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

/// The sequence of the newest manifest of an appliance, and how many bytes it has.
pub async fn newest_size(
    database: &Database,
    appliance: &ApplianceName,
) -> Result<Option<(u64, u64)>, DatabaseError> {
    let sql = "SELECT sequence, CAST(octet_length(document) AS BIGINT) FROM manifests WHERE appliance = $1";
    let row = database.read_one(sql, vec![appliance.as_str().into()]).await?;
    row.map(|row| Ok((number(&row, 0)?, number(&row, 1)?))).transpose()
}

/// The newest manifest of an appliance, with its sequence.
pub async fn newest(
    database: &Database,
    appliance: &ApplianceName,
) -> Result<Option<(u64, String)>, DatabaseError> {
    let sql = "SELECT sequence, document FROM manifests WHERE appliance = $1";
    let row = database.read_one(sql, vec![appliance.as_str().into()]).await?;
    row.map(|row| Ok((number(&row, 0)?, text(&row, 1)?))).transpose()
}

/// The list of an appliance's newest manifest.
pub async fn newest_list(
    database: &Database,
    appliance: &ApplianceName,
) -> Result<Option<FillManifest>, DatabaseError> {
    let Some((_, document)) = newest(database, appliance).await? else { return Ok(None) };
    list(&document).map(Some)
}

fn list(document: &str) -> Result<FillManifest, DatabaseError> {
    let signed: SignedManifest = parsed("a manifest", serde_json::from_str(document))?;
    parsed("a manifest", serde_json::from_str(&signed.manifest))
}
