//! The file, to which lines are appended. One that cannot be written costs lines, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::writer::Signals;

/// A log that cannot be written says so once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Readable by the operator's group, not by all, because it holds addresses of viewers.
const FILE_MODE: u32 = 0o640;

/// The access log's file.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// What is written ends inside a line, so the next write begins with a newline: a torn line must not spoil
    /// its neighbour.
    is_torn: bool,
    last_warning: Option<Instant>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open_for_append(path)?;
        Ok(Self { file, path: path.to_owned(), is_torn: ends_torn(path), last_warning: None })
    }

    /// Appends whole lines, which lie in two pieces. What cannot be written is lost and counted: it is never kept, so memory
    /// does not grow.
    pub(super) fn append(&mut self, pieces: [&[u8]; 2], signals: &Signals) {
        let end_of_torn: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let (taken_bytes, end) = self.write(&mut [end_of_torn, pieces[0], pieces[1]].map(IoSlice::new));
        let of_lines = taken_bytes.saturating_sub(end_of_torn.len());
        let in_first = of_lines.min(pieces[0].len());
        let taken = [&pieces[0][..in_first], &pieces[1][..of_lines - in_first]];
        if let Some(last) = taken[1].last().or(taken[0].last()) {
            self.is_torn = *last != b'\n';
        } else if taken_bytes > 0 {
            self.is_torn = false;
        }
        let (all, written) = (count_lines(pieces), count_lines(taken));
        signals.written.fetch_add(written, Relaxed);
        if let Err(error) = end {
            signals.lost.fetch_add(all - written, Relaxed);
            self.failed("written", &error, signals);
        }
    }

    /// How many bytes the file has taken, and why not all. In one call, if the file takes them: a process that is killed leaves whole lines.
    fn write(&mut self, mut slices: &mut [IoSlice<'_>]) -> (usize, io::Result<()>) {
        let mut taken_bytes = 0;
        // Leaves out what is empty.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.file.write_vectored(slices) {
                Ok(0) => return (taken_bytes, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    taken_bytes += count;
                    IoSlice::advance_slices(&mut slices, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (taken_bytes, Err(error)),
            }
        }
        (taken_bytes, Ok(()))
    }

    /// Opens the file again by its name; failing that, goes on with the old one.
    pub(super) fn reopen(&mut self, signals: &Signals) {
        match open_for_append(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_torn = ends_torn(&self.path);
            }
            Err(error) => self.failed("opened again", &error, signals),
        }
    }

    fn failed(&mut self, what: &str, error: &io::Error, signals: &Signals) {
        signals.errors.fetch_add(1, Relaxed);
        if self.last_warning.is_some_and(|warning| warning.elapsed() < WARN_INTERVAL) {
            return;
        }
        self.last_warning = Some(Instant::now());
        tracing::warn!(
            path = %self.path.display(), %error, lost = signals.lost.load(Relaxed),
            "the access log could not be {what}; make room on its file system or correct its permissions; \
             service goes on, lines are lost and counted in oca_access_log_lines_total"
        );
    }
}

fn count_lines(pieces: [&[u8]; 2]) -> u64 {
    pieces.iter().map(|piece| memchr::memchr_iter(b'\n', piece).count() as u64).sum()
}

/// Whether a file that is there ends inside a line, as where a process was killed while it wrote. One that cannot be read is believed not to.
fn ends_torn(path: &Path) -> bool {
    let mut last = [b'\n'];
    let read = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() > 0 {
            file.read_at(&mut last, metadata.len() - 1)
        } else {
            Ok(0)
        }
    });
    read.is_ok() && last != [b'\n']
}

fn open_for_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_that_lies_in_two_pieces_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (mut log, signals) = (LogFile::open(&path).unwrap(), Signals::default());
        log.append([b"{1}\n{", b"2}\n"], &signals);
        log.append([b"{3}\n", b""], &signals);
        assert_eq!(fs::read(&path).unwrap(), b"{1}\n{2}\n{3}\n");
        assert_eq!((signals.totals().written, signals.totals().lost), (3, 0));
    }

    #[test]
    fn after_a_write_that_failed_inside_a_line_the_next_line_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (mut log, signals) = (LogFile::open(&path).unwrap(), Signals::default());
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        log.append([b"{1}\n", b"{"], &signals);
        let file = std::mem::replace(&mut log.file, full);
        log.append([b"2}\n{3}\n", b""], &signals);
        assert_eq!((signals.totals().written, signals.totals().lost), (1, 2));
        log.file = file;
        log.append([b"{4}\n", b""], &signals);
        assert_eq!(fs::read(&path).unwrap(), b"{1}\n{\n{4}\n");
        assert_eq!((signals.totals().written, signals.totals().lost), (2, 2));
    }

    #[test]
    fn a_line_that_another_process_left_half_done_does_not_spoil_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let signals = Signals::default();
        fs::write(&path, "{1}\n{").unwrap();
        LogFile::open(&path).unwrap().append([b"{2}\n", b""], &signals);
        LogFile::open(&path).unwrap().append([b"{3}\n", b""], &signals);
        assert_eq!(fs::read(&path).unwrap(), b"{1}\n{\n{2}\n{3}\n");
        assert_eq!(signals.totals().written, 2);
    }
}
