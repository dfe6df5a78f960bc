//! Every bound of this crate, with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::units::{BitRate, ByteCount};

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

/// Memory for what is asked for most, where it is not left to the daemon. Below, not a single block of 2 MiB fits.
pub const RAM_TIER: RangeInclusive<ByteCount> = ByteCount::mib(2)..=ByteCount::gib(16 * 1024);

/// Unsent bytes that a socket may hold. Below 16 KiB a TLS record does not fit; above 64 MiB it bounds nothing.
pub const NOTSENT_LOWAT: RangeInclusive<ByteCount> = ByteCount::kib(16)..=ByteCount::mib(64);

/// The longest `Access-Control-Allow-Origin`, which is sent with every response.
pub const ALLOW_ORIGIN_BYTES_MAX: usize = 256;

/// The pace of one response. Below, audio is late; a Tbit/s is no bound on any link.
pub const PACING_RATE: RangeInclusive<BitRate> = BitRate::new(100_000)..=BitRate::new(1_000_000_000_000);

/// Rules about what no bundle holds. Each is looked at for every such request.
pub const PULL_RULES_MAX: usize = 64;

/// Places to pull from. Each is tried in turn.
pub const UPSTREAMS_MAX: usize = 16;

/// Fields of clients that the operator lets through to upstreams. Each is looked for in every request.
pub const PULL_REQUEST_FIELDS_MAX: usize = 16;

/// The part of a volume for pulled content. All of it would leave nothing for bundles; none would keep nothing.
pub const PULL_VOLUME_PERCENT: RangeInclusive<u32> = 1..=90;

/// Memory of pull-through. Below, a handful of viewers fills it.
pub const PULL_MEMORY: RangeInclusive<ByteCount> = ByteCount::mib(4)..=ByteCount::TIB;

/// What a fetch that nobody waits for may have left to be finished. None is possible: then all are broken off.
pub const PULL_FINISH_BELOW: RangeInclusive<ByteCount> = ByteCount::ZERO..=ByteCount::TIB;

/// Requests that pulled content answers at once: each has a buffer of up to 256 KiB.
pub const PULL_REQUESTS: RangeInclusive<u32> = 1..=1_048_576;

/// Requests to upstreams at once: each has a connection.
pub const PULL_FETCHES: RangeInclusive<u32> = 1..=65_536;

/// Timeouts of an upstream. Viewers do not wait for minutes.
pub const PULL_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);

/// Lines of the access log that wait, per worker. The least is what a worker may log in the shortest pause of the log's thread.
pub const ACCESS_QUEUE: RangeInclusive<ByteCount> = ByteCount::kib(128)..=ByteCount::gib(1);

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

/// Bytes of all objects of one bundle: as many as the store takes (`DATA_BYTES_MAX` of cache-store).
pub const BUNDLE_BYTES_MAX: u64 = ByteCount::gib(256).bytes();

/// Bytes of one media type (`MEDIA_TYPE_BYTES_MAX` of cache-store).
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// The last second of the year 9999, the last one that an HTTP date and RFC 3339 can say.
pub const TIMESTAMP_MAX: u64 = 253_402_300_799;

/// The largest integer that every JSON reader keeps exact (RFC 7493, section 2.2).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The longest name of a signing key: it is repeated in refusals.
pub const KEY_ID_BYTES_MAX: usize = 64;

/// A token with fewer characters can be guessed; one with more is somebody's mistake.
pub const TOKEN_BYTES_MIN: usize = 16;

/// The longest token. RFC 6750 sets no bound; a JSON web token may come near this.
pub const TOKEN_BYTES_MAX: usize = 2048;

/// The longest base URL: with a path and an object's name, each byte of them percent-encoded, it still fits the request
/// lines that servers take.
pub const URL_BYTES_MAX: usize = 1024;

/// The longest time to connect to the control plane, which may be half the world away.
pub const CONTROL_PLANE_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Without a byte from the control plane. It may have to rank first.
pub const CONTROL_PLANE_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// For a whole exchange with the control plane: the largest manifest at 2 Mbit/s.
pub const CONTROL_PLANE_EXCHANGE_TIMEOUT: Duration = Duration::from_secs(600);

/// For a whole exchange with the agent. A plan may ask the control plane for a manifest first, within its timeouts.
pub const AGENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait that the control plane's `Retry-After` can ask for. Longer is a mistake: an appliance that is silent for
/// hours looks dead.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Answers that say little: acknowledgements and failures.
pub const SMALL_ANSWER_BYTES_MAX: u64 = ByteCount::kib(64).bytes();

/// The largest answer to a report: directives, each a path at most, for a thousand of them.
pub const REPORT_ANSWER_BYTES_MAX: u64 = ByteCount::mib(4).bytes();

/// The largest answer to one question for sources: a thousand bundles with some ten sources each.
pub const SOURCES_BYTES_MAX: u64 = ByteCount::mib(16).bytes();

/// Sources of one bundle. A site has some dozen appliances; beyond, trying them takes longer than the night.
pub const SOURCES_PER_BUNDLE_MAX: usize = 64;

/// The longest name of a source: reports repeat it.
pub const SOURCE_NAME_BYTES_MAX: usize = 255;

/// Characters that are repeated of a failure's word.
pub const FAILURE_WORD_CHARACTERS_MAX: usize = 64;

/// Characters that are repeated of a failure's sentence: a line or three of a log.
pub const FAILURE_DETAIL_CHARACTERS_MAX: usize = 400;

/// Between two reports. Below a second the control plane has no time for anything else; above an hour an appliance looks dead.
pub const REPORT_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// The largest report: the whole inventory of the largest appliance is some 30 MiB.
pub const REPORT_BYTES_MAX: u64 = ByteCount::mib(64).bytes();

/// Directories in the demand of one report: some 2 MiB. What is beyond goes into the next one.
pub const REPORT_PATHS_MAX: usize = 20_000;

/// Days of demand that wait apart for the control plane; older ones are added up. Popularity is kept by the day, and a week says
/// what a title's days are like.
pub const OUTBOX_DAYS_MAX: usize = 8;

/// Directories whose demand waits, over all days: those of five days on a 20 TB appliance, some 30 MiB in memory and on disk.
/// Beyond, days are added up, the oldest first, and then the directories that were asked for least are dropped.
pub const OUTBOX_PATHS_MAX: usize = 200_000;

/// Runs that wait: two months of nights. Beyond, the oldest are dropped.
pub const OUTBOX_RUNS_MAX: usize = 64;

/// Failures that are listed in the runs that wait, over all of them; beyond, the oldest runs only say how many there were.
pub const OUTBOX_FAILURES_MAX: usize = 4 * RUN_FAILURES_MAX;

/// Sources that a run lists by name; the bytes of the rest are added up by kind.
pub const RUN_SOURCES_MAX: usize = 256;

/// Results of directives that wait. A control plane that is away gives none.
pub const OUTBOX_RESULTS_MAX: usize = 1_000;

/// The largest outbox that is read: twice the largest that its other bounds allow with ordinary names.
pub const OUTBOX_FILE_BYTES_MAX: u64 = ByteCount::mib(512).bytes();

/// URLs of one appliance: a name or two for each protocol. Each is in every answer that steers there.
pub const SERVE_URLS_MAX: usize = 16;

/// Keys that are trusted at once: the one in use, the next, and some of other control planes.
pub const TRUSTED_KEYS_MAX: usize = 16;

/// The longest name of a time zone: the IANA database keeps to 14 bytes a component, and to three components.
pub const TIME_ZONE_BYTES_MAX: usize = 64;

/// The fill's rate. Below, a single title takes weeks; above, no network card receives so much.
pub const FILL_RATE: RangeInclusive<BitRate> = BitRate::new(100_000)..=BitRate::new(1_000_000_000_000);

/// Bytes of one night. Below, not one object fits; above is more than any appliance holds.
pub const NIGHT_BYTES: RangeInclusive<ByteCount> = ByteCount::KIB..=ByteCount::gib(1 << 20);

/// Space kept free on a volume: more than any disk has would be a mistake.
pub const KEEP_FREE: RangeInclusive<ByteCount> = ByteCount::ZERO..=ByteCount::gib(1 << 20);

/// Days in which a replacement has to earn its fill. 0 would let every wave of demand replace the whole disk.
pub const CHURN_DAYS: RangeInclusive<u32> = 1..=365;

/// Objects fetched at once. Each has a connection and some MiB of buffers; more than these fill no link better.
pub const FILL_CONCURRENCY: RangeInclusive<u32> = 1..=256;

/// Timeouts of a source. A source that is silent for an hour costs the night.
pub const FILL_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// The read latency at which the fill yields. Below a millisecond it would always yield; viewers do not wait 10 s.
pub const YIELD_LATENCY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);

/// Between two looks at an appliance's health, and for one.
pub const POLL_TIME: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);

/// Looks in a row that change a verdict.
pub const POLL_COUNT: RangeInclusive<u32> = 1..=1_000;

/// How long an appliance may wait for its peers before it fetches from afar.
pub const ESCALATION_MAX: Duration = Duration::from_secs(86_400);

/// Between two rankings.
pub const MANIFEST_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(7 * 86_400);

/// How long a steering answer holds. Players count it in seconds; for more than an hour nobody should go by what was true before.
pub const STEERING_TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Origins. Each is tried in turn for every bundle.
pub const ORIGINS_MAX: usize = 16;
