#![allow(unreachable_pub, reason = "each test program uses its own part")]
//! The points at which programs are killed, as a table: what the program is doing, and at which system calls.

/// Where a program is killed.
pub struct Point {
    pub name: &'static str,
    pub scenario: Scenario,
    /// The system calls that are this point, by name and path; both entry and exit count.
    pub is_here: fn(name: &str, path: &str) -> bool,
    /// The part of the places of the first run that a later run is sure to reach, in percent: the daemon does
    /// now and then in one step what it did in two before.
    pub reach_percent: usize,
}

pub const POINTS: &[Point] = &[
    Point {
        name: "write",
        scenario: Scenario::Import,
        is_here: |name, path| name == "pwrite64" && is_incoming(path),
        reach_percent: 100,
    },
    Point {
        name: "fsync",
        scenario: Scenario::Import,
        is_here: |name, path| matches!(name, "fsync" | "fdatasync") && is_incoming(path),
        reach_percent: 100,
    },
    Point {
        name: "rename",
        scenario: Scenario::Import,
        is_here: |name, path| name == "rename" && path.ends_with(".bundle"),
        reach_percent: 100,
    },
    Point {
        name: "directory fsync",
        scenario: Scenario::Import,
        is_here: |name, path| name == "fsync" && (is_bundle_directory(path) || path.ends_with("/incoming")),
        reach_percent: 100,
    },
    Point {
        name: "adopt",
        scenario: Scenario::Adopt,
        is_here: |name, path| {
            matches!(name, "openat" | "pread64") && path.ends_with(".bundle") || is_answer(name, path)
        },
        reach_percent: 80,
    },
    Point {
        name: "retire",
        scenario: Scenario::Retire,
        is_here: |name, path| name == "fsync" && is_bundle_directory(path) || is_answer(name, path),
        reach_percent: 90,
    },
    Point {
        name: "unlink",
        scenario: Scenario::Retire,
        is_here: |name, path| name == "unlink" && path.ends_with(".bundle"),
        reach_percent: 100,
    },
    Point {
        name: "inventory append",
        scenario: Scenario::Replace,
        is_here: |name, path| {
            matches!(name, "pwrite64" | "fdatasync") && path.ends_with("/inventory/journal")
        },
        reach_percent: 70,
    },
    Point {
        name: "inventory compaction",
        scenario: Scenario::Compact,
        is_here: |name, path| {
            path.contains("/journal.new") || name == "fsync" && path.ends_with("/inventory")
        },
        reach_percent: 100,
    },
    Point {
        name: "serving",
        scenario: Scenario::Serve,
        is_here: |name, path| {
            name == "sendmsg" && path.starts_with("socket:")
                || matches!(name, "openat" | "pread64") && path.ends_with(".bundle")
        },
        reach_percent: 50,
    },
];

pub fn is_incoming(path: &str) -> bool {
    path.ends_with(".incoming")
}

pub fn is_bundle_directory(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(above, name)| above.ends_with("/bundles") && name.len() == 2)
}

/// An answer of the admin API.
pub fn is_answer(name: &str, path: &str) -> bool {
    matches!(name, "write" | "writev") && path.starts_with("socket:")
}

/// What a program is doing when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A process imports a directory; the daemon does not run.
    Import,
    /// The daemon adopts new bundles, one after another.
    Adopt,
    /// The daemon adopts a new generation of each bundle that it has, and retires it again.
    Replace,
    /// The daemon retires its bundles, one after another.
    Retire,
    /// The daemon retires a bundle whose record makes the journal due for compaction.
    Compact,
    /// The daemon serves four clients.
    Serve,
}
