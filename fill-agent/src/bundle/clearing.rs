//! What goes of a bundle: what came of it before it was purged, and a file of it that cannot be served.

use std::sync::Arc;

use cache_store::BundleId;
use control_client::fill::FailureReason;
use tokio::time::timeout;

use super::Work;
use super::space::{NoSpace, unwritable};
use crate::daemon::Retired;
use crate::limits::{DISK_TIMEOUT, RETIRE_WAIT};
use crate::retiring;
use crate::run::Run;

/// Removes what has come of a bundle, in this run or an earlier one.
pub(super) async fn clear(run: &Run, work: &mut Work) {
    let Ok(volume) = run.volume(work.planned.volume) else { return };
    if let Some(space) = work.space.take() {
        return space.discard(run, &volume).await;
    }
    // An opening that the purge has interrupted goes on, and makes a file. Where its disk hangs, the file stays for the next run.
    let Ok(turn) = timeout(DISK_TIMEOUT, Arc::clone(&work.file_turn).lock_owned()).await else { return };
    let (index, id) = (volume.index, BundleId::of(&work.planned.key));
    let removing = move || {
        let _turn = turn;
        volume.remove_begun(&id);
    };
    // Who removed nothing has told of it.
    let _ = run.agent.volumes.calls().work(index, removing).await;
}

/// Has a file go that is published, and that the daemon refuses to serve: it stands in the way of its successor.
pub(super) async fn remove_unserved(run: &Run, work: &mut Work) -> Result<(), NoSpace> {
    let Some(volume) = work.unserved_on.clone() else { return Ok(()) };
    let (volume_index, key) = (volume.index, work.planned.key.clone());
    let refused = |why| NoSpace::Never(FailureReason::NotAdopted, why);
    let retired = retiring::retire(&run.agent.daemon, vec![key.clone()], RETIRE_WAIT).await.pop();
    match retired {
        Some((_, Err(error))) => {
            return Err(refused(format!("its file cannot be served, nor be retired: {error}")));
        }
        // What is not in the daemon's inventory is nobody else's.
        Some((_, Ok(Retired::Absent))) => {
            let removing = move || volume.volume.remove_unserved(&key);
            match run.agent.volumes.calls().work(volume_index, removing).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    return Err(refused(format!("its file cannot be served, nor be removed: {error}")));
                }
                Err(silence) => return Err(unwritable(silence.to_string())),
            }
        }
        _ => {}
    }
    work.unserved_on = None;
    Ok(())
}
