//! Reads records from a file or from stdin: NDJSON, one record a line, or the CSV that Purview's audit search exports, in UTF-8 or,
//! as Windows PowerShell writes them, in UTF-16.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

/// The column of Purview's export that holds the record, as JSON.
/// <https://learn.microsoft.com/purview/audit-log-export-records>
const COLUMN: &str = "AuditData";
/// Signs that a spreadsheet may have put between the cells.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The first line that PowerShell's Export-Csv writes unless told not to, and that which tells Excel what is between the cells.
const NOTES: [&[u8]; 2] = [b"#TYPE ", b"sep="];
/// Bytes of UTF-16 that are decoded at once; an even number.
const CHUNK: u64 = 16 * 1024;

/// Hands out one record after another. Holds one record at a time.
#[derive(Debug)]
pub struct RecordReader<R> {
    form: Form<R>,
}

/// The input after its first line, which is put in front of it again.
type Rest<R> = Chain<Cursor<Vec<u8>>, Decoded<R>>;

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
        input.by_ref().take(2).read_to_end(&mut first)?;
        let mut input = match first[..] {
            [0xff, 0xfe] => Decoded::Utf16(BufReader::new(Utf16::new(input, u16::from_le_bytes))),
            [0xfe, 0xff] => Decoded::Utf16(BufReader::new(Utf16::new(input, u16::from_be_bytes))),
            _ => Decoded::AsIs(input),
        };
        if matches!(input, Decoded::Utf16(_)) {
            first.clear();
        }
        if !first.contains(&b'\n') {
            input.read_until(b'\n', &mut first)?;
        }
        if first.starts_with(BYTE_ORDER_MARK) {
            first.drain(..BYTE_ORDER_MARK.len());
        }
        if NOTES.iter().any(|note| first.starts_with(note)) {
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

/// The input in UTF-8. Windows PowerShell redirects in UTF-16.
/// <https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_character_encoding>
#[derive(Debug)]
enum Decoded<R> {
    AsIs(R),
    Utf16(BufReader<Utf16<R>>),
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::AsIs(input) => input.read(buffer),
            Self::Utf16(input) => input.read(buffer),
        }
    }
}

impl<R: BufRead> BufRead for Decoded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::AsIs(input) => input.fill_buf(),
            Self::Utf16(input) => input.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::AsIs(input) => input.consume(amount),
            Self::Utf16(input) => input.consume(amount),
        }
    }
}

/// UTF-16 as UTF-8. What is no character becomes U+FFFD.
#[derive(Debug)]
struct Utf16<R> {
    input: R,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a character, whose second is not read yet.
    half: Option<u16>,
    /// Decoded, and not handed out yet.
    ready: Cursor<Vec<u8>>,
}

impl<R: Read> Utf16<R> {
    const fn new(input: R, unit: fn([u8; 2]) -> u16) -> Self {
        Self { input, unit, half: None, ready: Cursor::new(Vec::new()) }
    }

    /// Decodes more. Returns whether there was any.
    fn decode(&mut self) -> io::Result<bool> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(CHUNK).read_to_end(&mut bytes)?;
        let is_end = bytes.is_empty();
        let units = bytes.chunks(2).map(|pair| pair.try_into().map_or(0xdfff, self.unit));
        let mut units: Vec<_> = self.half.take().into_iter().chain(units).collect();
        if !is_end {
            self.half = units.pop_if(|last| (0xd800..0xdc00).contains(last));
        }
        let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        let is_any = !text.is_empty() || !is_end;
        self.ready = Cursor::new(text.into_bytes());
        Ok(is_any)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.ready.read(buffer)?;
            if length > 0 || buffer.is_empty() || !self.decode()? {
                return Ok(length);
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
    fn what_windows_powershell_redirects_is_utf_16_and_read_too() {
        let in_utf_16 = |text: &str, bytes: fn(u16) -> [u8; 2]| {
            let bytes: Vec<_> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect();
            let mut reader = RecordReader::new(BufReader::with_capacity(3, &bytes[..])).unwrap();
            let (mut records, mut record) = (Vec::new(), Vec::new());
            while reader.read(&mut record).unwrap() {
                records.push(String::from_utf8(record.clone()).unwrap());
            }
            records
        };
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let lines = in_utf_16("{\"Id\":\"ä😀\"}\r\n{\"Id\":\"b\"}\r\n", bytes);
            assert_eq!(lines, ["{\"Id\":\"ä😀\"}", "{\"Id\":\"b\"}"]);
            let table = in_utf_16("#TYPE Object\r\nUserIds\tAuditData\r\na\t\"{\"\"Id\"\":\"\"a\"\"}\"\r\n", bytes);
            assert_eq!(table, ["{\"Id\":\"a\"}"]);
        }
        let broken: Vec<_> = [0xfeff_u16, 0xd800, 0x61].into_iter().flat_map(u16::to_le_bytes).chain([0x62]).collect();
        let mut reader = RecordReader::new(&broken[..]).unwrap();
        let mut record = Vec::new();
        assert!(reader.read(&mut record).unwrap());
        assert_eq!(String::from_utf8(record).unwrap(), "\u{fffd}a\u{fffd}");
    }

    #[test]
    fn an_export_that_powershell_or_a_spreadsheet_wrote_is_read_too() {
        let powershell = "#TYPE Selected.System.Object\r\n\"UserIds\",\"AuditData\"\r\n\"a\",\"{\"\"Id\"\":\"\"a\"\"}\"\r\n\"b\"\r\n";
        assert_eq!(records(powershell), [r#"{"Id":"a"}"#, ""]);
        assert_eq!(records("UserIds;auditdata\na;\"{\"\"Id\"\":\"\"a\"\"}\"\n"), [r#"{"Id":"a"}"#]);
        assert_eq!(records("sep=;\r\nUserIds;AuditData\r\na;{}\r\n"), ["{}"]);
        assert_eq!(records("UserIds\tAuditData\na\t{\"Id\":\"a\"}\n"), ["{\"Id\":\"a\"}"]);
    }
}
