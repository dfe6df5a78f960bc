use std::io::{self, Write};

use serde_json::Value;

/// Prints a document as JSON, or a text. A reader who has gone (`oca inspect … | head`) is no failure.
pub(crate) fn print(as_json: bool, document: &Value, text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = if as_json {
        serde_json::to_writer_pretty(&mut stdout, document)
            .map_err(io::Error::from)
            .and_then(|()| stdout.write_all(b"\n"))
    } else {
        stdout.write_all(text.as_bytes())
    };
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Without control characters, which could play tricks on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
