//! How much memory the process may still take: the kernel's own estimate, or what the control group has left,
//! whichever is less.
//!
//! A control group's use counts the page cache, which it gives back under pressure; so what is free is its
//! limit, less its use, plus the pages on its two lists of file pages. Locked pages are on neither, so they
//! count as used, which they are. Limits are looked for in the process's own group and in every one above it,
//! in cgroup v2 (`Documentation/admin-guide/cgroup-v2.rst`); v1 has not been the default of any distribution
//! since 2021, and is not read.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::bytes_after;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const MEMINFO: &str = "/proc/meminfo";

impl Default for MemoryWatch {
    fn default() -> Self {
        Self::new()
    }
}

/// Where to look, found once: a process does not change its group while it runs under systemd.
pub struct MemoryWatch {
    machine: PathBuf,
    groups: Vec<PathBuf>,
}

impl MemoryWatch {
    /// Of the machine, and of the groups that this process belongs to.
    pub fn new() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        MemoryWatch { machine: MEMINFO.into(), groups: groups_of(&own) }
    }

    /// Of a group of this directory, for a test that plays the kernel.
    #[cfg(test)]
    pub(crate) fn of_group(group: &Path) -> Self {
        MemoryWatch { machine: MEMINFO.into(), groups: vec![group.to_owned()] }
    }

    /// Of a machine that tells nothing, and of a group of this directory.
    #[cfg(test)]
    pub(crate) fn of_silent_machine(group: &Path) -> Self {
        MemoryWatch { machine: group.join("no meminfo"), groups: vec![group.to_owned()] }
    }

    /// Bytes that may still be taken, for a verdict: `u64::MAX` where nothing can be read, because a missing figure must not turn
    /// one.
    pub(crate) fn available_bytes(&self) -> u64 {
        self.machine_bytes().into_iter().chain(self.groups_bytes()).min().unwrap_or(u64::MAX)
    }

    /// Bytes that may still be taken, for whoever is about to take them: `None` where the machine does not tell. What a group has
    /// left says nothing of the machine.
    pub(crate) fn readable_bytes(&self) -> Option<u64> {
        self.machine_bytes().map(|machine| self.groups_bytes().fold(machine, u64::min))
    }

    fn machine_bytes(&self) -> Option<u64> {
        bytes_after(&fs::read_to_string(&self.machine).ok()?, "MemAvailable:")
    }

    fn groups_bytes(&self) -> impl Iterator<Item = u64> {
        self.groups.iter().filter_map(|group| group_available_bytes(group))
    }
}

/// The directories of the group named in `/proc/self/cgroup` and of those above it, but for the root, which
/// has no limit.
fn groups_of(proc_self_cgroup: &str) -> Vec<PathBuf> {
    let Some(path) = proc_self_cgroup.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let root = Path::new(CGROUP_ROOT);
    root.join(path).ancestors().take_while(|group| *group != root).map(Path::to_owned).collect()
}

fn group_available_bytes(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?; // "max", without a limit, is not a number
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    Some(limit.saturating_sub(used).saturating_add(reclaimable_bytes(&read("memory.stat")?)).min(limit))
}

fn reclaimable_bytes(memory_stat: &str) -> u64 {
    let lines = memory_stat.lines().filter_map(|line| line.split_once(' '));
    let lists = lines.filter(|(name, _)| matches!(*name, "active_file" | "inactive_file"));
    lists.filter_map(|(_, value)| value.parse::<u64>().ok()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_the_group_and_in_all_above() {
        let text = "1:name=systemd:/\n0::/oca.slice/oca-daemon.service\n";
        assert_eq!(
            groups_of(text),
            [
                PathBuf::from("/sys/fs/cgroup/oca.slice/oca-daemon.service"),
                PathBuf::from("/sys/fs/cgroup/oca.slice")
            ]
        );
        assert_eq!(groups_of("0::/\n"), Vec::<PathBuf>::new());
        assert_eq!(groups_of("4:memory:/x\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn page_cache_counts_as_available_and_locked_pages_do_not() {
        let group = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
        write("memory.max", "1000\n");
        write("memory.current", "900\n");
        write("memory.stat", "anon 100\nfile 800\ninactive_file 300\nactive_file 200\nunevictable 300\n");
        assert_eq!(group_available_bytes(group.path()), Some(600));
        write("memory.max", "max\n");
        assert_eq!(group_available_bytes(group.path()), None);
    }

    #[test]
    fn this_machine_has_memory_to_give() {
        let available = MemoryWatch::new().readable_bytes().unwrap();
        assert!(0 < available && available < u64::MAX);
    }

    #[test]
    fn what_cannot_be_read_turns_no_verdict_and_is_nothing_to_take() {
        let group = tempfile::tempdir().unwrap();
        let memory = MemoryWatch::of_silent_machine(group.path());
        assert_eq!((memory.available_bytes(), memory.readable_bytes()), (u64::MAX, None));
        for (name, text) in [("memory.max", "1000"), ("memory.current", "400"), ("memory.stat", "")] {
            fs::write(group.path().join(name), text).unwrap();
        }
        assert_eq!((memory.available_bytes(), memory.readable_bytes()), (600, None));
        let memory = MemoryWatch::of_group(group.path());
        assert_eq!((memory.available_bytes(), memory.readable_bytes()), (600, Some(600)));
    }
}
