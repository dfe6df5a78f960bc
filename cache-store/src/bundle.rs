//! A published bundle, and one whose file is open and whose footer is in memory.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use control_client::content::BundleKey;

use crate::departure::Departure;
use crate::format::{CorruptChunk, Footer, Object};
use crate::identity::BundleId;
use crate::inventory::BundleRecord;
use crate::openers::Openers;

/// The place of a volume in the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeIndex(pub u8);

/// A bundle of the inventory: some 200 bytes of memory, whatever the number of its objects.
pub struct Bundle {
    instance: u64,
    record: BundleRecord,
    id: BundleId,
    volume: VolumeIndex,
    /// Looked at by the sweep of the footer cache.
    used: AtomicBool,
    /// Files opened and not closed yet, and openings under way.
    open_files: AtomicU32,
    open: ArcSwapOption<OpenBundle>,
    departure: OnceLock<Arc<Departure>>,
}

/// A bundle with its file open and its footer verified and in memory. Whoever holds it can read: the file's
/// space stays until the last holder has let go.
///
/// Dropping it never closes the file on the dropping thread: the volume's openers do that.
pub struct OpenBundle {
    bundle: Arc<Bundle>,
    /// Taken by `drop` only.
    contents: Option<OpenFile>,
    openers: Arc<Openers>,
}

/// Counts as an open file of a bundle: its space does not count as returned before this is dropped. For whoever opens the
/// file of an open bundle once more; to be dropped after that file was closed.
pub struct FileHold(Arc<Bundle>);

/// What an open bundle holds, and what its openers close.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: OwnedFd,
    pub(crate) footer: Footer,
    pub(crate) reads_may_block: bool,
}

impl VolumeIndex {
    /// The index as one of a slice.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl Bundle {
    pub(crate) fn new(record: BundleRecord, volume: VolumeIndex) -> Self {
        static LAST_INSTANCE: AtomicU64 = AtomicU64::new(0);
        Self {
            instance: LAST_INSTANCE.fetch_add(1, Ordering::Relaxed) + 1,
            id: BundleId::of(&record.key),
            record,
            volume,
            used: AtomicBool::new(false),
            open_files: AtomicU32::new(0),
            open: ArcSwapOption::empty(),
            departure: OnceLock::new(),
        }
    }

    /// A number that no other bundle of this process has or will have, from 1: another file that comes to this path,
    /// even with the same generation, has another.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Path and generation.
    pub fn key(&self) -> &BundleKey {
        &self.record.key
    }

    /// The volume that holds it.
    pub fn volume(&self) -> VolumeIndex {
        self.volume
    }

    /// What its file is called.
    pub fn id(&self) -> BundleId {
        self.id
    }

    /// What the inventory says of it: lengths and counts.
    pub fn record(&self) -> &BundleRecord {
        &self.record
    }

    /// The open bundle, if its footer is in memory; marks it as used, so that it stays there. Lock-free.
    pub fn opened(&self) -> Option<Arc<OpenBundle>> {
        let open = self.open.load_full()?;
        // Written only when it changes, so that the cache line is not torn between the workers.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some(open)
    }

    /// Whether it is on its way out, so that nothing new may be served from it.
    pub fn is_leaving(&self) -> bool {
        self.departure.get().is_some()
    }

    pub(crate) fn departure(&self) -> Option<&Arc<Departure>> {
        self.departure.get()
    }

    /// Begins a departure; `false` where one has begun already.
    pub(crate) fn depart(&self, departure: &Arc<Departure>) -> bool {
        self.departure.set(Arc::clone(departure)).is_ok()
    }

    pub(crate) fn open_slot(&self) -> &ArcSwapOption<OpenBundle> {
        &self.open
    }

    /// Whether it was used since this was last asked.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Counts a file in, before it is opened. With [`Bundle::count_out`] and the departure this is a
    /// handshake: each side writes its word before it reads the other's (sequentially consistent), so that at
    /// least one of them sees that a bundle has no file and no reader left.
    pub(crate) fn count_in(&self) {
        self.open_files.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a file out, after it is closed; tells a departure whose last file that was.
    pub(crate) fn count_out(&self) {
        if self.open_files.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(departure) = self.departure.get()
        {
            departure.on_no_open_files();
        }
    }

    pub(crate) fn has_open_files(&self) -> bool {
        self.open_files.load(Ordering::SeqCst) > 0
    }
}

impl OpenBundle {
    pub(crate) fn new(bundle: Arc<Bundle>, contents: OpenFile, openers: Arc<Openers>) -> Self {
        Self { bundle, contents: Some(contents), openers }
    }

    /// The bundle that it is.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// The open file; `O_DIRECT` where the volume takes it.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.contents().file.as_fd()
    }

    /// Counts one more open file of the bundle.
    pub fn hold(&self) -> FileHold {
        // This open bundle is counted itself, so that no departure has seen the last file go.
        self.bundle.count_in();
        FileHold(Arc::clone(&self.bundle))
    }

    /// Whether starting a read can wait for the disk: see [`crate::Volume::reads_may_block`].
    pub fn reads_may_block(&self) -> bool {
        self.contents().reads_may_block
    }

    /// The verified footer.
    pub fn footer(&self) -> &Footer {
        &self.contents().footer
    }

    /// The object of that name.
    pub fn object(&self, name: &str) -> Option<Object<'_>> {
        self.footer().object(name)
    }

    /// Bytes of the data region; a multiple of 4 KiB.
    pub fn data_bytes(&self) -> u64 {
        self.footer().data_bytes()
    }

    /// Compares chunks of 64 KiB, whole ones (the last of the data region may be short), with their
    /// checksums.
    pub fn verify(&self, first_chunk: u64, bytes: &[u8]) -> Result<(), CorruptChunk> {
        self.footer().verify(first_chunk, bytes)
    }

    /// Bytes of memory that it holds.
    pub fn memory_bytes(&self) -> u64 {
        self.footer().memory_bytes() + size_of::<Self>() as u64
    }

    fn contents(&self) -> &OpenFile {
        self.contents.as_ref().expect("only drop takes the contents")
    }
}

impl FileHold {
    /// Whose file it is.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.0
    }
}

impl Drop for FileHold {
    fn drop(&mut self) {
        self.0.count_out();
    }
}

impl Drop for OpenBundle {
    fn drop(&mut self) {
        if let Some(contents) = self.contents.take() {
            self.openers.close(Arc::clone(&self.bundle), contents);
        }
    }
}

impl fmt::Display for VolumeIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bundle({} on volume {})", self.record.key, self.volume)
    }
}

impl fmt::Debug for OpenBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpenBundle({} on volume {})", self.bundle.record.key, self.bundle.volume)
    }
}
