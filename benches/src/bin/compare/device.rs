//! The devices: the disk below a folder, what was read from it and the page cache above it; and the loopback.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use demo::failure::{Failure, Step};
use rustix::fs::{major, minor};

/// The kernel's sectors, whatever the disk's are.
const SECTOR_BYTES: u64 = 512;

/// Bytes read from the device of a folder since the machine started, by anybody.
pub(crate) fn read_bytes(folder: &Path) -> Result<u64, Failure> {
    let device = fs::metadata(folder).step("the folder's device")?.dev();
    let diskstats = fs::read_to_string("/proc/diskstats").step("reading /proc/diskstats")?;
    sectors_read(&diskstats, major(device), minor(device))
        .map(|sectors| sectors * SECTOR_BYTES)
        .ok_or_else(|| Failure::new("the folder's device is not in /proc/diskstats: set TMPDIR to a disk"))
}

/// Forgets what was read from any disk; what is locked stays. Needs root.
pub(crate) fn drop_caches() -> Result<(), Failure> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").step("dropping the page cache (run as root)")
}

/// How the kernel reads ahead and schedules on the device of a folder, which whoever reads through the page cache depends on.
pub(crate) fn queue_facts(folder: &Path) -> Result<String, Failure> {
    let queue = queue(folder)?;
    let fact = |name: &str| {
        let fact = queue.as_ref().and_then(|queue| fs::read_to_string(queue.join(name)).ok());
        fact.map_or_else(|| "?".to_owned(), |fact| fact.trim().to_owned())
    };
    Ok(format!("scheduler {}, read-ahead {} KiB", fact("scheduler"), fact("read_ahead_kb")))
}

/// Where the settings of the disk under a folder are; `None` where it is no disk.
pub(crate) fn queue(folder: &Path) -> Result<Option<PathBuf>, Failure> {
    let device = fs::metadata(folder).step("the folder's device")?.dev();
    let device = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    // A partition has its disk's.
    Ok(["queue", "../queue"].map(|queue| device.join(queue)).into_iter().find(|queue| queue.is_dir()))
}

/// Whether packets of the loopback are taken in on other cores than their sender's (`Documentation/networking/scaling.rst`).
pub(crate) fn steers_loopback() -> bool {
    let cores = fs::read_to_string("/sys/class/net/lo/queues/rx-0/rps_cpus").unwrap_or_default();
    cores.chars().any(|digit| digit.is_ascii_hexdigit() && digit != '0')
}

/// The sixth field of the device's line (`Documentation/admin-guide/iostats.rst`).
fn sectors_read(diskstats: &str, major: u32, minor: u32) -> Option<u64> {
    let mut lines = diskstats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_device = lines.find(|fields| {
        let number = |place: usize| fields.get(place).and_then(|field| field.parse().ok());
        number(0) == Some(major) && number(1) == Some(minor)
    })?;
    of_device.get(5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_those_of_the_device() {
        let diskstats =
            "   7       0 loop0 1 2 3 4 5\n 254       0 vda 2540148 156833 817916018 2130720 43713\n";
        assert_eq!(sectors_read(diskstats, 254, 0), Some(817_916_018));
        assert_eq!(sectors_read(diskstats, 254, 1), None);
    }
}
