//! A bundle that is whole is synced, read back, published, and adopted.

use std::sync::Arc;

use cache_store::PublishError;
use control_client::fill::{FailureReason, FillStep};

use super::adoption::adopt;
use super::read_back::{ReadBack, read_back};
use super::space::{Space, refused};
use super::{End, Work, disk_failed};
use crate::limits::VOLUME_SYNC_TIMEOUT;
use crate::purges::Publishing;
use crate::run::Run;
use crate::volumes::{NoAnswer, OpenVolume};

/// Reads everything back from the disk, publishes it, and has the daemon serve it. `false` where the disk gave something else back than
/// it was given: for the first time that is only missing again.
pub(super) async fn publish(run: &Arc<Run>, work: &mut Work, volume: &OpenVolume) -> Result<bool, End> {
    let Some(space) = work.space.take() else { return Ok(false) };
    run.agent.progress.step(&work.planned.key, FillStep::Verifying);
    let (mut space, read_back) = match verify(run, volume, space).await {
        Ok(verified) => verified,
        Err((reason, why)) => return Err(disk_failed(run, volume, reason, why).await),
    };
    if let Some(first) = read_back.wrong().next() {
        let why = format!("the disk gives back other bytes than were written, in {}", space.name(first));
        if std::mem::replace(&mut work.was_wrong, true) {
            space.discard(run, volume).await;
            return Err(disk_failed(run, volume, FailureReason::DiskFailed, why).await);
        }
        tracing::warn!(bundle = %work.planned.key, why, "objects are fetched once more");
        read_back.wrong().for_each(|place| space.lost(place));
        run.agent.progress.begin_bundle(&work.planned.key, work.entry.bytes, space.done_bytes());
        run.record.note_begun(&work.planned.key, space.done_bytes());
        work.space = Some(space);
        return Ok(false);
    }
    // A purge that comes from here on waits until the daemon has the bundle, and has it taken out again.
    let Some(publishing) = run.agent.purges.may_publish(&work.planned.key.path) else {
        work.space = Some(space);
        return Err(End::Purged);
    };
    run.agent.progress.step(&work.planned.key, FillStep::Publishing);
    let _publishing = match name(run, volume, space, read_back, publishing).await {
        Ok(publishing) => publishing,
        Err((reason, why)) => return Err(disk_failed(run, volume, reason, why).await),
    };
    adopt(run, work, volume).await?;
    Ok(true)
}

/// Has the disk hold it, and reads all of it back.
async fn verify(
    run: &Arc<Run>,
    volume: &OpenVolume,
    space: Space,
) -> Result<(Space, ReadBack), (FailureReason, String)> {
    let syncing = move || {
        let synced = space.incoming.sync();
        (space, synced)
    };
    let calls = run.agent.volumes.calls();
    let synced = calls.work_within(volume.index, VOLUME_SYNC_TIMEOUT, syncing).await;
    let (space, synced) = synced.map_err(unanswered)?;
    synced.map_err(refused)?;
    let (layout, pace) = (space.incoming.layout(), &run.agent.pace);
    let found = read_back(&space.disk, &space.file, layout, pace, &space.known).await;
    let read_back = found.map_err(|error| (error.reason(), error.to_string()))?;
    Ok((space, read_back))
}

/// Gives it its tail and its name, durably. What was read back is the descriptor's. A disk that hangs may do it long after nobody waits
/// for that any more: so long it counts as being published.
async fn name(
    run: &Arc<Run>,
    volume: &OpenVolume,
    space: Space,
    read_back: ReadBack,
    publishing: Publishing,
) -> Result<Publishing, (FailureReason, String)> {
    let naming = move || {
        let layout = space.incoming.layout();
        let digests = layout.objects().iter().filter_map(|object| object.sha256).collect();
        let checksums = read_back.chunk_checksums(layout).unwrap_or_default();
        (space.incoming.publish(digests, checksums), publishing)
    };
    let calls = run.agent.volumes.calls();
    let named = calls.work_within(volume.index, VOLUME_SYNC_TIMEOUT, naming).await;
    match named.map_err(unanswered)? {
        (Ok(_) | Err(PublishError::Exists(_)), publishing) => Ok(publishing),
        (Err(error), _) => Err(refused(error)),
    }
}

fn unanswered(error: NoAnswer) -> (FailureReason, String) {
    let reason = match error {
        NoAnswer::Silent(_) => FailureReason::VolumeLost,
        NoAnswer::Failed => FailureReason::DiskFailed,
    };
    (reason, error.to_string())
}
