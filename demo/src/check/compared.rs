//! What a part of the check compared, and what was wrong.

use crate::table;

/// What one part of the check compared.
pub(super) struct Compared {
    pub(super) what: String,
    pub(super) requests: usize,
    pub(super) bytes: u64,
    pub(super) problems: Vec<String>,
}

impl Compared {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), requests: 0, bytes: 0, problems: Vec::new() }
    }

    pub(super) fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }
}

/// A table of all parts, and the first problems of each.
pub(super) fn print(compared: &[Compared]) {
    let mut rows = vec![["compared", "requests", "bytes", "result"].map(str::to_owned).to_vec()];
    for part in compared {
        let result = match part.problems.len() {
            0 => "ok".to_owned(),
            count => format!("{count} wrong"),
        };
        rows.push(vec![part.what.clone(), part.requests.to_string(), part.bytes.to_string(), result]);
    }
    println!("\n{}", table::render(&rows));
    for part in compared {
        for problem in part.problems.iter().take(20) {
            println!("{}: {problem}", part.what);
        }
    }
}
