//! Every bound of this crate, with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::units::ByteCount;

/// The largest configuration file. Hundreds of times what all keys with comments need.
pub const CONFIG_FILE_BYTES_MAX: u64 = ByteCount::MIB.bytes();

/// The largest answer that a client of the admin API reads. An inventory entry is about 300 bytes of JSON, so this is
/// room for five times the 40,000 bundles of a 20 TB appliance.
pub const ANSWER_BYTES_MAX: u64 = ByteCount::mib(64).bytes();

/// The largest change document that is sent or taken: a few names, none longer than 1,024 bytes before JSON
/// escapes it.
pub const CHANGE_BYTES_MAX: u64 = ByteCount::kib(16).bytes();

/// The longest time to connect to the admin API. The daemon is on this machine, or on this site's network.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time from connecting to the last byte of an answer that only reads.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time for a change. Retiring waits for the last reader of a bundle, who may live as long as a
/// connection does by default.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(4 * 3600 + 60);

/// Volumes of one appliance: as many as the store takes (`VOLUMES_MAX` of cache-store), so that a file that
/// is checked here is not refused there. A server has at most some 40 disks.
pub const VOLUMES_MAX: usize = 64;

/// Addresses of one role. Each costs every worker a socket.
pub const LISTENERS_MAX: usize = 64;

/// Certificates, each held parsed, for all names that are served.
pub const CERTIFICATES_MAX: usize = 1024;

/// The longest path of a Unix socket: `sun_path` of `unix(7)`, less its closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Footers on the heap. Below, one large bundle's footer pushes out most others.
pub const FOOTER_CACHE: RangeInclusive<ByteCount> = ByteCount::mib(16)..=ByteCount::TIB;

/// Bundle files kept open. Below, a handful of viewers make every request an `open`; above `fs.nr_open`'s
/// usual value, no process gets so many descriptors.
pub const OPEN_BUNDLES: RangeInclusive<u32> = 16..=1_048_576;

/// Openings that wait, per volume. Each holds a connection.
pub const OPEN_QUEUE: RangeInclusive<u32> = 1..=65_536;

/// Read errors that isolate a volume.
pub const VOLUME_ERRORS: RangeInclusive<u32> = 1..=1_000_000;

/// Worker threads: more than the cores of any server.
pub const WORKERS: RangeInclusive<u32> = 1..=1024;

/// Connections: more than a server's memory can serve.
pub const CONNECTIONS: RangeInclusive<u32> = 1..=10_000_000;

/// Timeouts of a connection. Below a millisecond the timer wheel cannot tell them apart; a week is no timeout.
pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);

/// `Retry-After` is whole seconds.
pub const RETRY_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// `max-age` is whole seconds, and caches need not count beyond 2³¹ (RFC 9111, section 1.2.2).
pub const MAX_AGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1 << 31);

/// Read buffers of one worker. Below, a few cold viewers wait for each other.
pub const READ_BUFFERS: RangeInclusive<ByteCount> = ByteCount::mib(4)..=ByteCount::gib(64);

/// Unsent bytes that a socket may hold. Below 16 KiB a TLS record does not fit; above 64 MiB it bounds nothing.
pub const NOTSENT_LOWAT: RangeInclusive<ByteCount> = ByteCount::kib(16)..=ByteCount::mib(64);

/// The longest `Access-Control-Allow-Origin`, which is sent with every response.
pub const ALLOW_ORIGIN_BYTES_MAX: usize = 256;

/// Access log records that wait, per worker.
pub const ACCESS_QUEUE: RangeInclusive<u32> = 16..=1_048_576;

/// Bundles of one question for sources: about 100 KiB of names.
pub const SOURCES_BUNDLES_MAX: usize = 1_000;

/// Objects of one descriptor: as many as a bundle may have (`OBJECTS_MAX` of cache-store).
pub const DESCRIPTOR_OBJECTS_MAX: usize = 1 << 18;

/// The largest descriptor, with about 200 bytes for each object.
pub const DESCRIPTOR_BYTES_MAX: u64 = ByteCount::mib(64).bytes();

/// Entries of one fill manifest: five times the 40,000 bundles of a 20 TB appliance.
pub const MANIFEST_ENTRIES_MAX: usize = 200_000;

/// The largest signed manifest. An entry is about 350 bytes, once more escaped in its envelope.
pub const MANIFEST_BYTES_MAX: u64 = ByteCount::mib(128).bytes();

/// Failures that the report of one run lists.
pub const RUN_FAILURES_MAX: usize = 1_000;

/// Entries left out that a plan lists.
pub const PLAN_SKIPPED_MAX: usize = 1_000;
