//! What the demo prints: headings, lines and tables of at most 100 characters, and a bar that moves on
//! a terminal and nowhere else.

use std::io::{IsTerminal, stdout};

use super::super::print;

/// How many characters a full bar has.
const BAR_WIDTH: usize = 24;

/// Where the demo is watched.
#[derive(Clone, Copy)]
pub(super) struct Screen {
    is_terminal: bool,
    has_colours: bool,
}

/// How a text stands out, where there are colours.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    /// It is good news.
    Good,
    /// It needs the person.
    Open,
    /// It names a part.
    Bold,
    /// It stands back.
    Faint,
}

impl Screen {
    pub(super) fn new(is_plain: bool) -> Self {
        let is_terminal = stdout().is_terminal();
        Self {
            is_terminal,
            has_colours: is_terminal && !is_plain,
        }
    }

    /// Whether a person can answer what is printed here.
    pub(super) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// A text in a tone.
    pub(super) fn toned(self, tone: Tone, text: &str) -> String {
        if !self.has_colours {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => 32,
            Tone::Open => 33,
            Tone::Bold => 1,
            Tone::Faint => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// The heading of a step.
    pub(super) fn step(self, number: usize, title: &str) {
        let title = self.toned(Tone::Bold, &format!("{number}. {title}"));
        print(&format!("\n{title}\n"));
    }

    /// Lines of text.
    pub(super) fn say(self, text: &str) {
        for line in text.lines() {
            print(&format!("{}\n", format!("   {line}").trim_end()));
        }
    }

    /// Asks, and leaves the cursor behind the question.
    pub(super) fn ask(self, question: &str) {
        let question = self.toned(Tone::Bold, question);
        print(&format!("   {question} "));
    }

    /// A table, the first row its head. Tones may only be in the last column.
    pub(super) fn table<const N: usize>(self, rows: &[[String; N]]) {
        print("\n");
        for (place, row) in rows.iter().enumerate() {
            let mut line = "     ".to_owned();
            for (column, cell) in row.iter().enumerate() {
                let widths = rows.iter().map(|row| row[column].chars().count());
                let width = widths.max().unwrap_or_default();
                line.push_str(&format!("{cell:width$}   "));
            }
            let line = line.trim_end();
            match place {
                0 => print(&format!("{}\n", self.toned(Tone::Faint, line))),
                _ => print(&format!("{line}\n")),
            }
        }
    }

    /// How far a device has come, `done` of `all`. Where nothing can move, only the end of it is printed.
    pub(super) fn progress(self, device: &str, verb: &str, done: usize, all: usize) {
        let is_done = done == all;
        let count = format!("{done:>3} of {all} workouts");
        if self.is_terminal {
            let full = "█".repeat(BAR_WIDTH * done / all.max(1));
            let bar = self.toned(Tone::Good, &format!("{full:░<BAR_WIDTH$}"));
            print(&format!("\r   {device:6} {verb} {bar} {count}"));
            if is_done {
                print("\n");
            }
        } else if is_done {
            print(&format!("   {device:6} {verb} {count}\n"));
        }
    }
}

/// A head or a row of a table.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
    cells.map(str::to_owned)
}
