//! What the kernel knows of a process: its memory, its reads, its time. Of several processes, the sum.

use std::fs;

use demo::failure::{Failure, Step};

/// Counters and sizes of a process, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessFacts {
    /// Memory that belongs to no file (`RssAnon`).
    pub(crate) anonymous_bytes: u64,
    /// Bytes that were brought from a storage device for it (`read_bytes`).
    pub(crate) device_read_bytes: u64,
    /// Bytes that it took from files, whether or not they came from a device (`rchar`), by so many calls (`syscr`).
    pub(crate) read_bytes: u64,
    pub(crate) read_calls: u64,
    /// How long its threads have run, what the kernel did on their time included.
    pub(crate) run_seconds: f64,
    pub(crate) threads: u64,
}

impl ProcessFacts {
    /// Those of these processes now.
    pub(crate) fn of(processes: &[u32]) -> Result<Self, Failure> {
        let mut sum = Self::default();
        for process in processes {
            let status = read(*process, "status")?;
            let io = read(*process, "io")?;
            sum.anonymous_bytes += field(&status, "RssAnon:").unwrap_or(0) * 1024;
            sum.threads += field(&status, "Threads:").unwrap_or(0);
            sum.device_read_bytes += field(&io, "read_bytes:").unwrap_or(0);
            sum.read_bytes += field(&io, "rchar:").unwrap_or(0);
            sum.read_calls += field(&io, "syscr:").unwrap_or(0);
            sum.run_seconds += run_seconds(*process)?;
        }
        Ok(sum)
    }
}

/// A process and all that descend from it, itself first.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    let mut looked_at = 0;
    while let Some(parent) = family.get(looked_at).copied() {
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        looked_at += 1;
    }
    family
}

/// The files that a process has open, by their paths.
pub(crate) fn open_files(process: u32) -> Vec<String> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let paths = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    paths.map(|path| path.to_string_lossy().into_owned()).collect()
}

/// The first column of `schedstat`, in nanoseconds, of all of its threads that live.
pub(super) fn run_seconds(process: u32) -> Result<f64, Failure> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).step("a process's threads")?;
    let mut nanoseconds = 0_u64;
    for thread in threads {
        let path = thread.step("a process's threads")?.path().join("schedstat");
        // A thread may end meanwhile.
        let schedstat = fs::read_to_string(path).unwrap_or_default();
        nanoseconds += schedstat.split_whitespace().next().and_then(|run| run.parse().ok()).unwrap_or(0);
    }
    Ok(nanoseconds as f64 / 1e9)
}

fn read(process: u32, file: &str) -> Result<String, Failure> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).step(&format!("reading {path}"))
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "VmRSS:\t 10 kB\nRssAnon:\t    1234 kB\nThreads:\t3\n";
        assert_eq!(field(status, "RssAnon:"), Some(1234));
        assert_eq!(field(status, "Anon:"), None);
        assert_eq!(
            field("rchar: 5\nread_bytes: 4096\ncancelled_write_bytes: 0\n", "read_bytes:"),
            Some(4096)
        );
    }

    #[test]
    fn this_process_has_threads_and_memory() {
        let facts = ProcessFacts::of(&family(std::process::id())[..1]).unwrap();
        assert!(facts.threads >= 1 && facts.anonymous_bytes > 0, "{facts:?}");
    }
}
