use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::complaint;
use crate::units::display_duration;
use crate::{limits, web_url};

/// A value that cannot be right, by itself or beside another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, `serve.header_timeout` or `store.volumes[1].path`.
    pub key: String,
    /// The line of the file that sets the key, counted from 1; absent where the key has its default, or there
    /// is no file.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; {}", self.key, self.what, self.advice)
    }
}

/// Says for each problem which line of `text` sets its key.
pub(super) fn with_lines(mut problems: Vec<Problem>, text: &str) -> Vec<Problem> {
    if let Ok(document) = DeTable::parse(text) {
        for problem in &mut problems {
            problem.line = line_of(document.get_ref(), &problem.key, text);
        }
    }
    problems
}

/// Collects problems, and knows the checks that several sections need.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, key: &str, what: String, advice: &str) {
        self.0.push(Problem { key: key.to_owned(), line: None, what, advice: advice.to_owned() });
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0
    }

    pub(super) fn check_range<T: PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        value: T,
        range: &RangeInclusive<T>,
        advice: &str,
    ) {
        if !range.contains(&value) {
            let what = format!("{value} is not between {} and {}", range.start(), range.end());
            self.add(key, what, advice);
        }
    }

    pub(super) fn check_count(&mut self, key: &str, count: usize, range: RangeInclusive<usize>) {
        if count > *range.end() {
            self.add(key, format!("{count} entries; at most {} are possible", range.end()), "name fewer");
        }
        if count < *range.start() {
            self.add(key, "the list is empty".to_owned(), "name at least one");
        }
    }

    pub(super) fn check_duration(&mut self, key: &str, value: Duration, range: &RangeInclusive<Duration>) {
        if !range.contains(&value) {
            let (start, end) = (display_duration(*range.start()), display_duration(*range.end()));
            let what = format!("{} is not between {start} and {end}", display_duration(value));
            self.add(key, what, "write a duration in that range; no timeout can be switched off");
        }
    }

    pub(super) fn check_whole_seconds(
        &mut self,
        key: &str,
        value: Duration,
        range: &RangeInclusive<Duration>,
    ) {
        if !range.contains(&value) || value.subsec_nanos() != 0 {
            let seconds = format!("between {} s and {} s", range.start().as_secs(), range.end().as_secs());
            let what = format!("{} is not a whole number of seconds {seconds}", display_duration(value));
            self.add(key, what, "HTTP has it in seconds; write it so");
        }
    }

    /// A base URL.
    pub(super) fn check_url(&mut self, key: &str, url: &str) {
        if web_url::check(url).is_err() {
            self.add(
                key,
                format!("{url:?} is not a URL that a path can be appended to"),
                "write http://HOST or https://HOST, with :PORT and /PATH where needed, and no user, \"?\" or \"#\"",
            );
        }
    }

    /// What logs and reports repeat.
    pub(super) fn check_name(&mut self, key: &str, name: &str, bytes_max: usize) {
        if !(1..=bytes_max).contains(&name.len()) || name.chars().any(char::is_control) {
            self.add(
                key,
                format!("{name:?} is not a name of 1 to {bytes_max} bytes without control characters"),
                "choose a short word",
            );
        }
    }

    /// The path of a Unix socket.
    pub(super) fn check_socket(&mut self, key: &str, socket: &Path, example: &str) {
        self.check_path(key, socket);
        let bytes = socket.as_os_str().len();
        if bytes > limits::SOCKET_PATH_BYTES_MAX {
            self.add(
                key,
                format!("the path has {bytes} bytes; a Unix socket takes {}", limits::SOCKET_PATH_BYTES_MAX),
                &format!("choose a shorter path, for example {example}"),
            );
        }
    }

    pub(super) fn check_path(&mut self, key: &str, path: &Path) {
        if !path.is_absolute() {
            self.add(
                key,
                format!("{:?} is not an absolute path", path.display()),
                "start it with '/': the daemon has no directory of its own to start from",
            );
        }
    }
}

fn line_of(document: &DeTable<'_>, key: &str, text: &str) -> Option<usize> {
    let (section, key) = key.split_once('.')?;
    let key = key.split(['[', '.']).next()?;
    let section = document.iter().find(|(name, _)| name.get_ref() == section)?.1;
    let (name, _) = section.get_ref().as_table()?.iter().find(|(name, _)| name.get_ref() == key)?;
    Some(complaint::position(text, name.span().start).line)
}
