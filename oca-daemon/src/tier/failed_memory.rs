//! Memory that has failed. A page of the page cache that is on disk too is dropped without a word when its memory fails, locked
//! or not (Linux, `mm/memory-failure.c`): no signal, no error, and the next touch reads it from disk again, without a
//! comparison. All that tells is a figure of the whole machine.

/// Watches that figure.
pub(super) struct FailedMemory {
    bytes: u64,
}

impl FailedMemory {
    /// What has failed so far is no news.
    pub(super) fn of(meminfo: &str) -> Self {
        Self { bytes: corrupted_bytes(meminfo) }
    }

    /// From the text of `/proc/meminfo`: whether memory has failed since this was last asked.
    pub(super) fn has_grown(&mut self, meminfo: &str) -> bool {
        let before = self.bytes;
        self.bytes = corrupted_bytes(meminfo);
        self.bytes > before
    }
}

fn corrupted_bytes(meminfo: &str) -> u64 {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("HardwareCorrupted:"));
    let kibibytes = value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_fails_is_noticed_once_and_none_where_the_kernel_does_not_count_it() {
        let text =
            |value: u64| format!("MemTotal: 9 kB\nHardwareCorrupted:   {value:>5} kB\nAnonHugePages: 0 kB\n");
        let mut failed = FailedMemory::of(&text(8));
        assert!(!failed.has_grown(&text(8)));
        assert!(failed.has_grown(&text(12)));
        assert!(!failed.has_grown(&text(12)));
        assert!(!failed.has_grown("MemTotal: 9 kB\n"));
    }
}
