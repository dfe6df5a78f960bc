//! The room of a bundle on its volume, and what is in it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};

use cache_store::{BundleId, IncomingBundle, Layout, Opened, PlannedObject, PublishError, remove_partial};
use control_client::content::ObjectName;
use control_client::descriptor::Descriptor;
use control_client::fill::FailureReason;
use tokio::sync::Mutex;

use super::Work;
use super::clearing::remove_unserved;
use super::read_back::read_back;
use crate::disk::{DiskError, DiskFile, DiskThread, io_reason};
use crate::run::Run;
use crate::shared_pace::SharedPace;
use crate::volumes::OpenVolume;

/// A bundle's file, and which of its objects are in it.
pub(super) struct Space {
    pub(super) incoming: IncomingBundle,
    pub(super) file: DiskFile,
    pub(super) disk: Arc<DiskThread>,
    /// The checksums of each object that is there: see [`ReadBack::objects`].
    pub(super) known: Vec<Option<Vec<u32>>>,
    missing: usize,
    done_bytes: u64,
}

/// Why there is no room.
pub(super) enum NoSpace {
    /// There will be.
    Later(String),
    /// There will be when bundles before this one in the plan have made theirs.
    AfterOthers,
    /// Not in this run.
    Never(FailureReason, String),
}

impl Space {
    /// Whether all objects are there.
    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// The places of the objects that are not there.
    pub(super) fn missing(&self) -> Vec<usize> {
        (0..self.known.len()).filter(|place| self.known[*place].is_none()).collect()
    }

    /// Another object is there, with these checksums.
    pub(super) fn arrived(&mut self, place: usize, checksums: Vec<u32>) {
        if self.known[place].replace(checksums).is_none() {
            self.missing -= 1;
            self.done_bytes += self.incoming.layout().objects()[place].length;
        }
    }

    /// An object is not there any more: the disk gives back other bytes.
    pub(super) fn lost(&mut self, place: usize) {
        if self.known[place].take().is_some() {
            self.missing += 1;
            self.done_bytes -= self.incoming.layout().objects()[place].length;
        }
    }

    /// The name of the object at that place.
    pub(super) fn name(&self, place: usize) -> &ObjectName {
        &self.incoming.layout().objects()[place].name
    }

    /// Removes the file.
    pub(super) async fn discard(self, run: &Run, volume: &OpenVolume) {
        discard(run, volume, self.incoming).await;
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
    // Nothing goes before it is shown that its successor can be written: there is a ring, and a file under `incoming/`.
    let disk = disk_thread(run, volume).await?;
    remove_unserved(run, work).await?;
    let layout = layout(work, descriptor).map_err(never)?;
    let turn = Arc::clone(&work.file_turn);
    let (incoming, opened) = match open_file(run, &turn, volume, layout.clone()).await? {
        Tried::Opened(incoming, opened) => {
            if let Err(why) = make_room(run, work).await {
                if opened == Opened::New {
                    discard(run, volume, incoming).await;
                }
                return Err(why);
            }
            (incoming, opened)
        }
        Tried::Full(_) if work.makes_room() => {
            make_room(run, work).await?;
            match open_file(run, &turn, volume, layout).await? {
                Tried::Opened(incoming, opened) => (incoming, opened),
                Tried::Full(error) => return Err(no_room(run, work, error)),
            }
        }
        Tried::Full(error) => return Err(no_room(run, work, error)),
    };
    let file = DiskFile::of(incoming.file())
        .map_err(|error| NoSpace::Never(FailureReason::DiskFailed, error.to_string()))?;
    let is_empty = |object: &PlannedObject| (object.length == 0).then(Vec::new);
    let known: Vec<_> = incoming.layout().objects().iter().map(is_empty).collect();
    let missing = known.iter().filter(|known| known.is_none()).count();
    let mut space = Space { incoming, file, disk, known, missing, done_bytes: 0 };
    if opened == Opened::Resumed {
        take_stock(&mut space, &run.agent.pace)
            .await
            .map_err(|error| NoSpace::Never(error.reason(), error.to_string()))?;
        tracing::info!(bundle = %work.planned.key, done_bytes = space.done_bytes, "a bundle that was begun is gone on with");
    }
    Ok(space)
}

/// Removes a file that was begun: freeing a large one takes a disk long. One that is silent keeps it for the next run.
async fn discard(run: &Run, volume: &OpenVolume, incoming: IncomingBundle) {
    let _ = run.agent.volumes.calls().work(volume.index, move || incoming.discard()).await;
}

async fn disk_thread(run: &Run, volume: &OpenVolume) -> Result<Arc<DiskThread>, NoSpace> {
    let index = volume.index;
    let disk = run.agent.blocking(move |agent| agent.volumes.disk(index)).await;
    disk.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => unwritable(error.to_string()),
        _ => unwritable(format!(
            "no ring for the volume's disk: {error}; is io_uring allowed (kernel.io_uring_disabled, seccomp)?"
        )),
    })
}

/// The volume is lost for this run: whoever comes next must not even try.
pub(super) fn unwritable(why: String) -> NoSpace {
    NoSpace::Never(FailureReason::VolumeLost, why)
}

/// Why there is no room after everything that was to go for it has gone.
fn no_room(run: &Run, work: &Work, error: PublishError) -> NoSpace {
    let volume = work.planned.volume;
    if run.room.is_to_come(volume, work.rank) {
        return NoSpace::AfterOthers;
    }
    if run.room.is_leaving(volume) {
        return NoSpace::Later("readers still hold the space of what was retired for it".to_owned());
    }
    never(error)
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

/// Has go what the plan says.
async fn make_room(run: &Run, work: &mut Work) -> Result<(), NoSpace> {
    for discard in std::mem::take(&mut work.planned.discard_first) {
        if let Ok(from) = run.volume(discard.volume) {
            let id = BundleId::of(&discard.key);
            let removing = move || remove_partial(&from.volume, &id);
            let removed = run.agent.volumes.calls().work(discard.volume, removing).await;
            tracing::info!(bundle = %discard.key, ?removed, "what was begun of a bundle makes room");
        }
    }
    run.retire(&work.planned.retire_first).await.map_err(NoSpace::Later)?;
    work.planned.retire_first.clear();
    Ok(())
}

/// What came of trying to open the file.
enum Tried {
    Opened(IncomingBundle, Opened),
    /// It could be made, and has no room.
    Full(PublishError),
}

async fn open_file(
    run: &Run,
    turn: &Arc<Mutex<()>>,
    volume: &OpenVolume,
    layout: Layout,
) -> Result<Tried, NoSpace> {
    let OpenVolume { index, volume, room_turn } = volume.clone();
    let (reserve, file_bytes) = (run.agent.volumes.reserve().clone(), layout.file_bytes());
    let turn = Arc::clone(turn).lock_owned().await;
    let open = move || {
        let _room_turn = room_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (incoming, opened) = IncomingBundle::open(&volume, layout)?;
        if opened == Opened::New && reserve.is_short(&volume) {
            incoming.discard();
            return Err(PublishError::Full { file_bytes });
        }
        Ok((incoming, opened))
    };
    // Where nobody waits any more, the file is closed first, and then it is somebody else's turn.
    let opened = run.agent.volumes.calls().work(index, move || (open(), turn)).await;
    match opened.map(|(opened, _turn)| opened) {
        Ok(Ok((incoming, opened))) => Ok(Tried::Opened(incoming, opened)),
        Ok(Err(error @ PublishError::Full { .. })) => Ok(Tried::Full(error)),
        Ok(Err(error @ PublishError::Io { .. })) => Err(unwritable(error.to_string())),
        Ok(Err(error)) => Err(never(error)),
        Err(silence) => Err(unwritable(silence.to_string())),
    }
}

/// Which objects are whole is for the disk to say.
async fn take_stock(space: &mut Space, pace: &SharedPace) -> Result<(), DiskError> {
    let layout = space.incoming.layout();
    let found = read_back(&space.disk, &space.file, layout, pace, &space.known).await?;
    for (place, object) in found.objects.into_iter().enumerate() {
        if let Some(checksums) = object {
            space.arrived(place, checksums);
        }
    }
    Ok(())
}

fn never(error: PublishError) -> NoSpace {
    let (reason, why) = refused(error);
    NoSpace::Never(reason, why)
}

pub(super) fn refused(error: PublishError) -> (FailureReason, String) {
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
