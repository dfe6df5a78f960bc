use std::io::{self, Write};

use crate::failure::Failure;

/// Prints a text, ending in a line end. A reader who has gone (`oca inventory | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints bytes as they are; a line end is added where it is missing.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let line_end: &[u8] = if bytes.ends_with(b"\n") { b"" } else { b"\n" };
    let written =
        stdout.write_all(bytes).and_then(|()| stdout.write_all(line_end)).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
