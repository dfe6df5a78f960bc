//! Reads `*.exchange` files. A line that is not understood ends the test with its place.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::expected::{Expected, ExpectedBody, ExpectedField};
use crate::fixture::Known;

/// The exchanges of one subject.
pub(crate) struct File {
    /// The file's name.
    pub(crate) name: String,
    /// In order.
    pub(crate) cases: Vec<Case>,
}

/// One exchange, on a connection of its own.
pub(crate) struct Case {
    /// The sentence that it proves.
    pub(crate) title: String,
    /// File and line.
    pub(crate) place: String,
    /// What happens, in order.
    pub(crate) steps: Vec<Step>,
    /// What becomes of the connection.
    pub(crate) end: End,
}

/// One thing that the client does.
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits a moment, so that the bytes before and after arrive apart.
    Pause,
    /// Ends its side of the connection.
    Finish,
    /// Reads an answer.
    Expect(Expected),
}

/// What becomes of the connection after the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A next request on it is answered.
    Open,
    /// The daemon closes it, in good order.
    Closed,
    /// The daemon resets it: nothing that came before can be taken for an answer.
    Reset,
}

/// Reads every `*.exchange` file of a folder, in the order of their names.
pub(crate) fn read_folder(folder: &Path, known: &Known) -> Vec<File> {
    let entries = std::fs::read_dir(folder).expect("the folder of exchanges can be read");
    let paths = entries.map(|entry| entry.expect("the folder of exchanges can be read").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "exchange")).collect();
    paths.sort();
    paths.iter().map(|path| read_file(path, known)).collect()
}

fn read_file(path: &Path, known: &Known) -> File {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).expect("an exchange file is UTF-8");
    let mut cases: Vec<Case> = Vec::new();
    let mut is_ended = true;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if let Some(title) = line.strip_prefix("## ") {
            assert!(is_ended, "{place}: the exchange before has no end: write `open`, `closed` or `reset`");
            is_ended = false;
            cases.push(Case { title: title.to_owned(), place, steps: Vec::new(), end: End::Closed });
        } else if !line.is_empty() && !line.starts_with('#') {
            assert!(!is_ended, "{place}: no exchange begins before this line: {line}");
            let case = cases.last_mut().expect("an exchange that has not ended is in the list");
            match line {
                "open" | "closed" | "reset" => {
                    case.end = match line {
                        "open" => End::Open,
                        "closed" => End::Closed,
                        _ => End::Reset,
                    };
                    is_ended = true;
                }
                _ => read_line(&mut case.steps, &known.fill(line))
                    .unwrap_or_else(|wrong| panic!("{place}: {wrong}: {line}")),
            }
        }
    }
    assert!(is_ended, "{name}: the last exchange has no end: write `open`, `closed` or `reset`");
    File { name, cases }
}

fn read_line(steps: &mut Vec<Step>, line: &str) -> Result<(), &'static str> {
    if let Some(sent) = line.strip_prefix('>') {
        let bytes = unescape(sent.strip_prefix(' ').unwrap_or(sent))?;
        match steps.last_mut() {
            Some(Step::Send(before)) => before.extend(bytes),
            _ => steps.push(Step::Send(bytes)),
        }
        return Ok(());
    }
    if let Some(status_line) = line.strip_prefix("< HTTP/") {
        let status_line = format!("HTTP/{status_line}");
        steps.push(Step::Expect(Expected { status_line, ..Expected::default() }));
        return Ok(());
    }
    match (line, steps.last_mut()) {
        ("pause", _) => steps.push(Step::Pause),
        ("finish", _) => steps.push(Step::Finish),
        (_, Some(Step::Expect(expected))) => read_expectation(expected, line)?,
        _ => return Err("not understood here"),
    }
    Ok(())
}

fn read_expectation(expected: &mut Expected, line: &str) -> Result<(), &'static str> {
    if line == "< nothing else" {
        expected.nothing_else = true;
    } else if let Some(name) = line.strip_prefix("< !") {
        expected.fields.push(ExpectedField::Absent(name.to_owned()));
    } else if let Some(field) = line.strip_prefix("< ") {
        let (name, value) = field.split_once(": ").ok_or("not a field")?;
        expected.fields.push(match value.strip_suffix("...") {
            Some(start) => ExpectedField::Starts(name.to_owned(), start.to_owned()),
            None => ExpectedField::Is(name.to_owned(), value.to_owned()),
        });
    } else {
        expected.body = read_body(line.strip_prefix("body ").ok_or("not understood")?)?;
    }
    Ok(())
}

fn read_body(body: &str) -> Result<ExpectedBody, &'static str> {
    if body == "none" {
        return Ok(ExpectedBody::Nothing);
    }
    if let Some(text) = body.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return Ok(ExpectedBody::Text(text.replace("\\n", "\n")));
    }
    if let Some(parts) = body.strip_prefix("parts ") {
        let mut words = parts.split(' ');
        let path = words.next().unwrap_or_default().to_owned();
        return Ok(ExpectedBody::Parts(path, words.map(read_range).collect::<Result<_, _>>()?));
    }
    match body.split_once(" bytes ") {
        Some((path, range)) => Ok(ExpectedBody::Range(path.to_owned(), read_range(range)?)),
        None if body.starts_with('/') => Ok(ExpectedBody::Object(body.to_owned())),
        None => Err("not a body"),
    }
}

fn read_range(range: &str) -> Result<RangeInclusive<usize>, &'static str> {
    let (first, last) = range.split_once('-').ok_or("not a range")?;
    let number = |digits: &str| digits.parse().map_err(|_| "not a range");
    Ok(number(first)?..=number(last)?)
}

/// The bytes of a line: its escapes put in, CRLF added unless it ends in a backslash.
fn unescape(line: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        if after.is_empty() {
            return Ok(bytes);
        }
        rest = &after[1..];
        match after.as_bytes()[0] {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                let digits = rest.get(..2).ok_or("\\x takes two digits")?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x takes two digits")?);
                rest = &rest[2..];
            }
            b'(' => {
                let (repeated, after) = rest.split_once(')').ok_or("\\( has no )")?;
                let (text, times) = repeated.rsplit_once('*').ok_or("\\( takes text*times)")?;
                let text = unescape(&format!("{text}\\"))?;
                bytes.extend(text.repeat(times.parse().map_err(|_| "\\( takes text*times)")?));
                rest = after;
            }
            _ => return Err("no such escape"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}
