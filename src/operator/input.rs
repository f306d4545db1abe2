//! Reads records from a file or from stdin: NDJSON, one record a line, or the CSV that Purview's audit search exports.

use std::io::{self, BufRead, Chain, Cursor, Read};

/// The column of Purview's export that holds the record, as JSON.
/// <https://learn.microsoft.com/purview/audit-log-export-records>
const COLUMN: &str = "AuditData";
/// Signs that a spreadsheet may have put between the cells.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The first line that PowerShell's Export-Csv writes unless told not to.
const TYPE_LINE: &[u8] = b"#TYPE ";

/// Hands out one record after another. Holds one record at a time.
#[derive(Debug)]
pub struct RecordReader<R> {
    form: Form<R>,
}

/// The input after its first line, which is put in front of it again.
type Rest<R> = Chain<Cursor<Vec<u8>>, R>;

#[derive(Debug)]
enum Form<R> {
    Lines(Rest<R>),
    Csv { rows: Box<csv::Reader<Rest<R>>>, row: csv::ByteRecord, column: usize },
}

impl<R: BufRead> RecordReader<R> {
    /// Begins to read. Input whose first line is a header with a column `AuditData` is CSV; any other is NDJSON.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut first = Vec::new();
        input.read_until(b'\n', &mut first)?;
        if first.starts_with(BYTE_ORDER_MARK) {
            first.drain(..BYTE_ORDER_MARK.len());
        }
        if first.starts_with(TYPE_LINE) {
            first.clear();
            input.read_until(b'\n', &mut first)?;
        }
        let column = DELIMITERS.into_iter().find_map(|delimiter| Some((delimiter, column(&first, delimiter)?)));
        let input = Cursor::new(first).chain(input);
        let form = match column {
            None => Form::Lines(input),
            Some((delimiter, column)) => {
                // A row may be cut short: its record is then an empty one, and not the end of the file.
                let rows = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(input);
                Form::Csv { rows: Box::new(rows), row: csv::ByteRecord::new(), column }
            }
        };
        Ok(Self { form })
    }

    /// True if the input is CSV.
    pub fn is_csv(&self) -> bool {
        matches!(self.form, Form::Csv { .. })
    }

    /// Puts the next record's text in place of what `record` holds: a line without its end, or the cell of a row. An empty
    /// line is an empty record. Returns whether there was one.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn read(&mut self, record: &mut Vec<u8>) -> io::Result<bool> {
        record.clear();
        match &mut self.form {
            Form::Lines(lines) => {
                let is_there = lines.read_until(b'\n', record)? > 0;
                record.truncate(record.trim_ascii_end().len());
                Ok(is_there)
            }
            Form::Csv { rows, row, column } => {
                let is_there = rows.read_byte_record(row)?;
                record.extend_from_slice(row.get(*column).unwrap_or_default());
                Ok(is_there)
            }
        }
    }
}

/// Where the column stands in a header.
fn column(header: &[u8], delimiter: u8) -> Option<usize> {
    let mut rows = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(header);
    let cells = rows.byte_records().next()?.ok()?;
    cells.iter().position(|cell| cell.trim_ascii().eq_ignore_ascii_case(COLUMN.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(input: &str) -> Vec<String> {
        let mut reader = RecordReader::new(input.as_bytes()).unwrap();
        let (mut records, mut record) = (Vec::new(), Vec::new());
        while reader.read(&mut record).unwrap() {
            records.push(String::from_utf8(record.clone()).unwrap());
        }
        records
    }

    #[test]
    fn lines_are_records_as_they_stand_and_an_empty_line_is_an_empty_record() {
        assert_eq!(records("\u{feff}{\"Id\":\"a\"}\r\n\n {\"Id\":\"b\"} "), [r#"{"Id":"a"}"#, "", r#" {"Id":"b"}"#]);
        assert_eq!(records(""), [""; 0]);
        assert_eq!(records("[1,2]\nAuditData"), ["[1,2]", "AuditData"]);
    }

    #[test]
    fn purviews_export_gives_one_record_a_row_and_none_for_its_header() {
        let today = "\u{feff}RecordId,CreationDate,RecordType,Operation,UserId,AuditData,AssociatedAdminUnits\r\n\
            a,2026-11-20T10:00:00.0000000Z,6,FileAccessed,megan@contoso.com,\"{\"\"Id\"\":\"\"a\"\",\"\"T\"\":\"\"x,\ny\"\"}\",\r\n\
            b,2026-11-20T10:00:00.0000000Z,6,FileAccessed,megan@contoso.com,\"{\"\"Id\"\":\"\"b\"\"}\",\r\n";
        assert_eq!(records(today), ["{\"Id\":\"a\",\"T\":\"x,\ny\"}", r#"{"Id":"b"}"#]);
        let in_2017 = "CreationDate,UserIds,Operations,AuditData\n2017-01-01,a,b,\"{\"\"Id\"\":\"\"a\"\"}\"\n";
        assert_eq!(records(in_2017), [r#"{"Id":"a"}"#]);
    }

    #[test]
    fn an_export_that_powershell_or_a_spreadsheet_wrote_is_read_too() {
        let powershell = "#TYPE Selected.System.Object\r\n\"UserIds\",\"AuditData\"\r\n\"a\",\"{\"\"Id\"\":\"\"a\"\"}\"\r\n\"b\"\r\n";
        assert_eq!(records(powershell), [r#"{"Id":"a"}"#, ""]);
        assert_eq!(records("UserIds;auditdata\na;\"{\"\"Id\"\":\"\"a\"\"}\"\n"), [r#"{"Id":"a"}"#]);
        assert_eq!(records("UserIds\tAuditData\na\t{\"Id\":\"a\"}\n"), ["{\"Id\":\"a\"}"]);
    }
}
