//! What verbs print: tables that a tired person reads at night, JSON that a program reads for years.

use std::{fmt::Write as _, io::Write as _};

use serde_json::Value;

use super::{Format, codes, yaml};
use crate::exit::{Exit, Failure};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) format: Format,
    pub(super) color: bool,
}

/// Columns with a heading each; a row is one line.
#[derive(Debug)]
pub(super) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

/// No column but the last is wider than this many characters: the last one is not cut.
const MAX_WIDTH: usize = 60;

/// Words that need someone's attention, and words that say that something rests.
const ALARMING: [&str; 7] = [
    "differs",
    "missing",
    "suspended",
    "failed",
    "unenlisted",
    "rejected",
    "terminated",
];
const RESTING: [&str; 5] = ["stopped", "paused", "held", "retrying", "busy"];

impl Table {
    /// A table without rows.
    pub(super) fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    /// Whether it has no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    fn render(&self, color: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            let heading = self.headings[column].chars().count();
            cells
                .chain([heading])
                .max()
                .unwrap_or_default()
                .min(MAX_WIDTH)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut text = String::new();
        let headings: Vec<String> = self.headings.iter().map(|h| h.to_uppercase()).collect();
        line(&mut text, &headings, &widths, false);
        self.rows
            .iter()
            .for_each(|row| line(&mut text, row, &widths, color));
        text
    }
}

fn line(text: &mut String, cells: &[String], widths: &[usize], color: bool) {
    let last = cells.len().saturating_sub(1);
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = printable(cell);
        if column == last {
            text.push_str(&paint(&cell, color));
            continue;
        }
        let cut = cut(&cell, *width);
        let padding = width - cut.chars().count() + 2;
        write!(text, "{}{:padding$}", paint(&cut, color), "")
            .expect("writing to a string cannot fail");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

/// Values come from partners: a control character must not move the cursor of the reader's terminal, nor turn the
/// direction of what follows.
pub(super) fn printable(cell: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    cell.chars()
        .map(|c| if c.is_control() || turns(c) { ' ' } else { c })
        .collect()
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width - 1).chain(['…']).collect()
}

fn paint(cell: &str, color: bool) -> String {
    let paint = match cell {
        word if !color || word.is_empty() => return cell.to_owned(),
        word if ALARMING.contains(&word) => "31",
        word if RESTING.contains(&word) => "33",
        _ => return cell.to_owned(),
    };
    format!("\u{1b}[{paint}m{cell}\u{1b}[0m")
}

impl Output {
    /// Prints `value` for a program, or else `table`, or else a sentence that there is nothing.
    pub(super) fn table(
        self,
        value: &Value,
        table: &Table,
        nothing: &str,
    ) -> Result<Exit, Failure> {
        self.text(value, &self.render_or(table, nothing))
    }

    /// Prints `value` for a program, or else `text`.
    pub(super) fn text(self, value: &Value, text: &str) -> Result<Exit, Failure> {
        print(&self.form(value, text)?)
    }

    /// `value` as a program reads it, or else `text`.
    pub(super) fn form(self, value: &Value, text: &str) -> Result<String, Failure> {
        match self.format {
            Format::Table => Ok(text.to_owned()),
            Format::Json => json(value),
            Format::Yaml => Ok(yaml::render(value)),
        }
    }

    /// The table as text, to be printed with others.
    pub(super) fn render(self, table: &Table) -> String {
        table.render(self.color)
    }

    /// The table as text, or else a sentence that there is nothing.
    pub(super) fn render_or(self, table: &Table, nothing: &str) -> String {
        if table.is_empty() {
            return format!("{nothing}\n");
        }
        table.render(self.color)
    }
}

fn json(value: &Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))?;
    Ok(format!("{text}\n"))
}

/// Prints to standard output. A reader that went away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<Exit, Failure> {
    print_bytes(text.as_bytes())
}

/// Tells the person at the terminal, on standard error.
pub(crate) fn complain(text: &str) {
    // If nobody reads standard error there is nobody left to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints bytes as they are.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<Exit, Failure> {
    put(bytes).map(|_| Exit::Ok)
}

/// Writes to standard output. `false`: its reader went away.
pub(super) fn put(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(
            codes::FILE,
            format!("cannot write to standard output: {error}"),
        )),
    }
}

/// The text under `key`, or nothing.
pub(super) fn text_of(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A moment, to the second: the rest helps nobody in a table.
pub(super) fn moment(value: &Value, key: &str) -> String {
    let text = text_of(value, key);
    let seconds = text
        .split_once('.')
        .map_or(text.trim_end_matches('Z'), |(seconds, _)| seconds);
    match seconds {
        "" => String::new(),
        seconds => format!("{}Z", seconds.replacen('T', " ", 1)),
    }
}

/// A length in bytes.
pub(super) fn size(bytes: u64) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "one digit after the point is shown"
    )]
    let scaled = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", scaled(1024)),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", scaled(1_048_576)),
        _ => format!("{:.1} GiB", scaled(1_073_741_824)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["name", "state", "detail"]);
        table.row(vec!["a".into(), "suspended".into(), "x\u{1b}[2J\ny".into()]);
        table.row(vec!["long-name".into(), "ready".into(), String::new()]);
        let wanted = "NAME       STATE      DETAIL\n\
                      a          suspended  x [2J y\n\
                      long-name  ready\n";
        assert_eq!(table.render(false), wanted);
        assert!(
            table
                .render(true)
                .contains("\u{1b}[31msuspended\u{1b}[0m  x")
        );
    }

    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec!["x".repeat(100), "y".repeat(100)]);
        let text = table.render(false);
        assert!(
            text.contains(&format!("{}…  {}", "x".repeat(59), "y".repeat(100))),
            "{text}"
        );
    }
}
