use std::process::ExitCode;

use serde_json::{Map, Value, json};

use control_client::admin_client::Call;

use crate::arguments::Asking;
use crate::failure::Failure;
use crate::output;
use crate::target::ask;

/// `oca metrics`.
pub(crate) fn run(asking: &Asking) -> Result<ExitCode, Failure> {
    let text = ask(asking, &Call::Metrics)?.text()?;
    if asking.json {
        let samples: Vec<Value> = text.lines().filter_map(sample).collect();
        output::print(&json!({ "version": 1, "samples": samples }).to_string())?;
    } else {
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of Prometheus's text format, version 0.0.4: `name{label="value",…} number`. Comments and what
/// cannot be read give nothing. The number stays a string where JSON has no word for it (`+Inf`, `NaN`).
fn sample(line: &str) -> Option<Value> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let name_bytes = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_bytes);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Map::new(), rest),
    };
    let number = rest.split_whitespace().next()?;
    let value = match number.parse::<f64>().ok()? {
        finite if finite.is_finite() => {
            number.parse::<u64>().map_or_else(|_| json!(finite), |whole| json!(whole))
        }
        _ => json!(number),
    };
    Some(json!({ "name": name, "labels": labels, "value": value }))
}

/// Labels up to and with the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Map<String, Value>, &str)> {
    let mut labels = Map::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(name.to_owned(), Value::String(value));
        rest = after;
    }
}

/// A text up to its closing quote, with `\\`, `\"` and `\n` resolved, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((offset, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[offset + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_with_labels_becomes_an_object() {
        assert_eq!(
            sample("oca_requests_total{outcome=\"hit_disk\",worker=\"0\"} 12"),
            Some(
                json!({ "name": "oca_requests_total", "labels": { "outcome": "hit_disk", "worker": "0" }, "value": 12 })
            )
        );
    }

    #[test]
    fn escapes_in_a_label_are_resolved_and_a_brace_in_it_ends_nothing() {
        assert_eq!(
            sample(r#"volume_info{path="/a}\"b\\c\n"} 1.5 1700000000"#),
            Some(json!({ "name": "volume_info", "labels": { "path": "/a}\"b\\c\n" }, "value": 1.5 }))
        );
    }

    #[test]
    fn comments_blank_lines_and_torn_lines_give_nothing() {
        for line in ["# HELP a b", "", "a", "a{b=\"c", "a{b} 1", "a{} ", "a x"] {
            assert_eq!(sample(line), None, "{line}");
        }
    }

    #[test]
    fn infinity_stays_a_word() {
        assert_eq!(sample("a +Inf"), Some(json!({ "name": "a", "labels": {}, "value": "+Inf" })));
    }
}
