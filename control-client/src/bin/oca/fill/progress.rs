//! How a fill goes, in words: pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control_client::fill::{BundleProgress, FillProgress, FillState};
use control_client::units::{ByteCount, rounded_duration};

use crate::table::printable;

/// One bar: its label, how far it is, and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) done_bytes: u64,
    pub(super) bytes: u64,
    pub(super) beside: String,
}

/// Bundles that have a bar of their own: what fits on a screen.
const BUNDLE_BARS_MAX: usize = 16;

/// Characters of a path that are shown: its end, which tells renditions apart.
const LABEL_CHARACTERS: usize = 32;

/// Whether the run is neither under way nor about to be reported.
pub(super) fn is_over(progress: &FillProgress) -> bool {
    matches!(progress.state, FillState::Waiting | FillState::Suspended)
}

/// The whole run, then its bundles.
pub(super) fn bars(progress: &FillProgress) -> Vec<Bar> {
    let FillProgress { done_bundles, planned_bundles, failed_bundles, .. } = progress;
    let failed = if *failed_bundles == 0 { String::new() } else { format!(", {failed_bundles} failed") };
    let whole = Bar {
        label: printable(&progress.state.to_string()),
        done_bytes: progress.done_bytes,
        bytes: progress.planned_bytes,
        beside: format!(
            "{}  {}  {}  {done_bundles} of {planned_bundles} bundles{failed}",
            of(progress.done_bytes, progress.planned_bytes),
            rate(progress.rate_bits_per_second),
            remaining(progress)
                .map_or_else(|| "-".to_owned(), |left| format!("{} left", rounded_duration(left))),
        ),
    };
    [whole].into_iter().chain(progress.active.iter().take(BUNDLE_BARS_MAX).map(bundle_bar)).collect()
}

fn bundle_bar(bundle: &BundleProgress) -> Bar {
    let source =
        bundle.source.as_ref().map(|source| format!(" from {}", printable(source))).unwrap_or_default();
    Bar {
        label: end_of(bundle.bundle.path.as_str()),
        done_bytes: bundle.done_bytes,
        bytes: bundle.bytes,
        beside: format!("{}  {}{source}", of(bundle.done_bytes, bundle.bytes), bundle.step),
    }
}

/// The run in one line.
pub(super) fn sentence(progress: &FillProgress) -> String {
    let mut text = match progress.state {
        FillState::Filling => format!("{}: {}", progress.state, bars(progress)[0].beside),
        state => state.to_string(),
    };
    if !progress.detail.is_empty() {
        text.push_str(&format!(": {}", printable(&progress.detail)));
    }
    if let Some(change) = window_change(progress, now()) {
        text.push_str(&format!("; {change}"));
    }
    text
}

/// What `oca status` shows of the agent.
pub(crate) fn facts_of(progress: &FillProgress) -> Vec<(&'static str, String)> {
    let mut facts = vec![("agent", progress.state.to_string())];
    if !progress.detail.is_empty() {
        facts.push(("  detail", progress.detail.clone()));
    }
    if let Some(change) = window_change(progress, now()) {
        facts.push(("  window", change));
    }
    facts.push((
        "  manifest",
        match progress.manifest_sequence {
            0 => "none".to_owned(),
            sequence => sequence.to_string(),
        },
    ));
    if let Some(run) = &progress.run {
        facts.push(("  run", run.clone()));
        facts.push(("  progress", bars(progress)[0].beside.clone()));
    }
    facts
}

fn window_change(progress: &FillProgress, now: u64) -> Option<String> {
    let at = progress.window_changes_at?;
    let until = rounded_duration(Duration::from_secs(at.saturating_sub(now)));
    Some(match progress.state {
        FillState::Filling | FillState::Planning | FillState::Reporting => {
            format!("the window closes in {until}")
        }
        FillState::Waiting | FillState::Suspended => format!("the window changes in {until}"),
    })
}

/// At the present rate; `None` where nothing comes.
fn remaining(progress: &FillProgress) -> Option<Duration> {
    let bits = u128::from(progress.planned_bytes.saturating_sub(progress.done_bytes)) * 8;
    let seconds = bits.div_ceil(u128::from(progress.rate_bits_per_second).max(1));
    (progress.rate_bits_per_second > 0)
        .then(|| Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
}

pub(super) fn of(done_bytes: u64, bytes: u64) -> String {
    format!("{} of {}", ByteCount::new(done_bytes).rounded(), ByteCount::new(bytes).rounded())
}

/// For people: one decimal, `"812.4 Mbit/s"`.
fn rate(bits_per_second: u64) -> String {
    let (unit, name) = match bits_per_second {
        0..1_000_000 => (1_000, "kbit/s"),
        1_000_000..1_000_000_000 => (1_000_000, "Mbit/s"),
        _ => (1_000_000_000, "Gbit/s"),
    };
    let tenths = u128::from(bits_per_second) * 10 / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

fn end_of(path: &str) -> String {
    let path = printable(path);
    match path.chars().count().checked_sub(LABEL_CHARACTERS) {
        None | Some(0) => path,
        Some(too_many) => {
            let end: String = path.chars().skip(too_many + 1).collect();
            format!("…{end}")
        }
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> FillProgress {
        serde_json::from_str(include_str!("../../../../tests/golden/fill_progress.json")).expect("readable")
    }

    #[test]
    fn the_whole_run_has_bytes_rate_and_time_left_and_each_bundle_its_source() {
        let bars = bars(&progress());
        assert_eq!(bars[0].label, "filling");
        assert_eq!(bars[0].beside, "3.0 GiB of 8.0 GiB  812.4 Mbit/s  53 s left  12 of 40 bundles, 1 failed");
        assert_eq!(bars[1].label, "/titles/abc/1080p");
        assert_eq!(bars[1].beside, "1.0 GiB of 2.0 GiB  fetching from oca-2");
        assert_eq!(bars[2].beside, "512.0 MiB of 512.0 MiB  verifying");
    }

    #[test]
    fn a_stalled_run_has_no_time_left_and_a_long_path_shows_its_end() {
        let mut progress = progress();
        progress.rate_bits_per_second = 0;
        assert!(bars(&progress)[0].beside.contains("0.0 kbit/s  -  12"), "{}", bars(&progress)[0].beside);
        let label = end_of(&format!("/titles/{}/1080p", "long".repeat(20)));
        assert!(label.starts_with('…') && label.ends_with("/1080p"), "{label}");
        assert_eq!(label.chars().count(), LABEL_CHARACTERS);
    }

    #[test]
    fn no_figures_make_it_panic() {
        let mut progress = progress();
        for (done, planned, rate) in
            [(0, 0, 0), (u64::MAX, 0, 1), (0, u64::MAX, 1), (u64::MAX, u64::MAX, u64::MAX)]
        {
            (progress.done_bytes, progress.planned_bytes, progress.rate_bits_per_second) =
                (done, planned, rate);
            assert!(!sentence(&progress).is_empty());
        }
    }

    #[test]
    fn the_window_is_told_as_a_time_from_now() {
        let progress = progress();
        let at = progress.window_changes_at.expect("told");
        assert_eq!(window_change(&progress, at - 90).as_deref(), Some("the window closes in 1 min 30 s"));
        assert_eq!(window_change(&progress, at + 90).as_deref(), Some("the window closes in 0 ms"));
    }
}
