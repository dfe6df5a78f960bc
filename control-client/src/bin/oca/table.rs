//! Columns for people.

/// Where the text of a column stands.
#[derive(Clone, Copy)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading, columns two spaces apart. What is longer than its column is never cut.
pub(crate) fn table<const COLUMNS: usize>(
    heading: [(&str, Align); COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let rows: Vec<[String; COLUMNS]> = rows.into_iter().map(|row| row.map(|cell| printable(&cell))).collect();
    let titles = heading.map(|(title, _)| title.to_owned());
    let mut widths = [0; COLUMNS];
    for row in rows.iter().chain([&titles]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in [&titles].into_iter().chain(&rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(widths).zip(heading) {
            let gap = " ".repeat(width - cell.chars().count());
            match align {
                Align::Left => line.extend([cell, gap.as_str(), "  "]),
                Align::Right => line.extend([gap.as_str(), cell, "  "]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, aligned, without a heading.
pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let facts: Vec<(&str, String)> = facts.into_iter().collect();
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("{name:width$}  {}\n", printable(value))).collect()
}

/// Without control characters, which could play tricks on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right_and_nothing_is_cut() {
        let rows = [["/a".to_owned(), "1".to_owned()], ["/längere".to_owned(), "1000".to_owned()]];
        let text = table([("path", Align::Left), ("objects", Align::Right)], rows);
        assert_eq!(text, "path      objects\n/a              1\n/längere     1000\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(facts([("name", "a\u{1b}[2Jb".to_owned())]), "name  a\u{fffd}[2Jb\n");
    }
}
