//! The file, to which lines are appended. One that cannot be written costs lines, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    /// The last write ended inside a line, so the next one begins with a newline: a torn line must not spoil
    /// its neighbour.
    is_torn: bool,
    last_warning: Option<Instant>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: open_for_append(path)?, path: path.to_owned(), is_torn: false, last_warning: None })
    }

    /// Appends whole lines, which lie in pieces. What cannot be written is lost and counted: it is never kept, so memory
    /// does not grow.
    pub(super) fn append(&mut self, pieces: [&[u8]; 2], signals: &Signals) {
        let (lines, mut written) = (pieces.iter().copied().map(count_lines).sum::<u64>(), 0);
        let end_of_torn = if self.is_torn { &b"\n"[..] } else { b"" };
        let appended = self
            .append_piece(end_of_torn, &mut 0)
            .and_then(|()| pieces.iter().try_for_each(|piece| self.append_piece(piece, &mut written)));
        signals.written.fetch_add(written, Relaxed);
        if let Err(error) = appended {
            signals.lost.fetch_add(lines - written, Relaxed);
            self.failed("written", &error, signals);
        }
    }

    /// `written` counts the lines whose ends the file has.
    fn append_piece(&mut self, mut rest: &[u8], written: &mut u64) -> io::Result<()> {
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let (taken, left) = rest.split_at(count);
                    *written += count_lines(taken);
                    self.is_torn = !taken.ends_with(b"\n");
                    rest = left;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens the file again by its name; failing that, goes on with the old one.
    pub(super) fn reopen(&mut self, signals: &Signals) {
        match open_for_append(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
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
             service goes on, lines are lost and counted in oca_access_log_records_total"
        );
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
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
        log.append_piece(b"{1}\n{", &mut 0).unwrap();
        let file = std::mem::replace(&mut log.file, full);
        log.append([b"2}\n{3}\n", b""], &signals);
        assert_eq!((signals.totals().written, signals.totals().lost), (0, 2));
        log.file = file;
        log.append([b"{4}\n", b""], &signals);
        assert_eq!(fs::read(&path).unwrap(), b"{1}\n{\n{4}\n");
        assert_eq!((signals.totals().written, signals.totals().lost), (1, 2));
    }
}
