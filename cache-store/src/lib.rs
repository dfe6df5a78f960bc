//! Bundles on disk: their format, how they come into a volume and leave it, and how they are found and read.
//!
//! A *bundle* is an immutable file that holds the objects of one directory of the served paths. A *volume* is a
//! directory on one disk that holds bundles. The [`Store`] is all volumes of an appliance, and what serves from them.
//!
//! Reading order:
//!
//! 1. [`format`](mod@format): the bytes of a bundle. Pure; takes any bytes, and believes none before they are checked.
//!    `identity` (what files are called) and `reader` (footer from file) belong to it.
//! 2. `volume` (with its marker, lock and isolation) and `disk` (every system call that writes, syncs or reads): what
//!    a volume is.
//! 3. `layout` (where every object lies, before any is there) and `publish`: the only way in; its head lists the steps
//!    whose order makes crashes harmless. `incoming` is the files on their way, and what becomes of those left behind; `writer` writes one from front
//!    to back, `partial` in any order and over several runs; `checksums` computes what both need.
//! 4. [`inventory`]: what a volume holds, in an append-only journal; its records, its bytes, its recovery.
//! 5. `store`, and what its threads share (`shared`): `index` finds the bundle of a path without a lock; `bundle` is a
//!    bundle, closed or open; `openers` open, read footers and close, off the workers; `footers` bounds what is open.
//! 6. `keeper`, one thread a volume, the only one that changes it: `keeper/adoption` (into service), `keeper/removal`
//!    (out of it), `keeper/unadopted` (what a purge means and never served), `reconcile` and `keeper/reconciling`
//!    (directory against inventory). `departure` follows a bundle's way out to its last reader. `warden` takes bundles
//!    and volumes out of service when trouble is reported, and touches no disk.
//! 7. `status`, `counters`, `change`, `quarantine`: what is told, counted, asked, and why bundles are turned away.
//! 8. [`demand`]: what was pulled through, in a record log beside the bundles: its own format, index and recovery.
//! 9. [`import`](mod@import), [`verify`](mod@verify), [`generate`](mod@generate): what `oca-store` does without a
//!    daemon. [`limits`]: every bound, with its reason.
//!
//! What holds everywhere: nothing is changed in place; a change is durable before it is acknowledged; a name
//! in the directory or a record of the inventory says where to look, and is never proof of what is there; no
//! thread waits for a disk that it was not asked to wait for; no lock is held across a system call.

mod aligned;
mod bundle;
mod change;
mod checksums;
mod clock;
mod counters;
pub mod demand;
mod departure;
mod disk;
mod disk_error;
mod footers;
pub mod format;
pub mod generate;
mod identity;
pub mod import;
mod incoming;
mod index;
pub mod inventory;
mod keeper;
mod layout;
pub mod limits;
mod media_type;
mod openers;
mod partial;
mod publish;
mod quarantine;
mod reader;
mod reconcile;
mod shared;
mod status;
mod store;
pub mod verify;
mod volume;
mod warden;
mod writer;

pub use bundle::{Bundle, FileHold, OpenBundle, VolumeIndex};
pub use change::{Adoption, AdoptionOutcome, ChangeError, Purge, Retirement};
pub use checksums::ChunkChecksums;
pub use counters::StoreCounters;
pub use departure::{Cause, Departure, DepartureState};
pub use disk::FileSystemSpace;
pub use footers::FooterUse;
pub use format::{ALIGNMENT, CHUNK_BYTES, CorruptChunk, Object};
pub use identity::BundleId;
pub use incoming::Opened;
pub use layout::{Layout, PlannedObject};
pub use media_type::media_type;
pub use openers::{OnOpened, OpenError, OpenQueueFull};
pub use partial::{IncomingBundle, PartialBundle, partial_bundles, remove_partial};
pub use publish::{PublishError, PublishedBundle};
pub use quarantine::{QuarantineReason, QuarantinedBundle};
pub use reader::{ReadError, read_footer_of};
pub use reconcile::ReconcileReport;
pub use status::{BundleState, InventoryEntry, VolumeState, VolumeStatus};
pub use store::{Store, StoreError, StoreOptions, VolumeOptions};
pub use volume::{Isolation, Volume, VolumeError, VolumeId, VolumeLock};
pub use writer::BundleWriter;
