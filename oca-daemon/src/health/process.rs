//! What the process uses: descriptors, memory, processor time.

use std::fs;
use std::os::unix::fs::MetadataExt;

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Descriptors of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    /// Open now.
    pub(crate) open: u64,
    /// The soft limit.
    pub(crate) limit: u64,
}

impl Descriptors {
    /// Looks now.
    pub(crate) fn now() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Descriptors { open: open_count().unwrap_or(0), limit }
    }

    /// How many may still be opened.
    pub(crate) fn free(self) -> u64 {
        self.limit.saturating_sub(self.open)
    }
}

/// Resident memory of this process in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    bytes_after(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The figure that a file of `/proc` gives in kB after `name`, in bytes.
pub(super) fn bytes_after(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Processor time that all threads have used, user and system.
pub(crate) fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Since Linux 6.2 the size of `/proc/self/fd` is the number of descriptors, and costs one call. Before, it
/// is zero, and the directory has to be read.
fn open_count() -> Option<u64> {
    let size = fs::metadata("/proc/self/fd").ok()?.size();
    if size > 0 {
        return Some(size);
    }
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn an_opened_file_is_one_descriptor_more() {
        // Other tests of this process open and close files meanwhile, so many are opened, and few of the
        // others' matter.
        let before = Descriptors::now();
        let files: Vec<File> = (0..500).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = Descriptors::now();
        assert!(after.open >= before.open + 400, "{before:?} {after:?}");
        assert!(after.free() < before.free());
        assert_eq!(files.len(), 500);
    }

    #[test]
    fn figures_of_proc_are_read_in_bytes() {
        let meminfo = "MemTotal:       24689764 kB\nMemFree:   1 kB\nMemAvailable:   23897532 kB\n";
        assert_eq!(bytes_after(meminfo, "MemAvailable:"), Some(23_897_532 * 1024));
        assert_eq!(bytes_after("MemAvailable: many kB", "MemAvailable:"), None);
        assert_eq!(bytes_after("", "MemAvailable:"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(resident_bytes().unwrap() > 0);
        assert!(cpu_time() > Duration::ZERO);
    }
}
