//! Tables for people: the first column is text, the others are figures unless they are said to be text. Where the figures come from is the callers' matter.

use std::fmt::{self, Display};

pub use indicatif::HumanCount as Count;

use crate::visible::visible;

/// Rows of as many cells as the head has.
#[derive(Clone, Debug, Default)]
pub struct TextTable {
    rows: Vec<Vec<String>>,
    /// Columns of text beside the first.
    texts: Vec<usize>,
}

impl TextTable {
    /// A table with nothing but its head.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()], texts: Vec::new() }
    }

    /// The same, with more columns of text.
    #[must_use]
    pub fn with_texts(self, columns: &[usize]) -> Self {
        Self { texts: columns.to_vec(), ..self }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| visible(&cell).into_owned()).collect());
    }

    /// As Markdown, to be pasted.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let widths = self.widths();
        let mut lines: Vec<_> = self.rows.iter().map(|row| line(self.padded(row, &widths))).collect();
        let rule = widths
            .iter()
            .enumerate()
            .map(|(at, &width)| if at == 0 || self.texts.contains(&at) { "-".repeat(width) } else { "-".repeat(width.max(2) - 1) + ":" });
        lines.insert(1.min(lines.len()), line(rule.collect()));
        lines.concat()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }

    /// Text to the left, figures to the right.
    fn padded(&self, row: &[String], widths: &[usize]) -> Vec<String> {
        let is_text = |column: usize| column == 0 || self.texts.contains(&column);
        let cell = |(at, (cell, &width)): (usize, (&String, &usize))| {
            if is_text(at) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        row.iter().zip(widths).enumerate().map(cell).collect()
    }
}

impl Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", self.padded(row, &widths).join("  ").trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_under_each_other() {
        let mut table = TextTable::new(["", "records"]);
        table.row(["total".to_owned(), Count(4284).to_string()]);
        assert_eq!(table.to_string(), "       records\ntotal    4,284\n");
        assert_eq!(table.markdown(), "|       | records |\n| ----- | ------: |\n| total |   4,284 |\n");
    }
}
