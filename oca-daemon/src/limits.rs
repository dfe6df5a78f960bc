//! Every bound of the daemon, with its reason. What an operator may change is in the configuration; what stands here
//! protects the daemon whatever the configuration says.

use std::time::Duration;

// ---- HTTP: what a client may send, and how much of it is read ----

/// Bytes of a request head, request line included. Beyond: 431. Players send 300 to 2,000; four cookies of 4 KiB fit.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Bytes of a request line without its CRLF. Beyond: 414. RFC 9112 §3 recommends at least 8,000.
pub const REQUEST_LINE_BYTES: usize = 8 * 1024;

/// Field lines of a request. Beyond: 431. Browsers send about 20; the parser's table of them lives on the stack.
pub const FIELD_LINES: usize = 64;

/// Empty lines skipped before a request line (RFC 9112 §2.2 asks for one at least). Beyond: 400, so that a stream of
/// empty lines is not an idle connection for ever.
pub const EMPTY_LINES_BEFORE_REQUEST: usize = 4;

/// Bytes of request content that are read and discarded. Beyond: 413. Nothing that is served here takes content.
pub const CONTENT_BYTES: u64 = 64 * 1024;

/// Bytes of chunk sizes, extensions and trailers in one request's content. Beyond: 413. Content of [`CONTENT_BYTES`]
/// fits when it comes in chunks of a few bytes; a flood of extensions does not.
pub const CONTENT_FRAMING_BYTES: u64 = 64 * 1024;

/// Ranges answered as `multipart/byteranges`. Beyond: the whole object, so that a small request cannot ask for a
/// response in thousands of parts (RFC 9110 §17.15).
pub const RANGES: usize = 8;

/// Bytes of one request's CMCD that are read, escapes undone. The fullest example of CTA-5004-B has 500; beyond, the query or
/// field that is too long is left out.
pub const CMCD_BYTES_MAX: usize = 2048;

/// Objects that a request may name as the next ones, and that are looked up: a picture and its sound. Beyond: not heeded.
pub const PREFETCH_OBJECTS_MAX: usize = 2;

/// Blocks of such an object that are brought into memory: some 8 MiB, a long segment of a high bitrate. Of a longer one, its beginning.
pub const PREFETCH_BLOCKS_MAX: usize = 4;

/// How long a connection's words about what comes next are not heeded after they were: players ask for a segment every few seconds, and
/// whoever says it more often does not mean it.
pub const PREFETCH_INTERVAL: Duration = Duration::from_millis(250);

/// Bytes of the place of such an object: more than any bundle's path and object's name have together.
pub const PREFETCH_PLACE_BYTES_MAX: usize = 1536;

/// Keys of one request's CMCD that are read: version 2 has 38, and players add their own. Beyond: the rest is left out.
pub const CMCD_KEYS_MAX: usize = 64;

const _: () = assert!(REQUEST_LINE_BYTES < HEAD_BYTES);
const _: () = assert!(REQUEST_LINE_BYTES >= 8000, "RFC 9112 §3");

// ---- connections: what one of them may hold, and for how long ----

/// Bytes of plaintext that wait to be read as requests. A head, plus what arrived with its last bytes: one
/// receive, or one TLS record of 16 KiB. Nothing is received while a response is being sent, so pipelined
/// requests stay in the kernel.
pub const INBOX_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a worker seals at a time: a block's 256 KiB in records of 16 KiB, and a head in one of its own. Half of that needs
/// no less time for the copy into the socket, and twice the system calls. What of it a client's socket does not take stays with its
/// connection; how much is sealed follows what the socket took before.
pub const SEAL_BUFFER_BYTES: usize = 17 * crate::tls::RECORD_BYTES_MAX;

/// Bytes that are sealed and wait for room in sockets, of all of a worker's connections: 400 that have just become slow, or some
/// thousand slow ones. Beyond: no more than two records are sealed at a time, so that a connection adds at most those.
pub const SEALED_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a TLS client that rustls has not used up, before its handshake is done: a message of 16 KiB, or as much early data that
/// is refused, and the headers of their records. Hellos of players have 2 KiB; with post-quantum shares and several tickets, 10.
pub const HANDSHAKE_BYTES_MAX: usize = 18 * 1024;

/// What a connection can be made to hold before anybody has asked for anything: half a hello, as measured, with what rustls has of
/// it. The rest (a head, a record that has not come whole, two sealed ones) is no more, and comes instead of it.
pub const CONNECTION_BYTES: u64 = 32 * 1024;

/// Records that a key in the kernel keeps: what one turn may begin (128 for 2 MiB, and one for each call), a key update, a farewell.
pub const KERNEL_RECORDS_KEPT: u64 = 256;

/// TLS records of which rustls has not used up any, before a handshake is done. It looks at all of them again with each that
/// comes: parts of a hello, or early data that is refused and may have 16 KiB.
pub const HANDSHAKE_RECORDS_MAX: u32 = 64;

/// Early data that is refused and passed by, as rustls counts it: all that it has passed by so far, anew with each record.
pub const REFUSED_EARLY_DATA_BYTES: u32 = HANDSHAKE_BYTES_MAX as u32 * HANDSHAKE_RECORDS_MAX;

/// What a connection may have waiting to be sent when a key update that its client asks for is added: many of these, and tickets. Behind more
/// the answer waits for the next data, so that who reads nothing makes nothing grow.
pub const KEY_UPDATE_PENDING_BYTES_MAX: usize = 4 << 10;

/// TLS records in a row that bring no data: alerts that end nothing, key updates, empty ones. Beyond: the connection ends.
pub const QUIET_RECORDS_MAX: u8 = 32;

/// How long a key seals session tickets; it opens them for as long again.
pub const TICKET_ROTATION: Duration = Duration::from_secs(6 * 3600);

/// How long after the file of ticket keys could not be written it is tried again, and said again.
pub const TICKET_KEYS_RETRY: Duration = Duration::from_secs(600);

/// Bytes of a ticket that is looked at. Ours have about 200.
pub const TICKET_BYTES_MAX: usize = 2048;

/// How long a connection that we have ended waits for the client to end it too. Long enough for a response to
/// reach a bad link before a reset could overtake it.
pub const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes thrown away meanwhile. Beyond: reset; a client that goes on sending does not read.
pub const CLOSING_BYTES_MAX: usize = 256 * 1024;

/// Connections beyond the bound that are told 503, as a part of the bound: one in sixteen. Beyond these:
/// reset at once.
pub const REFUSALS_PART: u64 = 16;

// ---- bodies: how much is read ahead ----

/// Chunks of 64 KiB in one piece: 512 KiB reach the disk's bandwidth, and larger ones only hold buffers longer.
pub const PIECE_CHUNKS_MAX: usize = 8;

/// Pieces of one response that are read ahead or being sent: one goes out while the next comes in.
pub const PIECES_AHEAD_USUAL: usize = 2;

/// The same of a client that keeps up, while half of the pool is free: 2 MiB, so that a dozen clients keep a disk busy.
pub const PIECES_AHEAD_MAX: usize = 4;

/// Slices of one send: a head, and all chunks of the pieces ahead.
pub const SEND_SLICES_MAX: usize = 1 + PIECE_CHUNKS_MAX * PIECES_AHEAD_MAX;

/// How long a client takes nothing before its buffers go to others, when the pool is empty. It costs one more
/// read later.
pub const SURRENDER_AFTER: Duration = Duration::from_millis(500);

/// Places in a line for buffers beyond twice the connections, before it is looked through for those who have gone.
pub const LINE_SLACK: usize = 1024;

// ---- the worker: its ring, its clocks ----

/// Submission queue entries. When they are used up they are submitted at once, so this bounds a batch and not
/// the work.
pub const RING_ENTRIES: u32 = 1024;

/// Completion queue entries. The kernel keeps what is beyond, at a cost.
pub const RING_COMPLETIONS: u32 = 16 * 1024;

/// Provided buffers for receives. Each is used within the turn of the loop in which it was filled.
pub const RECEIVE_BUFFERS: u16 = 512;

/// Bytes of each: most request heads fit twice.
pub const RECEIVE_BUFFER_BYTES: usize = 4 * 1024;

/// How often a worker reads the wall clock, and says that it is alive. In between, the wall clock goes on with the monotonic one: it is
/// for the log and for dates.
pub const WALL_CLOCK_INTERVAL: Duration = Duration::from_millis(10);

/// Exchanges that are over and kept by a worker for the next ones: more than are begun and ended in one of its turns, as a rule.
pub const SPARE_EXCHANGES_MAX: usize = 64;

/// What the head of such an exchange may keep: all that the usual one needs.
pub const SPARE_HEAD_BYTES_MAX: usize = 4 * 1024;

/// The grain of deadlines. All are seconds long, so that 100 ms more is nothing.
pub const TIMER_TICK: Duration = Duration::from_millis(100);

/// Slots of the timer wheel: 51 s of horizon, past most deadlines.
pub const TIMER_SLOTS: usize = 512;

/// `TCP_USER_TIMEOUT`, in send-stall timeouts. It is for clients that have vanished; those who take nothing
/// are ended by the send-stall timeout. Some slow clients close their window for longer than that between two
/// sips, and the kernel would count that too.
pub const USER_TIMEOUT_STALLS: u32 = 4;

/// How long accepting pauses when descriptors or memory run out: long enough not to spin, short enough not to
/// be noticed.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After how long without another failure accepting counts as recovered.
pub const ACCEPT_RECOVERED: Duration = Duration::from_secs(1);

/// Connections that the kernel queues for a listener. `net.core.somaxconn` bounds it too.
pub const ACCEPT_QUEUE: i32 = 4096;

/// How long an idle worker sleeps: its heartbeat must be younger than health's limit.
pub const IDLE_WAIT: Duration = Duration::from_secs(1);

// ---- demand: what is remembered of what clients ask for ----

/// Bundles in one worker's table. More than an appliance holds; it matters where nobody asks for demand for months,
/// while bundles come and go. Beyond: requests for further ones are not counted, and that is.
pub const DEMAND_BUNDLES_MAX: usize = 1 << 16;

/// Directories without a bundle that are counted by name, in one worker's table and in the totals: clients
/// choose these names. Beyond: counted without their names.
pub const DEMAND_ABSENT_MAX: usize = 4096;

/// Bytes of the totals, names included, beyond which they begin anew once they were told: about 150,000 directories.
/// As JSON that is less than what clients of the admin API read.
pub const DEMAND_TOTALS_BYTES_MAX: usize = 24 << 20;

/// Bytes of an entry of the totals beside its name, in memory or as JSON, whichever is more.
pub const DEMAND_ENTRY_BYTES: usize = 112;

/// How old totals must be to begin anew because names without a bundle fill them: whoever sends such names can cost
/// other readers than the one who was told an hourly part of a report, and no more.
pub const DEMAND_INSTANCE_MIN: Duration = Duration::from_secs(3600);

/// How long a worker has to hand its demand over: it turns its loop within milliseconds, or it is stuck.
pub const DEMAND_COLLECT_TIMEOUT: Duration = Duration::from_secs(1);

// ---- the RAM tier ----

/// How often the tier looks at what was asked for, and for bundles that have left: soon enough for a title that becomes popular
/// within a second, and for whoever waits for a retired bundle's space. Who waits for a block is heard at once. Each waking costs an
/// idle machine some 80 µs.
pub const TIER_TURN: Duration = Duration::from_millis(100);

/// Samples of one worker that wait to be looked at; the tier is woken when half of them may be there, a hundred times a second at 400,000
/// requests. Beyond: dropped and counted, which costs nothing but precision.
pub const TIER_SAMPLES_PER_WORKER: usize = 8192;

/// Blocks that players named as their next, of one worker, which wait to be looked at. Beyond: dropped and counted.
pub const TIER_HINTS_PER_WORKER: usize = 256;

/// How long a block stays in memory that was brought there ahead, unless it is asked for often enough: longer than players wait with
/// what they have named, whose buffers are full.
pub const PREFETCHED_KEPT: Duration = Duration::from_secs(20);

/// Loads of one volume that are under way or wait: a tenth of a second's work of a good disk. Beyond: asked for again by the
/// block's next request.
pub const TIER_LOADS_MAX: usize = 64;

/// Loads of one volume that are under way at once: beside what workers read of it, little; and each waits as long as their reads do.
pub const TIER_LOADERS_PER_VOLUME: usize = 4;

/// Loads of one volume beyond which viewers are not let to wait for another one: some 20 ms of a good disk. They read for themselves.
pub const TIER_ASKED_LOADS_MAX: usize = 16;

/// How long they may take together, by what loads took of late. The same, of a disk that has other things to do.
pub const TIER_ASKED_LOADS_TIME: Duration = Duration::from_millis(25);

/// Loads of one volume beyond which no block is loaded that nobody asked for before: a storm of those is read by the workers, of
/// which there are more than loaders.
pub const TIER_FIRST_LOADS_MAX: usize = 2;

/// Loads of one volume beyond which no block is loaded that a player has only named: such loads come one after the other, where there are
/// no others, and whoever asks meanwhile finds the leisure that he would find without them.
pub const TIER_HINTED_LOADS_MAX: usize = 1;

/// Bytes a second that are loaded from one volume because players have named them: what a hundred viewers at 5 Mbit/s take, and a third of
/// what a hard disk gives. However many clients name however much, the disk has the rest for what is asked for.
pub const TIER_HINTED_BYTES_PER_SECOND: u64 = 64 << 20;

/// How long a hint waits for its volume's loader. Beyond: the player has asked by then, or is about to.
pub const TIER_HINT_KEPT: Duration = Duration::from_secs(1);

const _: () =
    assert!(TIER_HINTED_LOADS_MAX < TIER_FIRST_LOADS_MAX, "hints would take the leisure of viewers");

/// How long a viewer waits for a block that is on its way into memory, before it reads it itself: some fifty loads of a
/// good disk, or a few of one that is busy.
pub const TIER_WAIT_MAX: Duration = Duration::from_millis(250);

/// Connections of one worker that wait for blocks. Beyond: they read for themselves.
pub const TIER_WAITERS_MAX: usize = 1 << 16;

/// Of those, so many wait for one block: one that does not come leaves room for those who wait for others.
pub const TIER_WAITERS_OF_ONE_MAX: usize = 1 << 11;

/// How long somebody who asked for a block and was told to read it himself is taken to be at it: who plays at 5 Mbit/s takes three
/// times as long. Who wants the same on another worker meanwhile has it loaded for both.
pub const TIER_TURNED_AWAY_KEPT: Duration = Duration::from_secs(1);

/// Of those, so many are remembered: who wants something at once with others asks right after them, and all of them are looked through
/// for each question.
pub const TIER_TURNED_AWAY_MAX: usize = 256;

/// How long no block is loaded after the kernel refused to lock one: loading it in vain costs a read of the disk.
pub const TIER_LOCK_PAUSE: Duration = Duration::from_secs(10);

/// Bytes of a body that one connection sends before the others have their turn: a block, by one `sendfile`.
pub const TURN_BYTES_MAX: u64 = 2 << 20;

/// A file of which something is sent from memory was looked at in this turn of the worker, and so long ago at most: little beside the time that
/// bytes wait in a socket, where the file can change, too.
pub const RESIDENT_LOOK_AGE_MAX: Duration = Duration::from_millis(2);

/// Bytes in memory for which a socket is left as it is: as many are sent with one waking or two.
pub const RESIDENT_SHORT_BYTES: u64 = 256 << 10;

/// Bytes that a socket may hold unsent where they are pages of the RAM tier, which cost no memory there but the list of them.
/// What the kernel lets a socket hold at all is the bound in practice (`net.ipv4.tcp_wmem`).
pub const RESIDENT_UNSENT_BYTES: u32 = 64 << 20;

/// Bytes that a socket may hold unsent where they are records that we sealed from memory, for a client that takes them at once: a
/// third of a second's at the rate from which that is so. It saves half of the wakings and a tenth of what TLS costs at 2 MiB.
pub const SEALED_UNSENT_BYTES: u32 = 1 << 20;

// ---- pull-through ----

/// Beyond the timeouts of all upstreams: how long a connection waits for the pull service, which may be busy with others.
pub const PULL_GRACE: Duration = Duration::from_secs(10);

/// Bytes that a connection takes from its pipe ahead of what its socket takes: one send's worth.
pub const PULLED_AHEAD_BYTES_MAX: usize = 128 << 10;

/// Bytes of an answer that wait for its connection. Half of it is on its way to the client while the other half is made; with
/// `pull.requests` at its default, all pipes together hold 2 GiB at the very most.
pub const PIPE_BYTES_MAX: usize = 256 << 10;

/// Bytes of one chunk in a pipe: what a send takes at a time, so that a connection frees memory as it goes.
pub const PIPE_CHUNK_BYTES_MAX: usize = 64 << 10;

/// The most that a number of seconds in a field means (RFC 9111 §1.2.2): 68 years.
pub const DELTA_SECONDS_MAX: Duration = Duration::from_secs(1 << 31);

/// How long a response is fresh at most where only its Last-Modified says anything (RFC 9111 §4.2.2): a day, beyond which a warning was
/// asked for while there were warnings.
pub const HEURISTIC_LIFETIME_MAX: Duration = Duration::from_secs(86_400);

/// How long a server error is held at most, whatever upstream says of it: long enough to spare an upstream that asks for it, short enough
/// that one slip in its configuration does not darken an evening.
pub const SERVER_ERROR_LIFETIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of what is held of a response's head. Beyond, it is not stored. Heads of origins have 300 to 1,500; a Content-Security-Policy
/// of 8 KiB fits.
pub const STORED_HEAD_BYTES_MAX: usize = 16 * 1024;

// ---- pulling: what upstreams may send, and what flights hold ----

/// Field lines of an upstream's answer. Beyond: it counts as broken. Origins send about 20.
pub const UPSTREAM_FIELD_LINES: usize = 128;

/// Bytes of their names and values. Beyond: it counts as broken; a stored head has to fit a record of demand content.
pub const UPSTREAM_FIELD_BYTES: usize = 32 * 1024;

/// Connections to one upstream that are kept for later: a burst of misses should not begin with handshakes.
pub const UPSTREAM_IDLE_CONNECTIONS: usize = 64;

/// How long they are kept: shorter than servers commonly do, so that they seldom close one as it is used.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes a second below which a body that many may wait for comes too slowly to be waited for: half of the lowest rate at which audio is
/// streamed (HE-AAC at 16 kbit/s), so that a live segment is borne that is sent while it is made.
pub const TRICKLE_BYTES_PER_SECOND: u64 = 1024;

/// Over how much waiting that is judged, in times of `pull.stall_timeout`: 30 s at its default, longer than live segments last, of which
/// those of subtitles have fewer bytes.
pub const TRICKLE_STALLS: u32 = 3;

/// How long a signed URL of a bucket is valid: for a request that is sent at once, and clocks that differ a little.
pub const S3_SIGNATURE_LIFETIME: Duration = Duration::from_secs(300);

/// Bytes of a file of credentials: two lines.
pub const S3_CREDENTIALS_BYTES: usize = 4096;

/// Threads of the pull service. It moves bytes between sockets and checks nothing of them; workers have cores of their own.
pub const PULL_THREADS: usize = 2;

/// Threads for one volume's demand content: as many reads are under way at once.
pub const DEMAND_THREADS: usize = 4;

/// Calls that wait for a volume's threads: one for each request under way at `pull.requests`' default, since a burst of hits must not
/// become a burst of misses. Beyond: what is asked for is taken for not held, or is not stored.
pub const DEMAND_QUEUE: usize = 8192;

/// How long a look at what a volume holds may take. Beyond: upstream is asked, as it would be for what is not held.
pub const DEMAND_LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// For how long a volume that did not answer is not asked: its requests should not wait for it each.
pub const DEMAND_STALL_PAUSE: Duration = Duration::from_secs(5);

/// Keys of one volume share locks: no more entries than this are begun there at once.
pub const DEMAND_ENTRY_LOCKS: usize = 64;

/// Bytes of operators' purges that a volume has missed: some ten thousand, of a year. Beyond: all that it holds is purged.
pub const MISSED_PURGES_BYTES_MAX: usize = 1 << 20;

/// The same of what clients' requests have made untrue: some hundred. Beyond: the oldest are forgotten, and what they mean is served
/// for as long as it is fresh.
pub const MISSED_PURGES_OF_CLIENTS_BYTES_MAX: usize = 64 << 10;

/// Bytes of a purge that was missed, beside its key or path.
pub const MISSED_PURGE_BYTES: usize = 32;

/// Bytes of the file of missed purges: of all volumes that are known. One that is larger, because it is full of bytes that are
/// escaped, is not understood, and so all was missed.
pub const MISSED_PURGES_FILE_BYTES_MAX: u64 = 256 << 20;

/// Volumes of which it is known what they have missed: as many as a store has, and as many that are away. Beyond: those that left first
/// have missed everything.
pub const KNOWN_VOLUMES_MAX: usize = 128;

/// A volume that is away for so long has missed everything.
pub const VOLUME_FORGOTTEN_AFTER: Duration = Duration::from_secs(366 * 86_400);

/// A volume's demand content is opened again after this where the process was short of descriptors or memory for it.
pub const DEMAND_OPENED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked whether a volume that is slow to open has opened.
pub const VOLUME_AWAITED_EVERY: Duration = Duration::from_millis(100);

/// Variants (`Vary`) of one object in memory. Beyond, the oldest go: an origin that varies by a player's name would fill it.
pub const MEMORY_VARIANTS_MAX: usize = 16;

/// Freshness below which a body of no more than a block is kept in memory and on no disk: it is replaced before anybody could miss it.
pub const SHORT_LIFETIME: Duration = Duration::from_secs(60);

/// How far ahead of what a flight has brought a request waits for it. Beyond: it asks for its own range.
pub const FLIGHT_AHEAD_BYTES: u64 = 4 << 20;

/// Bytes of a flight in memory that there must be room for: a block that is being put together, and what has just come.
pub const FLIGHT_WINDOW_BYTES_MIN: u64 = (1 << 20) + (256 << 10);

/// More than that helps nobody: who is further behind reads from the disk.
pub const FLIGHT_WINDOW_BYTES_MAX: u64 = 16 << 20;

/// Bytes up to which a flight that has brought all is over although clients have yet to read them: no more than a pipe's chunk.
pub const FLIGHT_REST_BYTES: u64 = PIPE_CHUNK_BYTES_MAX as u64;

/// Bytes of a body on disk up to which there is a copy of it in memory: sound, subtitles, pictures to seek by, what segments begin with.
/// Each time that they are asked for they would cost a disk as many reads as a megabyte does.
pub const SMALL_BODY_BYTES: u64 = 64 * 1024;

/// How long one slow client may hold up others who want the same, where it cannot be stored for them.
pub const FLIGHT_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a flight in memory that is for those alone who wait for it already, as a rule for one: its pipe holds more.
pub const UNSHARED_WINDOW_BYTES: u64 = PIPE_CHUNK_BYTES_MAX as u64;

/// Bytes at the beginning of an object that are passed over where an upstream sends all of it instead of a range. Beyond: the answer
/// is the whole.
pub const RANGE_IGNORED_BYTES_MAX: u64 = 64 << 20;

/// How long a part is waited for that an upstream sends within all of the object. Then, where it is still more than a block away, the
/// client gets all of it, by a request of its own. Shorter than [`PULL_GRACE`], so that its connection is still there to get it.
pub const RANGE_IGNORED_PATIENCE: Duration = Duration::from_secs(5);

/// How often an answer goes on by another request for its rest after upstream has failed, without getting a whole block between. One
/// that restarts, or a connection that was cut, is borne; one that always breaks off is not asked for ever.
pub const RESUMPTIONS_MAX: u32 = 3;

/// After the second such failure in a row it waits so long before it asks again, and each time as much longer.
pub const RESUMPTION_PAUSE: Duration = Duration::from_millis(300);

/// How often a request looks anew when what it waited for turned out to be for others. Beyond: it goes to upstream alone.
pub const FLIGHTS_BOARDED_MAX: usize = 4;

/// How often who waits for its client's part looks whether another client's request brings what it wants.
pub const BOARDING_INTERVAL: Duration = Duration::from_millis(100);

/// Keys of which it is remembered for a while what their answers are like.
pub const HABITS_MAX: u64 = 1 << 16;

/// How long it is remembered that answers under a key cannot be shared: requests for it do not wait for each other.
pub const HABIT_LIFETIME: Duration = Duration::from_secs(60);

/// Absent names that one client may have upstream asked for within [`ABSENCES_WINDOW`]. Beyond: 503. A player that is out of step with
/// its playlist asks for a few; behind one address of a provider there may be a hundred of them.
pub const ABSENCES_MAX: u32 = 1000;

/// For how long absences are counted together.
pub const ABSENCES_WINDOW: Duration = Duration::from_secs(10);

/// Clients of which they are counted.
pub const ABSENCES_CLIENTS_MAX: u64 = 1 << 16;

/// Fetches that come no faster than clients take them, for each of `pull.fetches`, which they leave to others. Each has up to
/// [`FLIGHT_WINDOW_BYTES_MIN`] in memory, or more of what is left of `pull.fetch_memory`. Beyond: they keep their places.
pub const FETCHES_WAITING: usize = 3;

/// Of `pull.fetches`, as a divisor, what one client has upstreams asked for at once: however much it asks for, and however slowly it
/// takes it, others are fetched for. Another appliance that asks for all its viewers is one client, too. Beyond: it waits as one does
/// for a place, and then gets 503.
pub const CLIENT_PART: usize = 2;

/// How far a flight runs ahead of the passenger who is furthest, at least: what keeps a link with a long round trip busy.
pub const FLIGHT_LEAD_BYTES_MIN: u64 = 4 << 20;

/// How far at most; between the two, as far as one of its passengers has come already. A client that asks and reads nothing, or slowly,
/// should not fill the link and the disk with what it may never come to.
pub const FLIGHT_LEAD_BYTES_MAX: u64 = 64 << 20;

/// Bytes that a revalidation in the background fetches at most, where the object has changed. Beyond: whoever asks next fetches it.
pub const BACKGROUND_BYTES: u64 = 16 << 20;

/// How often what the service holds is told to the metrics.
pub const PULL_STATS_INTERVAL: Duration = Duration::from_secs(1);

// ---- load ----

/// How often the counters are noted for the load.
pub const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// How many such intervals the load is of: long enough that one segment more or less is not a wave, short enough that
/// a fill yields while viewers still have something buffered.
pub const LOAD_INTERVALS: usize = 5;

const _: () = assert!(INBOX_BYTES_MAX >= HEAD_BYTES + RECEIVE_BUFFER_BYTES + 16 * 1024);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
