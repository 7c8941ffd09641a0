//! Plain-text tables: columns side by side, as wide as they have to be.

use std::fmt::Write as _;

/// A table with a head. The last column may be as long as it likes.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(rows) {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _ = write!(line, " {cell:width$} ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What somebody has said, so that it cannot write anything else to a terminal; a dash for nothing.
pub(super) fn said(text: Option<&str>) -> String {
    match text {
        Some(text) if !text.is_empty() => text.escape_debug().to_string(),
        Some(_) | None => "-".to_owned(),
    }
}

/// A device as a person knows it: its id, and what it is called.
pub(super) fn device(id: &str, label: Option<&str>) -> String {
    match label {
        Some(label) if !label.is_empty() => {
            format!("{} ({})", id.escape_debug(), label.escape_debug())
        }
        Some(_) | None => id.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_where_their_text_does() {
        let rows = [
            ["phone".to_owned(), "7".to_owned()],
            ["täblet-2".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["device", "queued"], &rows),
            "  device    queued\n  phone     7\n  täblet-2\n"
        );
    }

    #[test]
    fn what_a_device_calls_itself_writes_nothing_else_to_a_terminal() {
        assert_eq!(device("a\n", Some("\u{1b}[2J")), "a\\n (\\u{1b}[2J)");
        assert_eq!(
            (said(None), said(Some(""))),
            ("-".to_owned(), "-".to_owned())
        );
    }
}
