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

/// Bytes of a journal: a million bundles with the longest paths, twice. It is read into memory as a whole.
pub const JOURNAL_BYTES_MAX: u64 = 2 << 30;

/// Records in one frame of a journal that is written anew: what one flipped bit puts out of reach.
pub const JOURNAL_FRAME_RECORDS: usize = 256;

/// Records in one append: with the longest paths they are a gigabyte, and a frame's length has 32 bits.
pub const JOURNAL_FRAME_RECORDS_MAX: usize = 1 << 20;

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
pub const OPENER_BUFFER_BYTES: usize = 256 << 10;

/// Bytes read at the end of a bundle of which nothing is known yet: holds most footers whole.
pub const TAIL_GUESS_BYTES: u64 = 128 << 10;

/// Opener threads of a volume. Beside a disk's full load a read takes 50 ms, and after a restart each bundle is opened anew: so many
/// openings at a time are little beside the reads of segments, and bring a title's first viewer his first byte within a few reads.
pub const OPENERS_PER_VOLUME: usize = 8;

/// Callers that may wait for openings of one volume: four times the connections of a large appliance. More
/// means that callers gave up on a volume that hangs, and left their waits behind.
pub const OPEN_WAITERS_MAX: usize = 1 << 16;

/// Commands that a keeper carries out with one write of the journal: a purge of a title is some hundred.
pub const KEEPER_BATCH_COMMANDS: usize = 256;

/// Directories that a keeper syncs one by one; a batch of removals in more of them is made durable with one sync
/// of the file system.
pub const DIRECTORY_SYNCS_MAX: usize = 16;

/// Synthetic bundles that are adopted with one write of the journal.
pub const GENERATE_BATCH_BUNDLES: usize = 1000;

/// How long `Store::open` waits for volumes; one that has not answered by then joins when it does.
pub const VOLUME_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a keeper tries to take its volume's lock while another process has it, for as long as `Store::open`
/// waits: an import holds it for as long as it takes to write its records.
pub const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How often a keeper tries to read the directories that it could not, where its inventory is made anew from them.
pub const RECOVERY_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// How often a keeper removes what dead writers have left under `incoming/`.
pub const INCOMING_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a bundle that was begun and not finished is kept after its last write: a weekend in which the source, or the
/// window, was shut. Its space is worth more than what it saves to fetch by then.
pub const PARTIAL_AGE_MAX: Duration = Duration::from_secs(3 * 24 * 3600);

/// How long the opening of a partial file waits for its lock: a reconciliation holds it while it removes a file.
pub const PARTIAL_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How often that lock is tried.
pub const PARTIAL_LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// Chunks that are read once more when a bundle is published whose writer has read all of it: some milliseconds.
pub const SAMPLED_CHUNKS_MAX: u64 = 16;

/// How long `Store::close` waits for its threads; a thread in a hung system call is left behind.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a keeper asks its file system for its free space.
pub const FREE_SPACE_INTERVAL: Duration = Duration::from_secs(5);

/// The time over which read errors of a volume are counted.
pub const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// Reads that time out within this time count as one error: they wait for the same hang. With eight errors a
/// minute allowed, a disk that resets itself within some 40 s keeps its volume, and one that hangs for longer
/// loses it.
pub const TIMEOUT_SPACING: Duration = Duration::from_secs(5);

/// How long a caller waits for a keeper to adopt, or to unlink: a disk that takes longer hangs. A purge may list all 256
/// directories of each volume in that time, which no cache may hold.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Such a wait goes on in slices of this length, so that a store that is closed, or a volume that is isolated meanwhile, does
/// not leave its caller waiting.
pub const CHANGE_WAIT_SLICE: Duration = Duration::from_secs(1);

/// Bytes of a log of demand content, at least: four of the smallest segments, of which one is leaving.
pub const DEMAND_CAPACITY_BYTES_MIN: u64 = 64 << 20;

/// Bytes of one block of demand content: what a range of a huge object fetches from upstream at once.
pub const DEMAND_BLOCK_BYTES_MAX: usize = 1 << 20;

/// Bytes of a primary key: the longest request target that is accepted, and the method.
pub const DEMAND_KEY_BYTES_MAX: usize = 16 << 10;

/// Bytes of a secondary key: the selecting fields of one request.
pub const DEMAND_SECONDARY_BYTES_MAX: usize = 8 << 10;

/// Bytes of an entry's metadata: the fields of one response, and little else.
pub const DEMAND_METADATA_BYTES_MAX: usize = 64 << 10;

/// Entries of one primary key: responses vary by a few encodings or languages. One that varies by what each client
/// makes up shall not have a lookup read more heads than this.
pub const DEMAND_VARIANTS_MAX: usize = 16;

/// Segments that a log's capacity is divided into: what leaves at once is about 1.5 % of it.
pub const DEMAND_SEGMENTS: u64 = 64;

/// Bytes of a segment, at most: what was not sealed is looked through when a log is opened after a crash.
pub const DEMAND_SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Bytes of a segment, at least: fifteen of the largest records, so that little is left at its end.
pub const DEMAND_SEGMENT_BYTES_MIN: u64 = 16 << 20;

/// Bytes that are read at once where records are looked for one by one; the longest head fits.
pub const DEMAND_SCAN_BYTES: usize = 256 << 10;

/// The part of an index's memory that the list of purges has for itself, one in so many. Over it the older half of the list
/// is forgotten, and what was stored before those purges goes at the next restart.
pub const DEMAND_PURGES_SHARE: u64 = 8;

/// Bytes of memory of the list of purges, however large the index may be: some hundred thousand of them.
pub const DEMAND_PURGES_MEMORY_MAX: u64 = 64 << 20;

/// The part of an index's memory that the summary of the segment that takes appends may have, one in so many: over it the
/// segment ends early.
pub const DEMAND_SUMMARY_SHARE: u64 = 16;

/// The part of an index's memory that notes of records may have which are not held any more, one in so many, before they
/// are swept out.
pub const DEMAND_DEAD_SHARE: u64 = 16;

/// Records of all segments of a log, held or not any more: as many as lists of them would take so many times the index's memory. Ten
/// times what can be held; over it the oldest segment leaves, or a log of small updates would take ever longer to open.
pub const DEMAND_SUMMARIES_TIMES: u64 = 4;

/// Bytes of the file of purges: all of them twice, before it is written anew.
pub const DEMAND_PURGES_BYTES_MAX: u64 = 256 << 20;

/// Garbage below this is not worth writing the file of purges anew.
pub const DEMAND_PURGES_GARBAGE_BYTES_MIN: u64 = 64 << 10;

/// How long what is kept for its readers may be in the way of what is new: as long as one slow reader may hold up others.
pub const DEMAND_KEPT_FOR: Duration = Duration::from_secs(5);

/// How often a read is tried whose record was written again elsewhere in the meantime: that takes a whole turn of the log.
pub const DEMAND_READ_ATTEMPTS: usize = 3;
