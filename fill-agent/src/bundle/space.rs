//! The room of a bundle on its volume: made, filled, verified, published.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use cache_store::BundleId;
use cache_store::{IncomingBundle, Layout, Opened, PlannedObject, PublishError, remove_partial};
use control_client::descriptor::Descriptor;
use control_client::fill::FailureReason;

use super::Work;
use super::read_back::{ReadBack, read_back};
use crate::daemon::Retired;
use crate::disk::{DiskError, DiskFile, DiskThread, io_reason};
use crate::plan::PlannedRetire;
use crate::run::Run;
use crate::shared_pace::SharedPace;
use crate::volumes::OpenVolume;

/// A bundle's file, and which of its objects are in it.
pub(super) struct Space {
    pub(super) incoming: IncomingBundle,
    pub(super) file: DiskFile,
    pub(super) disk: Arc<DiskThread>,
    whole: Vec<bool>,
    missing: usize,
    done_bytes: u64,
}

/// Why there is no room.
pub(super) enum NoSpace {
    /// There will be.
    Later(String),
    /// Not in this run.
    Never(FailureReason, String),
}

/// A file that holds exactly what the descriptor says.
pub(super) struct Verified {
    incoming: IncomingBundle,
    read_back: ReadBack,
}

impl Space {
    /// Whether all objects are there.
    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// The places of the objects that are not there.
    pub(super) fn missing(&self) -> Vec<usize> {
        (0..self.whole.len()).filter(|place| !self.whole[*place]).collect()
    }

    /// Another object is there.
    pub(super) fn arrived(&mut self, place: usize) {
        if !std::mem::replace(&mut self.whole[place], true) {
            self.missing -= 1;
            self.done_bytes += self.incoming.layout().objects()[place].length;
        }
    }

    /// Bytes of the objects that are there.
    pub(super) fn done_bytes(&self) -> u64 {
        self.done_bytes
    }
}

/// Retires what the plan says, and opens the file: what was begun is hashed, and gone on with.
pub(super) async fn open(
    run: &Arc<Run>,
    work: &mut Work,
    volume: &OpenVolume,
    descriptor: &Descriptor,
) -> Result<Space, NoSpace> {
    let layout = layout(work, descriptor).map_err(never)?;
    let is_leaving = make_room(run, work, volume).await?;
    let (opening, keep_free) = (volume.clone(), run.agent.config.fill.keep_free.bytes());
    let opened = run.blocking(move || open_file(&opening, layout, keep_free)).await;
    let opened =
        opened.ok_or_else(|| NoSpace::Never(FailureReason::DiskFailed, "a thread panicked".to_owned()))?;
    let (incoming, opened) = match opened {
        Err(PublishError::Full { .. }) if is_leaving => {
            let why = "readers still hold the space of what was retired for it".to_owned();
            return Err(NoSpace::Later(why));
        }
        other => other.map_err(never)?,
    };
    let disk = run.agent.volumes.disk(volume.index).map_err(|error| {
        NoSpace::Never(FailureReason::DiskFailed, format!("no ring for the volume's disk: {error}; is io_uring allowed (kernel.io_uring_disabled, seccomp)?"))
    })?;
    let file = DiskFile::of(incoming.file())
        .map_err(|error| NoSpace::Never(FailureReason::DiskFailed, error.to_string()))?;
    let whole: Vec<bool> = incoming.layout().objects().iter().map(|object| object.length == 0).collect();
    let missing = whole.iter().filter(|is_whole| !**is_whole).count();
    let mut space = Space { incoming, file, disk, whole, missing, done_bytes: 0 };
    if opened == Opened::Resumed {
        take_stock(&mut space, &run.agent.pace)
            .await
            .map_err(|error| NoSpace::Never(error.reason(), error.to_string()))?;
        tracing::info!(bundle = %work.planned.key, done_bytes = space.done_bytes, "a bundle that was begun is gone on with");
    }
    Ok(space)
}

fn layout(work: &Work, descriptor: &Descriptor) -> Result<Layout, PublishError> {
    let objects = descriptor.objects.iter().map(|object| PlannedObject {
        name: object.name.clone(),
        length: object.bytes,
        media_type: object.media_type.as_str().into(),
        last_modified: object.last_modified,
        sha256: Some(object.sha256),
    });
    Layout::new(work.planned.key.clone(), work.entry.descriptor, objects.collect())
}

/// Whether what was retired may still hold its space.
async fn make_room(run: &Run, work: &mut Work, volume: &OpenVolume) -> Result<bool, NoSpace> {
    let mut is_leaving = false;
    for discard in std::mem::take(&mut work.planned.discard_first) {
        if let Ok(from) = run.volume(discard.volume) {
            let id = BundleId::of(&discard.key);
            let removed = run.blocking(move || remove_partial(&from.volume, &id)).await;
            tracing::info!(bundle = %discard.key, ?removed, "what was begun of a bundle makes room");
        }
    }
    while let Some(retire) = work.planned.retire_first.first() {
        is_leaving |= retire_one(run, retire).await.map_err(NoSpace::Later)?;
        work.planned.retire_first.remove(0);
    }
    tracing::debug!(bundle = %work.planned.key, volume = volume.index, is_leaving, "room was made");
    Ok(is_leaving || work.room_waits > 0)
}

/// Retires one bundle. Whether its space has yet to return.
pub(crate) async fn retire_one(run: &Run, retire: &PlannedRetire) -> Result<bool, String> {
    match run.agent.daemon.retire(&retire.key).await {
        Ok(Retired::Gone(bytes)) => {
            tracing::info!(bundle = %retire.key, why = retire.why.as_str(), "a bundle was retired");
            run.record.retire(bytes);
            Ok(false)
        }
        Ok(Retired::Leaving) => {
            tracing::info!(bundle = %retire.key, why = retire.why.as_str(), "a bundle is being retired; readers still hold it");
            run.record.retire(retire.file_bytes);
            Ok(true)
        }
        Ok(Retired::Absent) => Ok(false),
        Err(error) => Err(format!("{} could not be retired: {error}", retire.key)),
    }
}

/// Blocks.
fn open_file(
    volume: &OpenVolume,
    layout: Layout,
    keep_free_bytes: u64,
) -> Result<(IncomingBundle, Opened), PublishError> {
    let file_bytes = layout.file_bytes();
    let (incoming, opened) = IncomingBundle::open(&volume.volume, layout)?;
    let is_short = volume.volume.space().is_ok_and(|space| space.free_bytes < keep_free_bytes);
    if opened == Opened::New && is_short {
        incoming.discard();
        return Err(PublishError::Full { file_bytes });
    }
    Ok((incoming, opened))
}

/// Which objects are whole is for the disk to say.
async fn take_stock(space: &mut Space, pace: &SharedPace) -> Result<(), DiskError> {
    let layout = space.incoming.layout();
    let found = read_back(&space.disk, &space.file, layout, pace).await?;
    let wrong: std::collections::HashSet<usize> = found.wrong(layout).collect();
    for place in 0..space.whole.len() {
        if !wrong.contains(&place) {
            space.arrived(place);
        }
    }
    Ok(())
}

/// Has the disk hold it, and reads all of it back.
pub(super) async fn verify(run: &Arc<Run>, space: Space) -> Result<Verified, (FailureReason, String)> {
    let Space { incoming, file, disk, .. } = space;
    let synced = run.blocking(move || {
        let synced = incoming.sync();
        (incoming, synced)
    });
    let (incoming, synced) =
        synced.await.ok_or_else(|| (FailureReason::DiskFailed, "a thread panicked".to_owned()))?;
    synced.map_err(refused)?;
    let found = read_back(&disk, &file, incoming.layout(), &run.agent.pace).await;
    let read_back = found.map_err(|error| (error.reason(), error.to_string()))?;
    let wrong = read_back.wrong(incoming.layout()).next();
    if let Some(place) = wrong {
        let why = format!(
            "the disk gives back other bytes than were written, in {}",
            incoming.layout().objects()[place].name
        );
        incoming.discard();
        return Err((FailureReason::DiskFailed, why));
    }
    Ok(Verified { incoming, read_back })
}

/// Gives it its tail and its name, durably.
pub(super) async fn publish(run: &Arc<Run>, verified: Verified) -> Result<(), (FailureReason, String)> {
    let Verified { incoming, read_back } = verified;
    let published =
        run.blocking(move || incoming.publish(read_back.digests, read_back.chunk_checksums)).await;
    match published {
        Some(Ok(_)) | Some(Err(PublishError::Exists(_))) => Ok(()),
        Some(Err(error)) => Err(refused(error)),
        None => Err((FailureReason::DiskFailed, "a thread panicked".to_owned())),
    }
}

fn never(error: PublishError) -> NoSpace {
    let (reason, why) = refused(error);
    NoSpace::Never(reason, why)
}

fn refused(error: PublishError) -> (FailureReason, String) {
    let reason = match &error {
        PublishError::Contents(_) => FailureReason::Descriptor,
        PublishError::Length { .. } => FailureReason::WrongLength,
        PublishError::Digest { .. } => FailureReason::WrongBytes,
        PublishError::Full { .. } => FailureReason::DiskFull,
        PublishError::Isolated { .. } => FailureReason::VolumeLost,
        PublishError::Io { error, .. } => io_reason(error),
        PublishError::Exists(_) | PublishError::InUse(_) | PublishError::ReadBack(_) => {
            FailureReason::DiskFailed
        }
    };
    (reason, error.to_string())
}

impl fmt::Debug for Space {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Space({:?}, {} missing)", self.incoming.file().as_fd(), self.missing)
    }
}
