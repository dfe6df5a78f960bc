//! Bars that show how the fills go: bytes, rate, time left, and where the bytes come from.

use std::io::IsTerminal;
use std::time::Duration;

use control_client::fill::{FillProgress, FillState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One bar for each appliance.
pub struct FillBars {
    bars: Vec<ProgressBar>,
    // Draws them; where nobody looks, it draws nothing.
    _screen: MultiProgress,
}

impl FillBars {
    /// Bars with these names.
    pub fn new(names: &[String]) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        };
        let screen = MultiProgress::with_draw_target(target);
        let template = "  {prefix:<6} {bar:16} {bytes:>10} of {total_bytes:<10} {wide_msg}";
        let style =
            ProgressStyle::with_template(template).expect("the template is one").progress_chars("━━ ");
        let bars = names
            .iter()
            .map(|name| {
                let bar = screen.add(ProgressBar::new(0).with_style(style.clone()));
                bar.set_prefix(name.clone());
                bar
            })
            .collect();
        Self { bars, _screen: screen }
    }

    /// Shows what an agent says.
    pub fn show(&self, index: usize, progress: &FillProgress) {
        let bar = &self.bars[index];
        bar.set_length(progress.planned_bytes);
        bar.set_position(progress.done_bytes.min(progress.planned_bytes));
        bar.set_message(message(progress));
    }

    /// Leaves a bar as it is.
    pub fn finish(&self, index: usize, message: String) {
        self.bars[index].abandon_with_message(message);
    }
}

/// Rate, time left, bundles and sources, in as few words as a narrow terminal has room for.
fn message(progress: &FillProgress) -> String {
    if progress.state != FillState::Filling {
        return progress.state.to_string();
    }
    let mut sources: Vec<&str> =
        progress.active.iter().filter_map(|bundle| bundle.source.as_deref()).collect();
    sources.sort_unstable();
    sources.dedup();
    let left = time_left(progress).map_or_else(String::new, |left| format!(" {} s", left.as_secs() + 1));
    format!(
        "{:.0} Mbit/s{left}, {} of {}, {}",
        progress.rate_bits_per_second as f64 / 1e6,
        progress.done_bundles,
        progress.planned_bundles,
        sources.join("+"),
    )
}

/// At the present rate; `None` where nothing comes.
fn time_left(progress: &FillProgress) -> Option<Duration> {
    let left_bits = progress.planned_bytes.saturating_sub(progress.done_bytes).saturating_mul(8);
    let seconds = left_bits.checked_div(progress.rate_bits_per_second)?;
    Some(Duration::from_secs(seconds))
}
