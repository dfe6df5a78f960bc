//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// Objects in one bundle. A day of video in one-second segments is 86,400; more than this is no fill item.
pub const OBJECTS_MAX: u32 = 1 << 18;

/// Bytes of a bundle's data region: ten hours of video at 50 Mbit/s are 225 GB.
pub const DATA_BYTES_MAX: u64 = 256 << 30;

/// Bytes of a footer: it is read as a whole and kept on the heap.
pub const FOOTER_BYTES_MAX: u32 = 64 << 20;

/// Different media types in one bundle: their index is kept in 16 bits, and a bundle has a handful.
pub const MEDIA_TYPES_MAX: u32 = 256;

/// Bytes of one media type: the longest ones registered, with parameters, are below 200.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// The last second that an HTTP date can say (31 December 9999).
pub const LAST_MODIFIED_MAX: u64 = 253_402_300_799;

/// Volumes of one store: a server has at most some 40 disks, and a volume's number is one byte.
pub const VOLUMES_MAX: usize = 64;

/// Bytes of one record of the inventory journal: the longest bundle path and the numbers beside it.
pub const RECORD_BYTES_MAX: u32 = 1024 + 64;

/// Bytes of a journal: a million bundles with the longest paths, twice. It is read into memory as a whole.
pub const JOURNAL_BYTES_MAX: u64 = 2 << 30;

/// Garbage below this is not worth the compaction of a journal.
pub const JOURNAL_GARBAGE_BYTES_MIN: u64 = 64 << 10;

/// Bytes reserved ahead of a journal's end, so that retiring works on a full disk.
pub const JOURNAL_RESERVE_BYTES: u64 = 1 << 20;

/// Bytes of the marker file and of the isolation record: both hold a few short fields.
pub const DOCUMENT_BYTES_MAX: u64 = 4096;

/// Quarantined files kept for examination on each volume; older ones are unlinked.
pub const QUARANTINE_FILES_MAX: usize = 16;

/// Quarantines remembered for reports, per volume.
pub const QUARANTINE_REPORTS_MAX: usize = 16;

/// Bytes that the writer and the verification move at once: large enough for a disk's full bandwidth.
pub const BLOCK_BYTES: usize = 1 << 20;

/// Bytes of buffer that an opener keeps between two openings; a larger footer gets a buffer of its own.
pub const OPENER_BUFFER_BYTES: usize = 1 << 20;

/// Bytes read at the end of a bundle of which nothing is known yet: holds most footers whole.
pub const TAIL_GUESS_BYTES: u64 = 128 << 10;

/// Opener threads of a volume: one may wait for a slow read while the other goes on.
pub const OPENERS_PER_VOLUME: usize = 2;

/// Callers that may wait for openings of one volume: four times the connections of a large appliance. More
/// means that callers gave up on a volume that hangs, and left their waits behind.
pub const OPEN_WAITERS_MAX: usize = 1 << 16;

/// Entries of one reconciled directory that are looked at between two commands to a keeper: some hundred.
pub const BUNDLE_DIRECTORIES: u16 = 256;

/// How long `Store::open` waits for volumes; one that has not answered by then joins when it does.
pub const VOLUME_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `Store::close` waits for its threads; a thread in a hung system call is left behind.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a keeper asks its file system for its free space.
pub const FREE_SPACE_INTERVAL: Duration = Duration::from_secs(5);

/// The time over which read errors of a volume are counted.
pub const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// Reads that time out within this time count as one error: they wait for the same hang.
pub const TIMEOUT_SPACING: Duration = Duration::from_secs(1);

/// How long a caller waits for a keeper to adopt, or to unlink: a disk that takes longer hangs.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
