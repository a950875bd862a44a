//! Aligned columns that stream: the first rows decide the widths, the rest flows. Widths are those a terminal shows, so
//! that wide characters line up. It never sees anything but harmless text.

use std::fmt::Write as _;
use std::os::fd::AsFd;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many rows are looked at before the widths stand.
const SAMPLE: usize = 1000;
const GAP: &str = "  ";
/// Cells up to which columns line up where no terminal sets a bound.
const WIDEST: usize = 500;
/// A column that gives way does so down to this many cells.
const NARROWEST: usize = 10;

/// A column of rows: what `--fields` calls it and how a table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The name in `--fields` and in JSON.
    pub name: &'static str,
    /// Whether a table sets it flush right (numbers).
    pub right: bool,
    /// Whether a table may cut it to fit the terminal, and to how many cells at most; `None`: always whole.
    pub cut: Option<usize>,
}

impl Column {
    /// Text shown whole.
    pub const fn text(name: &'static str) -> Self {
        Self { name, right: false, cut: None }
    }

    /// A number, flush right.
    pub const fn number(name: &'static str) -> Self {
        Self { name, right: true, cut: None }
    }

    /// Text a table may cut, and never shows wider than `most` cells.
    pub const fn cut(name: &'static str, most: usize) -> Self {
        Self { name, right: false, cut: Some(most) }
    }
}

/// The width of the terminal behind `output` in cells (`COLUMNS` wins), or `None` when there is none.
pub fn terminal_width(output: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(output).ok()?;
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|&columns: &usize| columns > 0);
    columns.or_else(|| (size.ws_col > 0).then(|| usize::from(size.ws_col)))
}

/// A size as people read it: `512`, `1.4k`, `23M`.
pub fn bytes_for_people(bytes: u64) -> String {
    let mut unit = None;
    let mut scaled = bytes;
    let mut tenths = 0;
    for next in ['k', 'M', 'G', 'T', 'P', 'E'] {
        if scaled < 1024 {
            break;
        }
        tenths = scaled % 1024 * 10 / 1024;
        scaled /= 1024;
        unit = Some(next);
    }
    match unit {
        None => scaled.to_string(),
        Some(unit) if scaled < 10 => format!("{scaled}.{tenths}{unit}"),
        Some(unit) => format!("{scaled}{unit}"),
    }
}

/// Lays out rows; hands out finished lines as soon as the widths stand.
pub(super) struct Table {
    columns: Vec<Column>,
    terminal: Option<usize>,
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl Table {
    /// A table of `columns`, cut to `terminal` cells where that is known.
    pub(super) fn new(columns: Vec<Column>, terminal: Option<usize>) -> Self {
        let head = columns.iter().map(|column| column.name.to_uppercase()).collect();
        Self { columns, terminal, waiting: vec![head], widths: None }
    }

    /// Takes a row; appends to `out` whatever can be shown.
    pub(super) fn row(&mut self, cells: Vec<String>, out: &mut Vec<u8>) {
        match &self.widths {
            Some(widths) => append_line(&self.columns, widths, &cells, out),
            None => {
                self.waiting.push(cells);
                if self.waiting.len() > SAMPLE {
                    self.flush(out);
                }
            }
        }
    }

    /// Shows what waited; the widths stand from now on.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        if self.widths.is_some() {
            return;
        }
        let widths = self.decide();
        for cells in std::mem::take(&mut self.waiting) {
            append_line(&self.columns, &widths, &cells, out);
        }
        self.widths = Some(widths);
    }

    fn decide(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = vec![0; self.columns.len()];
        for cells in &self.waiting {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.width());
            }
        }
        for (width, column) in widths.iter_mut().zip(&self.columns) {
            *width = (*width).min(column.cut.filter(|_| self.terminal.is_some()).unwrap_or(usize::MAX));
        }
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(self.terminal.unwrap_or(usize::MAX));
        // The last columns give way first: the subject before the sender.
        for (width, column) in widths.iter_mut().zip(&self.columns).rev() {
            if column.cut.is_some() && excess > 0 {
                let given = excess.min(width.saturating_sub(NARROWEST));
                *width -= given;
                excess -= given;
            }
        }
        widths
    }
}

fn append_line(columns: &[Column], widths: &[usize], cells: &[String], out: &mut Vec<u8>) {
    let mut line = String::new();
    for (index, ((column, &width), cell)) in columns.iter().zip(widths).zip(cells).enumerate() {
        if index > 0 {
            line.push_str(GAP);
        }
        let cut;
        let shown = if column.cut.is_some() && cell.width() > width {
            cut = cut_to(cell, width);
            cut.as_str()
        } else {
            cell.as_str()
        };
        // One row with a monstrous field must not blow up all others.
        let padding = width.min(WIDEST).saturating_sub(shown.width());
        let _ = if column.right { write!(line, "{:padding$}{shown}", "") } else { write!(line, "{shown}{:padding$}", "") };
    }
    out.extend_from_slice(line.trim_end().as_bytes());
    out.push(b'\n');
}

/// As much of `text` as fits into `width` cells with an ellipsis at the end.
fn cut_to(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used < width
    });
    let mut out: String = fits.collect();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(terminal: Option<usize>, rows: &[[&str; 3]]) -> Vec<String> {
        let mut table = Table::new(vec![Column::number("uid"), Column::cut("from", 20), Column::cut("subject", 200)], terminal);
        let mut out = Vec::new();
        for row in rows {
            table.row(row.iter().map(|&cell| cell.to_owned()).collect(), &mut out);
        }
        table.flush(&mut out);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_monstrous_field_stands_whole_where_no_terminal_bounds_it_and_widens_no_other_row_much() {
        let monster = "x".repeat(100_000);
        let lines = shown(None, &[["1", &monster, "a"], ["2", "b", "c"]]);
        assert!(lines[1].contains(&monster) && lines[2].len() < 1000, "{}", lines[2].len());
    }

    #[test]
    fn columns_line_up_where_characters_are_wide() {
        let lines = shown(None, &[["1", "世界", "a"], ["12345", "ann", "b"]]);
        assert_eq!(lines, ["  UID  FROM  SUBJECT", "    1  世界  a", "12345  ann   b"]);
    }

    #[test]
    fn the_subject_is_cut_to_the_terminal_even_inside_wide_characters() {
        let long = "世".repeat(100);
        for terminal in 30..40 {
            let lines = shown(Some(terminal), &[["1", "ann@example.org", &long]]);
            let width = lines[1].width();
            assert!(width <= terminal && width >= terminal - 1, "{width} of {terminal}");
            assert!(lines[1].ends_with('…'));
        }
        assert!(shown(None, &[["1", "ann", &long]])[1].ends_with(&long));
    }

    #[test]
    fn a_table_streams_after_its_sample() {
        let mut table = Table::new(vec![Column::number("uid")], None);
        let mut out = Vec::new();
        for number in 0..SAMPLE {
            table.row(vec![number.to_string()], &mut out);
        }
        let sampled = out.len();
        assert!(sampled > 0);
        table.row(vec!["1".to_owned()], &mut out);
        assert!(out.len() > sampled);
        assert!(table.waiting.is_empty());
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        let pairs = [(0, "0"), (1023, "1023"), (1024, "1.0k"), (1536, "1.5k"), (10 * 1024, "10k"), (5 << 20, "5.0M"), (u64::MAX, "15E")];
        for (bytes, text) in pairs {
            assert_eq!(bytes_for_people(bytes), text);
        }
    }
}
