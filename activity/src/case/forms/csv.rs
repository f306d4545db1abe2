//! Flat tables of documents and edges for a spreadsheet, in which no cell is a formula.

use std::io;
use std::path::Path;

use ::csv::{QuoteStyle, Terminator, Writer as CsvWriter, WriterBuilder};

use super::Writer;
use crate::case::columns::{Cell, EDGE_COLUMNS, FILE_COLUMNS};
use crate::case::document::Document;
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;

/// Spreadsheets take UTF-8 for UTF-8 only behind this mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Most UTF-16 units of a cell: Excel goes on in another row behind them.
/// <https://support.microsoft.com/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3>
const MAX_CELL: usize = 32_767;
/// Ends a cell that was longer.
const CUT: &str = " [cut]";

pub(super) struct Csv {
    records: Table,
    edges: Table,
}

struct Table {
    out: CsvWriter<HashedFile>,
    rows: u64,
}

impl Csv {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        let names = FILE_COLUMNS.iter().map(|column| column.name.as_str());
        Ok(Self { records: Table::begin(folder, "records.csv", names)?, edges: Table::begin(folder, "edges.csv", EDGE_COLUMNS)? })
    }
}

impl Writer for Csv {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        let cells = FILE_COLUMNS.iter().map(|column| match column.cell(document) {
            // Numbers and truth values are no text of a stranger's.
            Some(Cell::Text(text) | Cell::Time(text, _)) => fitted(guarded(text)),
            Some(other) => other.text(),
            None => String::new(),
        });
        self.records.row(cells)?;
        let [id, pk, created, workload] = ["id", "pk", "CreationTime", "Workload"].map(|name| document.text(name));
        for edge in document.edges() {
            let cells = [id, pk, created, workload, edge.from, edge.from_type, edge.to, edge.to_type, edge.label];
            self.edges.row(cells.map(|cell| guarded(cell.to_owned())))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        Ok(vec![self.records.finish()?, self.edges.finish()?])
    }
}

impl Table {
    fn begin<'a>(folder: &Path, name: &'static str, header: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let mut file = HashedFile::create(folder, name)?;
        io::Write::write_all(&mut file, BYTE_ORDER_MARK)?;
        let mut out = WriterBuilder::new().quote_style(QuoteStyle::Always).terminator(Terminator::CRLF).from_writer(file);
        out.write_record(header)?;
        Ok(Self { out, rows: 0 })
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) -> io::Result<()> {
        self.rows += 1;
        Ok(self.out.write_record(cells)?)
    }

    fn finish(self) -> io::Result<Listed> {
        let mut file = self.out.into_inner().map_err(::csv::IntoInnerError::into_error)?;
        file.count(self.rows);
        file.finish()
    }
}

/// Audit records hold what strangers typed: a text that a spreadsheet would take for a formula is made text by a quote.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
pub(crate) fn guarded(text: String) -> String {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) || text.starts_with(['\t', '\r', '\n']);
    if is_formula { format!("'{text}") } else { text }
}

/// A text that a cell of a spreadsheet holds.
fn fitted(mut text: String) -> String {
    if text.len() <= MAX_CELL || text.encode_utf16().count() <= MAX_CELL {
        return text;
    }
    let mut units = CUT.len();
    let end = text.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > MAX_CELL
    });
    text.truncate(end.map_or(text.len(), |(at, _)| at));
    text + CUT
}

#[cfg(test)]
mod tests {
    use super::{CUT, MAX_CELL, fitted, guarded};

    #[test]
    fn a_cell_is_no_longer_than_a_spreadsheet_holds() {
        for text in ["a".repeat(MAX_CELL), "ä".repeat(MAX_CELL), "😀".repeat(MAX_CELL / 2)] {
            assert_eq!(fitted(text.clone()), text);
        }
        for long in ["a".repeat(MAX_CELL + 1), "ä".repeat(MAX_CELL + 1), "😀".repeat(MAX_CELL)] {
            let cut = fitted(long.clone());
            assert!(cut.ends_with(CUT) && long.starts_with(&cut[..cut.len() - CUT.len()]));
            assert!((MAX_CELL - 1..=MAX_CELL).contains(&cut.encode_utf16().count()));
        }
    }

    #[test]
    fn a_text_that_looks_like_a_formula_stays_text() {
        for formula in ["=1+1", "+1", "-1", "@a", " =1", "\t=1", "\n", "＝1"] {
            assert_eq!(guarded(formula.to_owned()), format!("'{formula}"));
        }
        for text in ["", "a=1", "2026-11-20", "'=1"] {
            assert_eq!(guarded(text.to_owned()), text);
        }
    }
}
