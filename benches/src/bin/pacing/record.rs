//! What was found: one record for each scenario, congestion control and metric.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use benches::run::Run;
use benches::statistics::{Interval, Ratio, median, paired_ratio, shown};
use demo::failure::{Failure, Step};
use serde::Serialize;

/// One comparison of the same daemon without and with pacing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Record {
    /// Who the neighbour is.
    pub(crate) scenario: &'static str,
    /// What the appliance's connections had.
    pub(crate) congestion: String,
    /// What was measured, unit last.
    pub(crate) metric: &'static str,
    /// The median of the rounds.
    pub(crate) unpaced: f64,
    /// The median of the rounds.
    pub(crate) paced: f64,
    /// The median of the rounds' ratios, paced by unpaced; none where that is 0 in all rounds.
    pub(crate) ratio: Option<f64>,
    /// Its 95 % interval; none for fewer than six rounds.
    pub(crate) interval: Option<Interval>,
    /// How many rounds there were.
    pub(crate) rounds: usize,
}

/// A record as it is kept.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    record: &'a Record,
    line: &'a str,
    #[serde(flatten)]
    run: &'a Run,
}

impl Record {
    /// Of what the rounds gave.
    pub(crate) fn new(
        scenario: &'static str,
        congestion: &str,
        metric: &'static str,
        unpaced: &[f64],
        paced: &[f64],
    ) -> Self {
        let ratio = paired_ratio(paced, unpaced);
        Self {
            scenario,
            congestion: congestion.to_owned(),
            metric,
            unpaced: median(unpaced),
            paced: median(paced),
            ratio: ratio.map(|ratio| ratio.median),
            interval: ratio.and_then(|ratio| ratio.interval),
            rounds: unpaced.len(),
        }
    }

    fn row(&self) -> String {
        let Self { scenario, congestion, metric, unpaced, paced, ratio, interval, rounds } = self;
        let ratio =
            ratio.map_or_else(String::new, |median| Ratio { median, interval: *interval }.to_string());
        let (unpaced, paced) = (shown(*unpaced), shown(*paced));
        format!("| {scenario} | {congestion} | {metric} | {unpaced} | {paced} | {ratio} | {rounds} |\n")
    }
}

/// In Markdown, so that no figure is copied by hand.
pub(crate) fn table(records: &[Record]) -> String {
    let mut text =
        "| neighbour | congestion control | metric | unpaced | paced | ratio (95 %) | rounds |\n".to_owned();
    text.push_str("|---|---|---|---|---|---|---|\n");
    records.iter().for_each(|record| text.push_str(&record.row()));
    text
}

/// One JSON document a line.
pub(crate) fn write(records: &[Record], line: &str, run: &Run, path: &Path) -> Result<(), Failure> {
    let mut file = File::create(path).step("writing the records")?;
    for record in records {
        let kept = serde_json::to_string(&Kept { record, line, run }).step("writing the records")?;
        writeln!(file, "{kept}").step("writing the records")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_median_of_the_rounds_ratios() {
        let record = Record::new("requests", "cubic", "delay_millis", &[10.0, 20.0, 40.0], &[5.0, 5.0, 40.0]);
        assert_eq!((record.unpaced, record.paced, record.ratio), (20.0, 5.0, Some(0.5)));
        assert_eq!(
            table(&[record]).lines().last(),
            Some("| requests | cubic | delay_millis | 20.00 | 5.00 | 0.500 | 3 |")
        );
    }

    #[test]
    fn what_was_never_there_without_pacing_has_no_ratio() {
        let record = Record::new("requests", "bbr", "stalled_seconds", &[0.0; 6], &[0.0; 6]);
        assert_eq!((record.ratio, record.interval), (None, None));
    }

    #[test]
    fn a_record_is_kept_with_its_line_and_its_run() {
        let record = Record::new("requests", "bbr", "stalled_seconds", &[1.0; 6], &[2.0; 6]);
        let run = Run { date: "2026-11-21".into(), commit: "abc".into(), machine: "2 cores".into() };
        assert_eq!(
            serde_json::to_string(&Kept { record: &record, line: "a line", run: &run }).unwrap(),
            r#"{"scenario":"requests","congestion":"bbr","metric":"stalled_seconds","unpaced":1.0,"paced":2.0,"ratio":2.0,"interval":[2.0,2.0],"rounds":6,"line":"a line","date":"2026-11-21","commit":"abc","machine":"2 cores"}"#
        );
    }
}
