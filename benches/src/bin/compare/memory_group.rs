//! A group of processes with a bound of memory, page cache included: a control group below that of this program, of either version.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};

/// How long the kernel may take to let go of a group whose processes have ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// The group. It goes when dropped, if its processes are gone.
pub(crate) struct MemoryGroup {
    directory: PathBuf,
    /// The group that processes come back to.
    parent: PathBuf,
}

impl MemoryGroup {
    /// Makes it. Fails where this program may not, which is said with what to do.
    pub(crate) fn new(name: &str, bytes: u64) -> Result<Self, Failure> {
        let own = fs::read_to_string("/proc/self/cgroup").step("reading this program's control group")?;
        let (parent, limit) = place(&own).ok_or_else(|| {
            Failure::new("there is no control group for memory: mount cgroup2 on /sys/fs/cgroup")
        })?;
        let directory = parent.join(format!("{name}-{}", std::process::id()));
        let why =
            "making a control group with a limit of memory (run as root, where the controller is delegated)";
        fs::create_dir(&directory).step(why)?;
        let group = Self { directory, parent };
        fs::write(group.directory.join(limit), bytes.to_string()).step(why)?;
        Ok(group)
    }

    /// From now on this process, and so what it starts, belongs to it; until [`MemoryGroup::leave`].
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        move_to(&self.directory)
    }

    /// This process belongs to where it was.
    pub(crate) fn leave(&self) -> Result<(), Failure> {
        move_to(&self.parent)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.directory).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// By process, which version 1 allows thread by thread too: this program's other threads must not be left out.
fn move_to(directory: &std::path::Path) -> Result<(), Failure> {
    fs::write(directory.join("cgroup.procs"), std::process::id().to_string())
        .step("changing the control group")
}

/// The directory of this program's group, and the name of the file with its limit.
fn place(own: &str) -> Option<(PathBuf, &'static str)> {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(|path| path.trim_start_matches('/').to_owned());
    let first = own
        .lines()
        .find(|line| line.split(':').nth(1).is_some_and(|of| of.split(',').any(|name| name == "memory")));
    if let Some(line) = first {
        return Some((PathBuf::from("/sys/fs/cgroup/memory").join(path(line)?), "memory.limit_in_bytes"));
    }
    let unified = own.lines().find(|line| line.starts_with("0::"))?;
    let directory = PathBuf::from("/sys/fs/cgroup").join(path(unified)?);
    Some((directory, "memory.max"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_in_either_version() {
        let first = "5:devices:/\n4:cpu,memory:/a/b\n0::/\n";
        assert_eq!(place(first), Some((PathBuf::from("/sys/fs/cgroup/memory/a/b"), "memory.limit_in_bytes")));
        let second = "0::/system.slice/x.service\n";
        assert_eq!(
            place(second),
            Some((PathBuf::from("/sys/fs/cgroup/system.slice/x.service"), "memory.max"))
        );
        assert_eq!(place("5:devices:/\n"), None);
    }
}
