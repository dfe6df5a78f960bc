//! Why the daemon does not start, and the exit code that says so: those of `sysexits.h`.

use std::fmt;

/// Why the daemon did not start.
#[derive(Debug)]
pub(super) struct StartError {
    text: String,
    pub(super) exit_code: u8,
}

/// `EX_UNAVAILABLE`: something that the daemon needs is not there.
pub(super) const UNAVAILABLE: u8 = 69;
/// `EX_SOFTWARE`: a defect of ours.
pub(super) const SOFTWARE: u8 = 70;
/// `EX_OSERR`: the kernel refuses something.
pub(super) const OS_ERROR: u8 = 71;
/// `EX_CONFIG`: the configuration cannot be used.
pub(super) const CONFIGURATION: u8 = 78;

impl StartError {
    pub(super) fn new(exit_code: u8, text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), exit_code }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
