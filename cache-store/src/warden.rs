//! The warden: one thread that takes bundles and volumes out of service when a worker or an opener reports
//! trouble. It never touches a disk, so that a volume that hangs cannot delay its own isolation, and it takes
//! the locks that workers must not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use crate::bundle::{Bundle, VolumeIndex};
use crate::clock::unix_seconds;
use crate::keeper::Command;
use crate::shared::Shared;
use crate::volume::Isolation;

/// What is reported. Bounded by what there is: a bundle leaves once, and a volume is reported only until it
/// is isolated.
pub(crate) enum Trouble {
    /// A bundle has begun to leave.
    Departure(Arc<Bundle>),
    /// A volume has too many errors.
    Isolation(VolumeIndex, String),
    /// The store is being closed.
    Stop,
}

/// The life of the warden's thread.
pub(crate) fn run(shared: &Shared, troubles: &Receiver<Trouble>) {
    while let Ok(trouble) = troubles.recv() {
        match trouble {
            Trouble::Departure(bundle) => shared.complete_departure(&bundle),
            Trouble::Isolation(volume, reason) => isolate(shared, volume, reason),
            Trouble::Stop => return,
        }
    }
}

fn isolate(shared: &Shared, volume: VolumeIndex, reason: String) {
    let view = shared.view(volume);
    if !view.fail(reason.clone()) {
        return;
    }
    shared.left_service.fetch_add(1, Ordering::SeqCst);
    // After the state: who offers bundles or keeps footers from here on is refused.
    shared.index.remove_volume(volume);
    shared.footers.evict_volume(volume);
    shared.counters.volumes_isolated.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(
        volume = %view.path.display(), %reason,
        "volume isolated: nothing is served from it; check its disk, then `oca init --readmit` and restart"
    );
    // The keeper may hang on the disk; the record is written when it can be.
    let _ = view.commands.send(Command::Isolate(Isolation { reason, since: unix_seconds() }));
}
