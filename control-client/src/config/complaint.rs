//! What is wrong with the text of a configuration, in the operator's words.
//!
//! The keys that are known, and the values of a closed list, come from serde's own message, which has them from the
//! fields themselves: no second list can drift.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do, where that is known.
    pub advice: Option<String>,
    /// The line itself, shortened, without control characters.
    pub source_line: String,
}

/// A place in a text, both counted from 1.
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Complaint {
    pub(super) fn of(error: &toml::de::Error, text: &str) -> Self {
        let span = error.span().unwrap_or(0..0);
        let subject = text.get(span.clone()).unwrap_or_default();
        let (what, advice) = in_plain_words(error.message(), subject, &table_at(text, span.start));
        Self::at(text, span.start, what, advice)
    }

    /// `text` is valid up to `valid_bytes`.
    pub(super) fn not_utf8(text: &str, valid_bytes: usize) -> Self {
        Self::at(text, valid_bytes, "not UTF-8".to_owned(), Some("save the file as UTF-8 text".to_owned()))
    }

    fn at(text: &str, offset: usize, what: String, advice: Option<String>) -> Self {
        let Position { line, column } = position(text, offset);
        let source_line = text.lines().nth(line - 1).map(printable).unwrap_or_default();
        Self { line, column, what, advice, source_line }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.line, self.column, self.what)?;
        if let Some(advice) = &self.advice {
            write!(formatter, "; {advice}")?;
        }
        if !self.source_line.is_empty() {
            write!(formatter, "\n  {} | {}", self.line, self.source_line)?;
        }
        Ok(())
    }
}

/// Where in the text the byte at `offset` is. An offset inside a character is that character's.
pub(super) fn position(text: &str, offset: usize) -> Position {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// How much of an operator's text a complaint repeats, in characters.
const QUOTED_CHARACTERS: usize = 100;

/// Keys longer than this are not compared with the known ones, none of which comes near.
const COMPARED_BYTES_MAX: usize = 64;

fn in_plain_words(message: &str, subject: &str, table: &str) -> (String, Option<String>) {
    if message.starts_with("unknown field") {
        let key = subject.trim_matches(['"', '\'']);
        let (place, kind) = match table {
            "" => ("at the top level".to_owned(), "sections"),
            table => (format!("in [{}]", printable(table)), "keys"),
        };
        return (format!("unknown key `{}` {place}", printable(key)), nearest(key, message, kind));
    }
    if message.starts_with("unknown variant") {
        let value = subject.trim_matches(['"', '\'']);
        return (format!("unknown value {}", printable(subject)), nearest(value, message, "values"));
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return (format!("{key} is missing"), Some("add it".to_owned()));
    }
    let message = match message.rsplit_once(", expected ") {
        Some((what, expected)) => format!("{what}, expected {}", type_in_plain_words(expected)),
        // What `toml` says of anything but a string where one of a closed list belongs.
        None if message == "wanted string or table" => "expected text in quotes".to_owned(),
        None => message.to_owned(),
    };
    (printable(&message), None)
}

/// Advice from serde's list of what it would have taken: "…, expected one of `listen`, `listen_tls`".
fn nearest(word: &str, message: &str, kind: &str) -> Option<String> {
    let (_, expected) = message.rsplit_once(", expected ")?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let close = known
        .iter()
        .filter(|_| word.len() <= COMPARED_BYTES_MAX)
        .map(|known| (strsim::osa_distance(word, known), known))
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance);
    Some(match close {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("known {kind}: {}", known.join(", ")),
    })
}

/// Rust's names of types, for people.
fn type_in_plain_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "a string" | "path string" => "text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list in brackets, [ ]",
        expected if expected.starts_with("struct ") => "a section or a table, { }",
        expected => expected,
    }
}

/// The table that holds the key at `offset`, `serve` or `store.volumes`; empty at the top level.
fn table_at(text: &str, offset: usize) -> String {
    DeTable::parse(text)
        .ok()
        .and_then(|document| path_in_table(document.get_ref(), offset))
        .unwrap_or_default()
}

fn path_in_table(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        if name.span().contains(&offset) {
            return Some(String::new());
        }
        let path = path_in_value(value.get_ref(), offset)?;
        Some(if path.is_empty() { name.get_ref().to_string() } else { format!("{}.{path}", name.get_ref()) })
    })
}

fn path_in_value(value: &DeValue<'_>, offset: usize) -> Option<String> {
    match value {
        DeValue::Table(table) => path_in_table(table, offset),
        DeValue::Array(values) => values.iter().find_map(|value| path_in_value(value.get_ref(), offset)),
        _ => None,
    }
}

/// Shortened, and without control characters, which could play tricks on a terminal.
fn printable(text: &str) -> String {
    let mut printable: String =
        text.chars().take(QUOTED_CHARACTERS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(QUOTED_CHARACTERS).is_some() {
        printable.push('…');
    }
    printable
}
