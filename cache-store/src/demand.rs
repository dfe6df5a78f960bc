//! Demand content: what was pulled through because somebody asked for it, in a record log of its own on each volume.
//!
//! An *entry* is one stored response: a head (keys, opaque metadata, total length) and any of its blocks, so that single
//! blocks of a huge object can be held. Both are records of rolling *segment* files under `demand/`, which leave oldest
//! first; what is hot is written again. Their bytes never exceed a fixed capacity, and the index never its share of memory.
//!
//! Reading order:
//!
//! 1. `entry`: the nouns, as callers see them.
//! 2. `record`, `segment_format`, `purge_format`: the bytes of the files. Pure; they believe none before they are checked.
//! 3. `held` (one entry, and where it lies), `index` (all of them), `purges`, `segment`, `state` (all that the lock guards),
//!    `leaving` (what is written again), `kept` (what does not leave yet): pure, too.
//! 4. `files`: every system call. `log`: storing. `reading`. `room`: how segments come and go. `purging`.
//! 5. `recovery` and `scan`: what a log finds when it is opened.
//!
//! What holds: nothing is changed in place. A record is found only after it was written, and believed only when its checksums,
//! its place, its segment's nonce and its entry are those that were asked for. It is a cache, so nothing but purges is
//! synced: a crash may lose what was stored last, and may bring back what was replaced or forgotten shortly before. What is
//! read is never wrong; and what was purged never comes back: what was asked for before a purge is stored into nothing after
//! it, and where it is not known what was purged, all is dropped. What the process is short of costs nothing that is held.

mod entry;
mod files;
mod held;
mod index;
mod kept;
mod leaving;
mod log;
mod purge_format;
mod purges;
mod purging;
mod reading;
mod record;
mod recovery;
mod room;
mod scan;
mod segment;
mod segment_format;
mod state;

pub use entry::{
    AppendError, Block, DemandLimits, DemandStats, EntryId, EntryView, NewEntry, PurgeMark, Recovery,
    Selector,
};
pub use files::is_shortage;
pub use log::DemandLog;

#[cfg(test)]
mod tests;
