//! The records for `benches/README.md`: a table in Markdown, so that no figure is copied by hand.

use benches::statistics::shown;

use super::record::{NO_PEER, Record};
use super::results::Entry;
use super::table::{ratio, target, verdicts};
use super::target::{against_limit, against_peer};

/// All of it: which scenarios were run when and where, then a row for each record of the first file, with the verdicts of each file.
pub(crate) fn table(files: &[Vec<Entry>]) -> String {
    let mut text: String = files.iter().map(|entries| runs(entries)).collect();
    text.push_str("\n| scenario | metric | ours | peer | its value | ratio (95 %) | asked for | limit | ratio (95 %) | asked for | rounds | verdict |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    let Some((first, others)) = files.split_first() else { return text };
    let mut before: Option<&Record> = None;
    for Entry { record, .. } in first {
        let is_repeated =
            before.is_some_and(|before| before.scenario == record.scenario && before.metric == record.metric);
        text.push_str(&row(record, is_repeated, &all_verdicts(record, others)));
        before = Some(record);
    }
    text
}

/// The verdicts of one file, or of several: once, where they are the same.
fn all_verdicts(record: &Record, others: &[Vec<Entry>]) -> String {
    let name = |record: &Record| (record.scenario.clone(), record.metric.clone(), record.peer.clone());
    let other = |entries: &Vec<Entry>| {
        let found = entries.iter().find(|entry| name(&entry.record) == name(record));
        found.map_or_else(|| "not measured".to_owned(), |entry| verdicts(&entry.record))
    };
    let own = verdicts(record);
    // Without a target there is nothing to say, of no run.
    if own.is_empty() || others.is_empty() {
        return own;
    }
    let others: Vec<String> = others.iter().map(other).collect();
    if others.iter().all(|verdict| *verdict == own) {
        format!("{own} ({} runs)", 1 + others.len())
    } else {
        format!("{own}; {}", others.join("; "))
    }
}

/// One line for each run.
fn runs(entries: &[Entry]) -> String {
    let mut runs: Vec<(String, Vec<&str>)> = Vec::new();
    for Entry { record, run } in entries {
        let described = run.described();
        let place = runs.iter().position(|(of, _)| *of == described).unwrap_or_else(|| {
            runs.push((described, Vec::new()));
            runs.len() - 1
        });
        let scenarios = &mut runs[place].1;
        if !scenarios.contains(&record.scenario.as_str()) {
            scenarios.push(&record.scenario);
        }
    }
    let line = |(run, scenarios): (String, Vec<&str>)| format!("- {run}: {}\n", scenarios.join(", "));
    runs.into_iter().map(line).collect()
}

/// What is of ours and of the limit stands in the first row of several peers only.
fn row(record: &Record, is_repeated: bool, verdicts: &str) -> String {
    let once = |cell: String| if is_repeated { String::new() } else { cell };
    let peer = if record.peer == NO_PEER { "" } else { &record.peer };
    let cells = [
        once(record.scenario.clone()),
        once(record.metric.clone()),
        once(shown(record.ours)),
        peer.to_owned(),
        record.peer_value.map_or_else(String::new, shown),
        ratio(record.ratio_peer, record.ratio_peer.and(record.interval)),
        target(against_peer(record)),
        once(record.limit.map_or_else(String::new, shown)),
        once(ratio(record.ratio_limit, record.interval_limit)),
        once(target(against_limit(record))),
        once(record.rounds.to_string()),
        verdicts.to_owned(),
    ];
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Series, compare};
    use benches::run::Run;

    fn entries(scenario: &str, commit: &str) -> Vec<Entry> {
        let run = Run { date: "2026-11-21".into(), commit: commit.into(), machine: "2 cores".into() };
        let series = |name, value| Series { name, values: vec![value; 9] };
        let peers = [series("nginx", 2.0), series("varnish", 4.0)];
        let records = compare(scenario, "run_seconds_per_gib", &[1.0; 9], &peers, Some(&[1.0; 9]));
        records.into_iter().map(|record| Entry { record, run: run.clone() }).collect()
    }

    #[test]
    fn every_record_has_its_row_with_both_verdicts() {
        let text = table(&[entries("hot-2m", "abc")]);
        let rows: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "| hot-2m | run_seconds_per_gib | 1.00 | nginx | 2.00 | 0.500 (0.500 to 0.500) | ≤ 1.00 | 1.00 | \
                 1.000 (1.000 to 1.000) | ≤ 1.10 | 9 | limit reached, peer reached |",
                "|  |  |  | varnish | 4.00 | 0.250 (0.250 to 0.250) |  |  |  |  |  | limit reached |",
            ]
        );
    }

    #[test]
    fn runs_are_named_with_their_scenarios() {
        let all = [entries("hot-2m", "abc"), entries("hot-8m", "abc"), entries("idle", "def")].concat();
        let text = table(&[all]);
        let lines: Vec<&str> = text.lines().take(2).collect();
        assert_eq!(
            lines,
            ["- 2026-11-21, commit abc, 2 cores: hot-2m, hot-8m", "- 2026-11-21, commit def, 2 cores: idle"]
        );
    }

    #[test]
    fn several_runs_have_one_verdict_or_are_told_apart() {
        let mut dearer = entries("hot-2m", "def");
        for entry in &mut dearer {
            (entry.record.ratio_limit, entry.record.interval_limit) = (Some(1.2), None);
        }
        let same = [entries("hot-2m", "abc"), entries("hot-2m", "def")];
        assert!(table(&same).contains("| limit reached, peer reached (2 runs) |"), "{}", table(&same));
        let other = [entries("hot-2m", "abc"), dearer, entries("idle", "abc")];
        assert!(
            table(&other)
                .contains("| limit reached, peer reached; limit missed, peer reached; not measured |"),
            "{}",
            table(&other)
        );
    }
}
