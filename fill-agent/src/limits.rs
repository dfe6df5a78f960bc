//! Every bound of this crate, with its reason.

use std::time::Duration;

use control_client::backoff::Backoff;

/// Bytes that go to and from a disk at once: enough for its full bandwidth. The kernel cannot be interrupted in favour of the daemon
/// while it pins a block's pages, and more than 127 to 254 of them are two requests to the disk.
pub const BLOCK_BYTES: usize = 512 << 10;

/// Bytes that are digested before whoever else is ready may run: some forty microseconds. Less costs more: each time is a system call.
pub const PIECE_BYTES: usize = 64 << 10;

/// Reads of a verification that are under way at once while nothing is written to the volume: enough for a disk's bandwidth.
pub const VERIFY_READS: usize = 16;

/// The same while the volume is written. Disks and their schedulers take reads first: with many of them under way, the writes
/// starve, and with those the receiving; then fetching and verifying take turns instead of going on beside each other.
pub const VERIFY_READS_BESIDE_WRITES: usize = 4;

/// Blocks of one object that are on their way to the disk at once: it keeps on receiving while the disk does something else.
pub const WRITES_PER_FETCH: usize = 4;

/// Blocks of one volume per object that is fetched at once: one is filled while the disk takes the others.
pub const BLOCKS_PER_FETCH: usize = 1 + WRITES_PER_FETCH;

/// Blocks of one volume, however many objects are fetched at once.
pub const BLOCKS_MAX: usize = 240;

/// Entries of a disk thread's ring, beyond which tokio-uring submits early; more than there are blocks.
pub const RING_ENTRIES: u32 = 256;

/// How often a disk thread looks after its ring while operations are under way: tokio-uring drops errors of a
/// submission, and only the next turn of its loop submits again.
pub const RING_TICK: Duration = Duration::from_millis(100);

/// A disk that has not answered after this long hangs. Service isolates volumes earlier; fill is patient, because
/// the disk is busy with both.
pub const DISK_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a response's head, and what is read of a body at once.
pub const HEAD_BYTES_MAX: usize = 128 << 10;

/// Fields of a response's head.
pub const HEAD_FIELDS_MAX: usize = 64;

/// The longest `ETag` that is kept for a resumption: longer ones exist only to annoy.
pub const ETAG_BYTES_MAX: usize = 1024;

/// A volume that has not answered a question of its file system after this long is left alone until it does.
pub const VOLUME_QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A volume that has not synced a bundle after this long counts as silent: one that takes no direct writes has gigabytes in memory.
pub const VOLUME_SYNC_TIMEOUT: Duration = Duration::from_secs(600);

/// Addresses of one source's name that are tried, each with `fill.connect_timeout`.
pub const ADDRESSES_MAX: usize = 4;

/// Times in a row that an object is resumed from where it broke off without a byte of progress, before its source is told to
/// have failed.
pub const OBJECT_FAILURES_MAX: u32 = 3;

/// What counts as progress of an object that is resumed: less, and a source could keep it for ever.
pub const OBJECT_PROGRESS_BYTES: u64 = 64 << 10;

/// Times that an object is begun anew from one source, because it changed or cannot be resumed.
pub const OBJECT_RESTARTS_MAX: u32 = 2;

/// Before an object is resumed: the first time, and the longest.
pub const OBJECT_RETRY: Backoff =
    Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(2) };

/// A source that sends less than this per second while it is waited for, is too slow: a segment of 4 MiB would take
/// four minutes.
pub const SOURCE_BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// The receive buffer of a connection, in bytes asked of the kernel, which doubles it. Below, a window does not hold
/// one segment of jumbo frames; above, nothing is won within a continent.
pub const RECEIVE_BUFFER_BYTES: (u32, u32) = (16 << 10, 4 << 20);

/// The part of a second's bytes that all receive buffers together may hold, and that the pace leaves to them: the
/// kernel takes so much ahead of what the agent has agreed to.
pub const RECEIVE_BUFFERS_SHARE: u64 = 16;

/// Bytes that one read of a connection may take of the pace, so that connections take turns: as much as is read of a body at
/// once. Under a low rate the pace grants less.
pub const PACED_READ_BYTES: usize = HEAD_BYTES_MAX;

/// Bundles that are fetched, verified or published at once. One is fetched while another is verified and a third is synced, and
/// the next one's first objects fill the places that the last ones of the first leave free.
pub const BUNDLES_AT_ONCE: usize = 4;

/// How long one bundle's retiring is waited for. Its readers may take hours; its successor then comes later.
pub const RETIRE_WAIT: Duration = Duration::from_secs(60);

/// Bundles that the daemon is asked to retire at once: half of what it takes, so that operators are not kept out.
pub const RETIRES_AT_ONCE: usize = 8;

/// Times that a bundle waits for room which retired bundles still hold, [`ROOM_RETRY`] each.
pub const ROOM_WAITS_MAX: u32 = 20;

/// Between two tries to get the room of a bundle.
pub const ROOM_RETRY: Duration = Duration::from_secs(30);

/// Between two looks whether better bundles have made their room. It is made in the agent's own memory.
pub const ROOM_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a daemon that does not answer is waited for before a run, and for an adoption: a restart takes seconds.
pub const DAEMON_WAIT: Duration = Duration::from_secs(120);

/// Between two questions to a daemon that does not answer: the first, and the longest.
pub const DAEMON_RETRY: Backoff =
    Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// For an exchange with the daemon that is only a question: it is on this machine.
pub const DAEMON_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an adoption may take: as long as a keeper of the store.
pub const ADOPT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the daemon may take to purge: what was pulled, within its `serve.disk_timeout`, and then half a minute for its volumes, which
/// look for what was published and never adopted.
pub const PURGE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a purge waits for what is being published, which the daemon is told of once more then: an adoption by a daemon that is
/// restarting may take so long. A disk may take longer to give a file its name; then the purge says that it is not done. The reporter stands
/// still meanwhile.
pub const PUBLICATION_WAIT: Duration = Duration::from_secs(DAEMON_WAIT.as_secs() + ADOPT_TIMEOUT.as_secs());

/// Times that a bundle waits for a control plane that does not give its descriptor now: some minutes in all.
pub const DESCRIPTOR_WAITS_MAX: u32 = 6;

/// Between two questions for a descriptor: the first, and the longest.
pub const DESCRIPTOR_RETRY: Backoff =
    Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(60) };

/// How many times faster than fill may receive a bundle is read back: fast enough to keep up, and no storm of reads
/// beside the viewers'.
pub const READ_BACK_FACTOR: u64 = 2;

/// However slow fill is, a bundle is read back as fast as this: no disk minds.
pub const READ_BACK_BYTES_PER_SECOND_MIN: u64 = 64 << 20;

/// Descriptors that are kept in the state folder, in bytes of all: hundreds of bundles that were begun.
pub const DESCRIPTORS_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a document in the state folder, beside the manifest: the sources of 200,000 bundles.
pub const STATE_BYTES_MAX: u64 = 256 << 20;

/// Runs that the history remembers: a quarter of a year of nights.
pub const HISTORY_RUNS_MAX: usize = 100;

/// How often a run writes down how far it came, so that its bytes are reported even where the agent is killed.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// The part of the night's bytes that a plan leaves to what comes with the objects: heads, probes, records of TLS, what is sent
/// twice. Measured (`demo/tests/night_overhead.rs`), of objects of 100 kB: 0.15 % from an origin, 0.5 % from an appliance, whose
/// heads have 474 bytes. TLS adds 0.13 %: 22 bytes to each record of 16 KiB.
pub const OVERHEAD_PART: u64 = 100;

/// The part of what is left of the night's bytes that is reserved ahead at most: so much a kill may cost.
pub const RESERVE_PART: u64 = 16;

/// What is reserved ahead at least, where so much is left: less, and a fast link waits for the disk that remembers it.
pub const RESERVE_BYTES_MIN: u64 = 16 << 20;

/// In an open window, between a run that left something undone and the next.
pub const RERUN_INTERVAL: Duration = Duration::from_secs(600);

/// In an open window, between a run that did all and the next look whether there is more.
pub const REPLAN_INTERVAL: Duration = Duration::from_secs(1800);

/// How often the daemon's load is asked for during a fill.
pub const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Licences that are remembered. Beyond, those of bundles that are neither listed nor held are forgotten, which are on volumes that were
/// taken out: those that end first. A licence takes some 150 bytes.
pub const LICENCES_KEPT_MAX: usize = 2 * control_client::limits::MANIFEST_ENTRIES_MAX;

/// How often licences are looked at: the clock may have been set, and a daemon that did not answer is asked again.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// How often the service looks at the window, and the watchdog is fed.
pub const TICK: Duration = Duration::from_secs(1);

/// Between two reports that fail: the first, and the longest.
pub const REPORT_RETRY: Backoff =
    Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(300) };

/// A reporter that has not got on for so long hangs: longer than the exchanges of one report, of which the control plane's may
/// take [`CONTROL_PLANE_EXCHANGE_TIMEOUT`](control_client::limits::CONTROL_PLANE_EXCHANGE_TIMEOUT) each (enrolment, report, manifest).
pub const REPORTER_TURN_MAX: Duration =
    Duration::from_secs(3 * control_client::limits::CONTROL_PLANE_EXCHANGE_TIMEOUT.as_secs() + 120);

/// How long `fill-agent run` waits for the control plane to take its report; what is not taken is reported by the service.
pub const LAST_REPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// Directives whose results are remembered, as many as the outbox keeps.
pub const DIRECTIVES_REMEMBERED_MAX: usize = 1_000;

/// Purges that a run remembers, of a kilobyte each at most: ten times as many as a control plane lets wait. Where there are more, the
/// run gives up all that is not published.
pub const PURGES_PER_RUN_MAX: usize = 1_000;

/// How often the control plane is told who this appliance is, whether that has changed or not: it may have been put back from a copy
/// that does not know.
pub const ENROL_INTERVAL: Duration = Duration::from_secs(3600);

/// A capacity that has changed by less than this part is not worth an enrolment.
pub const CAPACITY_CHANGE_PART: u64 = 100;

/// What is in flight when the agent is told to stop may end within this time; what is not done is left as a partial file.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that the agent's socket serves at once: operators, and the demo.
pub const SOCKET_CONNECTIONS_MAX: usize = 16;

/// Clients of the agent's socket that the kernel keeps until they are accepted.
pub const SOCKET_BACKLOG: i32 = 32;

/// For one exchange on the agent's socket.
pub const SOCKET_TIMEOUT: Duration = Duration::from_secs(30);

/// Content of a request on the agent's socket: `POST /run` has none.
pub const SOCKET_CONTENT_BYTES_MAX: usize = 16 << 10;

/// Threads of the runtime: two hash and decrypt more than a network port brings.
pub const RUNTIME_THREADS_MAX: usize = 4;

/// Threads that may block: of each of 64 volumes one question to its file system, all of which may hang; and what hashes,
/// plans, publishes, looks up names and keeps the state.
pub const BLOCKING_THREADS_MAX: usize = 64 + 64;
