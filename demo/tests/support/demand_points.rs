//! Where the daemon is killed, as a table: what it is doing, and at which system calls.

use std::fs;

use super::tracer::{Call, Phase};

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It purges one film after another, and pulls it again. Then it is told to stop, and seals what it has written.
    Pull,
    /// It purges one film after another, and then a long path until it writes its list of purges anew.
    Purge,
}

/// On which side of a call the daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// Where the daemon is killed.
pub(crate) struct Place {
    pub(crate) is_here: fn(&Call) -> bool,
    /// Which of these calls since it was started, from one.
    pub(crate) nth: usize,
    pub(crate) side: Side,
}

/// A kind of system call on the files of pulled content.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// Where the daemon is killed a first time, for a call that is made only because of that.
    pub(crate) first: Option<Place>,
    pub(crate) is_here: fn(&Call) -> bool,
    /// At so many of these calls it is killed, each time before one and after it.
    pub(crate) calls: usize,
}

pub(crate) const KINDS: &[Kind] = &[
    Kind::of(Work::Pull, "segment made", 1, |call| call.name == "openat" && is_new_segment(&call.path)),
    Kind::of(Work::Pull, "segment reserved", 1, is_reservation),
    // The segment's head, the first film's, and its first block, without the second.
    Kind::of(Work::Pull, "record written", 3, is_record),
    Kind::of(Work::Pull, "segment sealed at the end", 1, is_sealing),
    Kind {
        // With a record, and without its end.
        first: Some(Place { is_here: is_record, nth: 2, side: Side::After }),
        ..Kind::of(Work::Pull, "segment sealed at the start", 1, is_sealing)
    },
    Kind {
        // Without a head.
        first: Some(Place { is_here: is_reservation, nth: 1, side: Side::After }),
        ..Kind::of(Work::Pull, "segment removed", 1, |call| call.name == "unlink" && is_segment(&call.path))
    },
    // Two for each film: the third comes after one was acknowledged that was not pulled again.
    Kind::of(Work::Purge, "purge written", 3, |call| call.name == "pwrite64" && is_list(&call.path)),
    Kind::of(Work::Purge, "purge synced", 3, |call| call.name == "fdatasync" && is_list(&call.path)),
    Kind::of(Work::Purge, "new list made", 1, |call| call.name == "openat" && is_new_list(&call.path)),
    Kind::of(Work::Purge, "new list written", 1, |call| call.name == "pwrite64" && is_new_list(&call.path)),
    Kind::of(Work::Purge, "new list synced", 1, |call| call.name == "fsync" && is_new_list(&call.path)),
    Kind::of(Work::Purge, "new list renamed", 1, |call| call.name == "rename" && is_list(&call.path)),
    Kind::of(Work::Purge, "directory synced", 1, |call| {
        call.name == "fsync" && call.path.ends_with("/demand")
    }),
];

impl Kind {
    const fn of(work: Work, name: &'static str, calls: usize, is_here: fn(&Call) -> bool) -> Self {
        Self { name, work, first: None, is_here, calls }
    }
}

fn is_segment(path: &str) -> bool {
    path.contains("/demand/") && path.ends_with(".segment")
}

/// One that is not there yet, or has nothing in it yet: segments are opened to be read, too.
fn is_new_segment(path: &str) -> bool {
    is_segment(path) && fs::metadata(path).map_or(0, |found| found.len()) == 0
}

fn is_reservation(call: &Call) -> bool {
    call.name == "fallocate" && is_segment(&call.path)
}

fn is_record(call: &Call) -> bool {
    call.name == "pwrite64" && is_segment(&call.path)
}

/// What is behind a segment's end is cut off when that is written.
fn is_sealing(call: &Call) -> bool {
    call.name == "ftruncate" && is_segment(&call.path)
}

/// The list of purges; of a rename, what becomes it.
fn is_list(path: &str) -> bool {
    path.ends_with("/demand/purges")
}

fn is_new_list(path: &str) -> bool {
    path.ends_with("/demand/purges.new")
}

impl Place {
    pub(crate) fn is_on_its_side(&self, phase: Phase) -> bool {
        match phase {
            Phase::Entry => self.side == Side::Before,
            // A call that failed has done nothing.
            Phase::Exit(result) => self.side == Side::After && result >= 0,
        }
    }
}
