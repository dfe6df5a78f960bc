//! Figures, as a table for people and as JSON for programs.

use serde_json::{Map, Value};

/// Figures of one part.
pub(crate) struct Table {
    title: String,
    rows: Vec<Row>,
}

struct Row {
    key: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// One figure: its key in the JSON, what it is, and its unit.
    pub(crate) fn add(&mut self, key: &'static str, what: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { key, what: what.into(), value, unit });
    }

    pub(crate) fn print(&self) {
        println!("{}", self.title);
        for row in &self.rows {
            let digits = if row.value.abs() >= 100.0 || row.value.fract() == 0.0 { 0 } else { 2 };
            println!("  {:<62} {:>14.digits$} {}", row.what, row.value, row.unit);
        }
        println!();
    }

    pub(crate) fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| (row.key.to_owned(), Value::from(row.value)));
        Value::Object(rows.collect::<Map<String, Value>>())
    }
}

/// Of sorted durations in nanoseconds, the one that so many per mille are not above, in microseconds.
pub(crate) fn per_mille(sorted: &[u64], per_mille: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * per_mille / 1000).map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1000.0)
}
