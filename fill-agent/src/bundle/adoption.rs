//! What is published is adopted: the daemon serves it. Where the daemon refuses a file for good, it is fetched anew.

use std::sync::Arc;

use cache_store::{BundleId, VolumeId};
use control_client::admin_client::AdminError;
use control_client::content::{BundleKey, Generation};
use control_client::fill::{FailureReason, FillStep};
use control_client::fill_manifest::FillEntry;

use super::{End, Work};
use crate::agent::{Agent, LICENCES, locked};
use crate::descriptors;
use crate::run::Run;
use crate::run_record::RunRecord;
use crate::state::or_warn;
use crate::volumes::OpenVolume;

/// Has the daemon serve a bundle that was published just now.
pub(super) async fn adopt(run: &Run, work: &Work, volume: &OpenVolume) -> Result<(), End> {
    ask(run, work, volume).await.map_err(|error| not_adopted(run, work, &error))
}

/// An agent that died between publishing and adoption leaves only the adoption. Whether that was all; where the daemon refuses
/// to serve the file, it is to be fetched anew.
pub(super) async fn adopt_published(run: &Arc<Run>, work: &mut Work) -> Result<bool, End> {
    if work.unserved_on.is_some() || work.space.is_some() {
        return Ok(false);
    }
    let found = run.agent.volumes.find_published(run.volumes.clone(), &work.planned.key).await;
    let Some(volume) = found else { return Ok(false) };
    let Some(_publishing) = run.agent.purges.may_publish(&work.planned.key.path) else {
        return Err(End::Purged);
    };
    match ask(run, work, &volume).await {
        Ok(()) => Ok(true),
        Err(error) if is_unservable(&error) && !is_purged(run, work) => {
            tracing::warn!(bundle = %work.key(), volume = volume.index, %error, "a bundle is published and cannot be served; it is fetched again");
            work.unserved_on = Some(volume);
            Ok(false)
        }
        Err(error) => Err(not_adopted(run, work, &error)),
    }
}

/// Whether the daemon will never serve the file: it was taken out of service and its file kept, or it is no bundle that this
/// daemon can read.
fn is_unservable(error: &AdminError) -> bool {
    match error {
        AdminError::Refused { failure, .. } => {
            matches!(failure.error.as_str(), "leaving" | "refused" | "io" | "no_such_file")
        }
        _ => false,
    }
}

/// Has the daemon serve it.
async fn ask(run: &Run, work: &Work, volume: &OpenVolume) -> Result<(), AdminError> {
    let planned = &work.planned;
    run.agent.progress.step(&planned.key, FillStep::Publishing);
    let replaces = |_| planned.supersedes.as_ref().map(|superseded| superseded.file_bytes);
    have_served(&run.agent, &run.record, volume, &planned.key, &work.entry, replaces).await
}

/// Has the daemon serve a bundle that is published on that volume. `replaces` knows the bytes of the generation that it then serves
/// no longer.
pub(crate) async fn have_served(
    agent: &Arc<Agent>,
    record: &RunRecord,
    volume: &OpenVolume,
    key: &BundleKey,
    entry: &FillEntry,
    replaces: impl FnOnce(Generation) -> Option<u64>,
) -> Result<(), AdminError> {
    note_volume(agent, key, volume.volume.id()).await;
    let file = BundleId::of(key).file_name();
    let adopted = agent.daemon.adopt(volume.volume.id().to_string(), file).await?;
    if let Some(bytes) = adopted.replaced.and_then(replaces) {
        record.retire(bytes);
    }
    descriptors::forget(&agent.state, &entry.descriptor);
    tracing::info!(bundle = %key, bytes = entry.bytes, "a bundle is published");
    Ok(())
}

/// Writes down where a bundle is that has a licence, before anybody can be served from it: an agent that is killed after that ends its
/// licence all the same, though its volume be away and no manifest list it any more.
async fn note_volume(agent: &Arc<Agent>, key: &BundleKey, volume: VolumeId) {
    let key = key.clone();
    let note = move |agent: &Agent| {
        let mut licences = locked(&agent.licences);
        if licences.note_volume(&key, volume) {
            or_warn(agent.state.write(LICENCES, &*licences));
        }
    };
    agent.blocking(note).await;
}

fn is_purged(run: &Run, work: &Work) -> bool {
    run.agent.purges.is_purged(&work.planned.key.path)
}

fn not_adopted(run: &Run, work: &Work, error: &AdminError) -> End {
    // The daemon is told of a purge at once, and removes what it was to adopt.
    if is_purged(run, work) {
        return End::Purged;
    }
    let why = if error.is_unreachable() {
        format!("it is published, and the daemon does not answer: {error}; the next run has it adopted")
    } else {
        format!("the daemon would not adopt it: {error}")
    };
    End::Failed(FailureReason::NotAdopted, why)
}
