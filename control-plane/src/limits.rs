//! Every bound of the control plane, with its reason.

use std::time::Duration;

/// Connections to SQLite that read, beside the one that writes; each is a thread and its page cache of 16 MiB at most.
pub const SQLITE_READERS_MAX: u32 = 5;

/// Connections to PostgreSQL: a fraction of the 100 that a server takes by default, so that several control
/// planes can share it.
pub const POSTGRES_CONNECTIONS_MAX: u32 = 16;

/// The longest wait for a connection or for the writer's turn. Beyond, the caller is told to come again.
pub const DATABASE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a report is tried where others stand in its way. Each time at least one of them has ended.
pub const CONFLICT_TRIES: usize = 5;

/// Rows of one statement. Six columns each stay far below the 32,766 parameters of SQLite and the 65,535 of
/// PostgreSQL.
pub const ROWS_PER_STATEMENT: usize = 500;

/// Appliances that one steering answer names. A player tries two or three; more only make the answer longer.
pub const CANDIDATES_MAX: usize = 8;

/// Appliances that one steering answer explains: more than a person reads.
pub const EXPLAINED_MAX: usize = 1_000;

/// Sites that a client turns to in turn, its own among them. Each is one more tier of the hierarchy; real
/// ones have three.
pub const TIERS_MAX: usize = 8;

/// Sites of one fleet.
pub const SITES_MAX: usize = 65_536;

/// Appliances of one fleet: what one machine can hold the inventories of. Beyond, divide the fleet.
pub const APPLIANCES_MAX: usize = 20_000;

/// Prefixes of all sites: the Internet's routing tables of both families, and half as much again.
pub const PREFIXES_MAX: usize = 2_000_000;

/// Bundles are numbered below this, so that the largest inventory of an appliance takes 128 KiB of memory.
pub const BUNDLE_NUMBERS_MAX: u32 = 1 << 20;

/// Generations of one path that the catalogue remembers: the newest, and those that appliances may still
/// serve while they fetch it.
pub const GENERATIONS_KEPT: usize = 3;

/// Bundles of one title: far more than its representations, and few enough that publishing is one transaction
/// of seconds.
pub const TITLE_BUNDLES_MAX: usize = 10_000;

/// Directories that a title was published as, which the catalogue remembers: the one where it is, and those where appliances may still
/// hold what was pulled of it. Each may be an order to purge, of which [`DIRECTIVES_WAITING_MAX`] may wait.
pub const TITLE_DIRECTORIES_KEPT: usize = 8;

/// Directories below the one that is published, in depth. Deeper trees are loops, or no titles.
pub const PUBLISH_DEPTH_MAX: usize = 32;

/// Bytes read at once while a file is digested.
pub const DIGEST_BLOCK_BYTES: usize = 1 << 20;

/// Regions of one title.
pub const TITLE_REGIONS_MAX: usize = 1_000;

/// The longest text that an appliance tells about itself, in bytes: a release, an instance, a reason. What is
/// longer is refused, or cut where it is only shown.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Demand for one directory that one report may claim, in bytes and in requests: 100 Gbit/s for an hour and a
/// half. More is cut.
pub const DEMAND_MAX: u64 = 1 << 46;

/// Demand of a day, in bytes and in requests, for one directory in a region or for all of a site: 6 Tbit/s all day. What is beyond
/// is cut, so that sums over all days that are kept stay below 2⁶³.
pub const DEMAND_SUM_MAX: u64 = 1 << 56;

/// A report with an older number than the newest is a late one, unless it was made so much after it: clocks are set back by less.
pub const ROLLED_BACK_SECONDS: u64 = 60;

/// Days of demand that one report may bring. More than an appliance keeps while the control plane is away.
pub const REPORT_DAYS_MAX: usize = 64;

/// Directories with demand in one report, over all days.
pub const REPORT_PATHS_MAX: usize = 200_000;

/// Days of demand that are kept: what ranking looks at, and as much again for people.
pub const DEMAND_DAYS_KEPT: u32 = 60;

/// Runs that are kept of each appliance: three months of nights.
pub const RUNS_KEPT: usize = 100;

/// Runs that one report may bring.
pub const REPORT_RUNS_MAX: usize = 100;

/// The largest document of one run that is kept, in bytes: a thousand failures with long paths.
pub const RUN_BYTES_MAX: usize = 4 << 20;

/// Directives of one appliance that wait for their result. Each travels with every answer until then.
pub const DIRECTIVES_WAITING_MAX: u64 = 100;

/// Directives that are kept of each appliance after their results came, and results that one report may bring; more are passed over.
pub const DIRECTIVES_KEPT: usize = 100;

/// Bundles of one inventory: five times the 40,000 of a 20 TB appliance, as the largest fill manifest.
pub const INVENTORY_BUNDLES_MAX: usize = 200_000;

/// Tags of one title, and seasons.
pub const TITLE_TAGS_MAX: usize = 32;

/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 64;

/// The largest health report, in bytes: 64 volumes and a few dozen reasons are a tenth of this.
pub const HEALTH_BYTES_MAX: usize = 256 << 10;

/// Health reports asked for at once: a socket and at most [`HEALTH_BYTES_MAX`] each. With a timeout of 2 s,
/// one round of 10,000 appliances of which a tenth is dead takes 8 s.
pub const POLLS_AT_ONCE: usize = 256;

/// Between two looks at what other processes have changed in the database.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at inventories that other control planes were told.
pub const FOLLOW_INTERVAL: Duration = Duration::from_secs(5);

/// How long after a change of the catalogue or of an appliance new manifests are made: several changes make one.
pub const PLAN_DELAY: Duration = Duration::from_millis(500);

/// How many times as long as the last round of planning took, a change waits for the next one: so that a fleet whose rounds are
/// long, whatever changes all the time, is not planned for all the time.
pub const PLAN_REST: u32 = 9;

/// Reports that may be missed, at the interval that appliances are told, before one that cannot be polled
/// counts as silent.
pub const SILENT_INTERVALS: u32 = 3;

/// Appliances that serve, from which on a round of polls that misses most of them is doubted: two of three may well be gone.
pub const DOUBTED_FROM: usize = 4;

/// How long a question for sources waits for the first round of planning after a start.
pub const FIRST_PLAN_WAIT: Duration = Duration::from_secs(20);

/// Connections to the HTTP API: reports of 10,000 appliances keep far fewer open at once, and each costs a
/// descriptor and some 10 KiB.
pub const CONNECTIONS_MAX: usize = 4_096;

/// Requests that are worked on at once, steering apart; beyond, the caller is told to come again.
pub const REQUESTS_AT_ONCE: usize = 512;

/// Requests of those who look after the control plane itself that are worked on at once: anybody may ask, and each may cost a look at
/// the database, or at all inventories.
pub const OBSERVERS_AT_ONCE: usize = 8;

/// Media manifests that are made for players at once: far more than processors, and most are made of what is in memory.
pub const PLAYS_AT_ONCE: usize = 64;

/// How long the fleet's size stands for metrics: finding it walks all inventories.
pub const SIZE_INTERVAL: Duration = Duration::from_secs(5);

/// From the first byte of a connection, or the end of the last answer, to the end of a request's head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// From the end of a request's head to its answer, its content read in between: 32 MiB, more than an inventory of 200,000 bundles has, at
/// 5 Mbit/s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest that a peer may take nothing of what it is sent, before its connection is closed by the kernel
/// (`TCP_USER_TIMEOUT`).
pub const SEND_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that a stop waits for requests that are being worked on.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes. Tokens, paths and players' query parameters are a tenth of it.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// The largest question for sources, in bytes: [`control_client::limits::SOURCES_BUNDLES_MAX`] bundles with
/// the longest paths.
pub const SOURCES_BYTES_MAX: usize = 2 << 20;

/// The largest of all other contents, in bytes.
pub const CONTENT_BYTES_MAX: usize = 64 << 10;

/// Contents and answers up to this size, in bytes, are bounded by the number of requests and of connections alone.
pub const SMALL_BYTES_MAX: usize = 64 << 10;

/// Bytes of memory for each byte of a large content: the text, the document that is made of it, what is to be changed in the database.
pub const CONTENT_FACTOR: usize = 4;

/// Memory for large contents, in bytes, over all requests; beyond, requests wait a while.
pub const CONTENTS_BYTES_MAX: usize = 1 << 30;

/// Memory for large contents of one who asks, in bytes: one report of the largest size.
pub const CONTENTS_BYTES_EACH_MAX: usize = CONTENT_FACTOR * control_client::limits::REPORT_BYTES_MAX as usize;

/// The longest that a large content waits for memory.
pub const CONTENT_PATIENCE: Duration = Duration::from_secs(5);

/// The least rate of a large content after its first [`SMALL_BYTES_MAX`], in bytes a second: the largest comes within
/// [`REQUEST_TIMEOUT`] only at eight times this.
pub const CONTENT_BYTES_PER_SECOND: u64 = 128 << 10;

/// Memory for large answers, in bytes, over all connections; beyond, the caller is told to come again. Fill manifests of 40,000 bundles
/// have 14 MiB.
pub const ANSWERS_BYTES_MAX: usize = 512 << 20;

/// Memory for large answers to one who asks, in bytes: one manifest of the largest size.
pub const ANSWERS_BYTES_EACH_MAX: usize = control_client::limits::MANIFEST_BYTES_MAX as usize;

/// Memory for media manifests that are being sent to players, in bytes, over all connections: some hundred of the largest. It is apart
/// from [`ANSWERS_BYTES_MAX`], because anybody may ask for them, and a fill is not to wait for viewers.
pub const PLAY_ANSWERS_BYTES_MAX: usize = 128 << 20;

/// Memory for media manifests that are being sent to one address, in bytes: many viewers may be behind it.
pub const PLAY_ANSWERS_BYTES_EACH_MAX: usize = 32 << 20;

/// How long a large answer may take to be sent, beside what its bytes take at [`ANSWER_BYTES_PER_SECOND`].
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The least rate at which a large answer has to be taken, in bytes a second: 1 Mbit/s.
pub const ANSWER_BYTES_PER_SECOND: u64 = 125_000;

/// Bytes of a large answer that are handed to the connection at once.
pub const ANSWER_PIECE_BYTES: usize = 32 << 10;

/// Questions for sources of one appliance that come no farther apart are one: they are asked in a row, for at most
/// [`control_client::limits::SOURCES_BUNDLES_MAX`] bundles each.
pub const QUESTION_SECONDS: u64 = 60;

/// Bundles below a directory that are steered for as one: more representations, languages and subtitles than a title has.
pub const BUNDLES_BELOW_MAX: usize = 512;

/// Bundles that come into the catalogue, for which appliances that hold them already are looked for at once: one look-up for each
/// bundle and appliance.
pub const EARLY_HOLDERS_BUNDLES: usize = 200;

/// Peers that one list of sources names: more are not tried in a night.
pub const FILL_PEERS_MAX: usize = 16;

/// Appliances of the next tiers that one list of sources names. With the peers and the origins that can be configured these are
/// fewer than appliances take ([`control_client::limits::SOURCES_PER_BUNDLE_MAX`]).
pub const FILL_UPSTREAM_MAX: usize = 24;

/// The longest identifier of a pathway that is taken from a question, in bytes: names of appliances.
pub const PATHWAY_BYTES_MAX: usize = 64;

/// The longest list of pathways that a player says it was at, in bytes: all that a manifest can have.
pub const TOLD_PATHWAYS_BYTES_MAX: usize = (CANDIDATES_MAX + 1) * (PATHWAY_BYTES_MAX + 1) + 2;

/// The largest multivariant playlist that is kept of a title, in bytes: hundreds of variants. What is made of it has each of them for
/// every pathway, nine times this and their hosts.
pub const MULTIVARIANT_PLAYLIST_BYTES_MAX: u64 = 64 << 10;

/// The largest MPD that is kept of a title, in bytes: three hours of segments that are listed one by one, in several adaptation sets.
pub const MPD_BYTES_MAX: u64 = 512 << 10;

/// Media manifests that are kept of one directory: one for each kind of device, in two formats.
pub const MEDIA_MANIFESTS_MAX: usize = 32;

/// Memory for titles' media manifests that are asked for, in bytes: some thousand titles. Others are read from the database.
pub const ORIGINALS_BYTES_MAX: u64 = 64 << 20;

/// How long it stands that a bundle has no media manifest of a name. It never gets one; but names are endless.
pub const ORIGINAL_ABSENT_TIME: Duration = Duration::from_secs(10);

/// Media manifests that are being read from the database, or are not there: at most 2 KiB each beside the manifest.
pub const ORIGINALS_ASKED_MAX: u64 = 4_096;
