//! An evening as a picture: one panel below another over the same time, written as SVG by hand.

use std::fmt::Write;

/// The size of the picture, in pixels.
const WIDTH: f64 = 960.0;
const PANEL_HEIGHT: f64 = 130.0;
const PANEL_GAP: f64 = 34.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const HEADING: f64 = 16.0;
const TOP: f64 = 44.0;

/// Marks on the time axis, at most.
const TICKS: f64 = 10.0;

/// One value over time.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// What it is, with its unit.
    pub(crate) title: &'static str,
    /// One value a second.
    pub(crate) values: Vec<f64>,
    /// A level to compare with, and what it is.
    pub(crate) level: Option<(f64, &'static str)>,
    /// The axis reaches so far at least.
    pub(crate) reaches: f64,
}

/// A moment, in seconds, and what happened then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: f64,
    pub(crate) what: &'static str,
}

/// The picture, under a heading that is its title, too.
pub(crate) fn draw(heading: &str, panels: &[Panel], mark: Option<Mark>) -> String {
    let seconds = panels.iter().map(|panel| panel.values.len()).max().unwrap_or(0).max(1) as f64;
    let height = TOP + panels.len() as f64 * (PANEL_HEIGHT + PANEL_GAP) + 12.0;
    let title = escaped(heading);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    svg.push_str(&(text(LEFT, HEADING, "start", "#555", heading) + "\n"));
    for (place, panel) in panels.iter().enumerate() {
        let top = TOP + place as f64 * (PANEL_HEIGHT + PANEL_GAP);
        panel_into(&mut svg, panel, top, seconds, mark);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel_into(svg: &mut String, panel: &Panel, top: f64, seconds: f64, mark: Option<Mark>) {
    let bottom = top + PANEL_HEIGHT;
    let right = WIDTH - RIGHT;
    let highest = panel.values.iter().copied().fold(panel.reaches, f64::max);
    let axis = round_up(highest);
    let x = |second: f64| LEFT + (right - LEFT) * second / seconds;
    let y = |value: f64| bottom - PANEL_HEIGHT * (value / axis).clamp(0.0, 1.0);
    // Writing into a text cannot fail.
    let mut put = |line: String| svg.push_str(&(line + "\n"));
    put(text(LEFT, top - 7.0, "start", "black", panel.title));
    for part in [0.0, 0.5, 1.0] {
        let (value, at) = (axis * part, y(axis * part));
        put(line((LEFT, at), (right, at), "stroke=\"#ddd\""));
        put(text(LEFT - 6.0, at + 4.0, "end", "#555", &shown(value)));
    }
    let tick = round_up(seconds / TICKS).max(1.0);
    for number in 0..=(seconds / tick) as u32 {
        let second = f64::from(number) * tick;
        put(text(x(second), bottom + 14.0, "middle", "#555", &format!("{second} s")));
    }
    if let Some((level, what)) = panel.level {
        put(line((LEFT, y(level)), (right, y(level)), "stroke=\"#888\" stroke-dasharray=\"6 4\""));
        put(text(right, y(level) - 4.0, "end", "#555", what));
    }
    if let Some(Mark { at, what }) = mark {
        put(line((x(at), top), (x(at), bottom), "stroke=\"#c33\" stroke-dasharray=\"3 3\""));
        put(text(x(at) + 4.0, top + 11.0, "start", "#c33", what));
    }
    let mut points = String::new();
    for (second, value) in panel.values.iter().enumerate() {
        let _ = write!(points, "{:.1},{:.1} ", x(second as f64 + 0.5), y(*value));
    }
    put(format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#246\" stroke-width=\"1.5\"/>",
        points.trim_end()
    ));
}

fn line(from: (f64, f64), to: (f64, f64), style: &str) -> String {
    format!("<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>", from.0, from.1, to.0, to.1)
}

fn text(x: f64, y: f64, anchor: &str, colour: &str, words: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        escaped(words)
    )
}

/// As XML takes it.
fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let magnitude = 10_f64.powf(value.log10().floor());
    let fits = |factor: &f64| value <= factor * magnitude * (1.0 + 1e-9);
    [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * magnitude
}

fn shown(value: f64) -> String {
    let digits = if value == 0.0 || value >= 10.0 { 0 } else { 2 };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, rounded) in
            [(0.0, 1.0), (0.7, 1.0), (1.2, 2.0), (3.0, 5.0), (51.0, 100.0), (1000.0, 1000.0)]
        {
            assert_eq!(round_up(value), rounded, "{value}");
        }
    }

    #[test]
    fn a_picture_has_a_line_for_each_panel_with_a_point_for_each_second() {
        let panel = Panel {
            title: "players",
            values: vec![0.0, 5.0, 10.0],
            level: Some((8.0, "most")),
            reaches: 0.0,
        };
        let heading = "2026-11-21, commit abc, 2 cores, A & B";
        let svg = draw(heading, &[panel.clone(), panel], Some(Mark { at: 1.5, what: "killed" }));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("<title>2026-11-21, commit abc, 2 cores, A &amp; B</title>"), "{svg}");
        let lines: Vec<&str> = svg.lines().filter(|line| line.starts_with("<polyline")).collect();
        assert_eq!(lines.len(), 2);
        // The first value is at the bottom, the last, as high as the axis, at the top.
        let points = lines[0].split('"').nth(1).unwrap();
        let heights: Vec<f64> =
            points.split(' ').map(|point| point.split_once(',').unwrap().1.parse().unwrap()).collect();
        assert_eq!(heights, [TOP + PANEL_HEIGHT, TOP + PANEL_HEIGHT / 2.0, TOP]);
    }

    #[test]
    fn without_any_value_there_is_still_a_picture() {
        let panel = Panel { title: "players", values: vec![], level: None, reaches: 0.0 };
        assert!(!draw("", &[panel], None).contains("NaN"));
    }
}
