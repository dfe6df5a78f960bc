//! Every bound of the admin API, with its reason.

use std::time::Duration;

/// Connections open at once through each door. A site has a handful of pollers; more wait in the kernel's
/// queue.
pub(super) const CONNECTIONS_PER_DOOR: usize = 64;

/// Peers of the Unix socket that the kernel keeps until they are accepted.
pub(super) const UNIX_BACKLOG: i32 = 128;

/// A peer has this long to send a request head. It is small, and the peers are near.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer has this long to send the content of a change.
pub(super) const CONTENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Content of a change. The longest, a retire, has a path of 1,024 bytes.
pub(super) const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// What hyper may gather of one request head. Its least is 8 KiB.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Unread bytes may wait this long in the socket of a peer that does not read, `TCP_USER_TIMEOUT`.
pub(super) const SEND_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// An exchange over TCP may take this long, so that nobody keeps a place for ever: an inventory of 10 MB at
/// 1.5 Mbit/s.
pub(super) const TCP_LIFETIME: Duration = Duration::from_secs(60);

/// An exchange over the Unix socket may take as long as a retire may wait, and a little longer to be told.
pub(super) const UNIX_LIFETIME: Duration = RETIRE_WAIT_MAX.saturating_add(Duration::from_secs(300));

/// Retires that wait for their last readers. Each holds a thread; a fill retires bundles one after another,
/// and comes again.
pub(super) const RETIRES_MAX: usize = 16;

/// How long a retire waits for the last reader if the caller does not say.
pub(super) const RETIRE_WAIT: Duration = Duration::from_secs(60);

/// How long it may wait if the caller does: as long as a connection lives, by default.
pub(super) const RETIRE_WAIT_MAX: Duration = Duration::from_secs(4 * 3600);

/// Other changes at once. They wait for a disk, not for readers.
pub(super) const CHANGES_MAX: usize = 8;

/// Inventories that are being written at once: each holds a copy of the list, about 10 MiB for 40,000
/// bundles.
pub(super) const INVENTORIES_MAX: usize = 4;

/// Answers to `/demand` that are being made or sent at once: each holds its text, a few megabytes for 40,000 bundles.
pub(super) const DEMANDS_MAX: usize = 4;

/// Pieces of a long answer: large enough to be cheap to send.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Pieces that wait for a reader who is slower than we are.
pub(super) const PIECES_WAITING: usize = 4;

/// Threads for what can block: one for everything that the bounds above let through.
pub(super) const BLOCKING_THREADS: usize = RETIRES_MAX + CHANGES_MAX + INVENTORIES_MAX + DEMANDS_MAX;

/// What is in flight when the daemon stops may end within this time.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// After an accept that failed (no descriptor is free), so that the loop does not spin.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the answer to a drain or undrain waits for the verdict to follow: judging takes a millisecond, unless the machine stands still.
pub(super) const JUDGED_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it looks.
pub(super) const JUDGED_INTERVAL: Duration = Duration::from_millis(1);
