//! The configuration: a clear complaint at the right place, or values that are written and read back as the same.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use control_client::config::{Complaint, Config, ConfigError};
use control_client::limits::CONFIG_FILE_BYTES_MAX;

/// What a complaint may have beside the operator's own text, which is shortened in it.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// Reads `data` as the text of a configuration; as a file, where only files are treated so.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return check_not_utf8(data) };
    match Config::parse(text) {
        Ok(config) => check_config(&config, text),
        Err(error) => {
            let ConfigError::Refused { path: None, complaint } = &error else { panic!("{error:?}") };
            check_complaint(complaint, text);
            assert!(error.to_string().ends_with(&complaint.to_string()));
        }
    }
}

fn check_config(config: &Config, text: &str) {
    let written = toml::Table::try_from(config).expect("every value of a configuration is TOML");
    let again: Config = written.try_into().expect("what was read and written can be read");
    assert_eq!(&again, config);
    assert!(config.effective().iter().all(|(key, _)| key.contains('.')));
    let problems = config.check();
    for problem in &problems {
        assert!(problem.key.contains('.') && !problem.what.is_empty() && !problem.advice.is_empty());
        assert_printable(&problem.to_string());
    }
    if problems.is_empty() {
        return;
    }
    let Err(ConfigError::Problems { problems: located, .. }) = load(text.as_bytes()) else {
        panic!("a file is not judged as its text is: {problems:?}");
    };
    assert_eq!(located.len(), problems.len());
    for (located, problem) in located.iter().zip(&problems) {
        assert_eq!((&located.key, &located.what), (&problem.key, &problem.what));
        assert!(located.line.is_none_or(|line| (1..=text.lines().count()).contains(&line)));
    }
}

fn check_not_utf8(data: &[u8]) {
    if data.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return;
    }
    match load(data) {
        Err(ConfigError::Refused { complaint, .. }) => {
            check_complaint(&complaint, &String::from_utf8_lossy(data))
        }
        other => panic!("a file that is not UTF-8 gives {other:?}"),
    }
}

fn check_complaint(complaint: &Complaint, text: &str) {
    // The end of a text that ends in a line break is the start of one line more.
    let lines = text.matches('\n').count() + 1;
    assert!((1..=lines).contains(&complaint.line), "line {} of {lines}", complaint.line);
    let line = text.split('\n').nth(complaint.line - 1).expect("the line is there");
    assert!(
        (1..=line.chars().count() + 1).contains(&complaint.column),
        "column {} of {line:?}",
        complaint.column
    );
    assert!(!complaint.what.is_empty());
    let rendered = complaint.to_string();
    assert!(rendered.len() <= COMPLAINT_BYTES_MAX, "{} bytes", rendered.len());
    assert_printable(&rendered);
}

/// Control characters in a message can play tricks on the operator's terminal.
fn assert_printable(message: &str) {
    assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{message:?}");
}

/// Loads a file of these bytes.
fn load(bytes: &[u8]) -> Result<Config, ConfigError> {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(bytes).expect("it can be written");
    Config::load(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
}
