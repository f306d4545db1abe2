//! Edges as comma-separated values that a spreadsheet opens safely. What lives here is the form; what is in it is chosen
//! in `edges`.

use super::edges::Row;
use crate::visible::visible;

/// Spreadsheets take UTF-8 for UTF-8 only behind this mark.
const BYTE_ORDER_MARK: &str = "\u{feff}";
const HEADER: [&str; 8] = ["from", "fromType", "to", "toType", "operation", "records", "first", "last"];

/// A table with a header, one line a row.
pub(super) fn table(rows: &[Row<'_>]) -> String {
    let mut text = BYTE_ORDER_MARK.to_owned();
    line(&mut text, &HEADER);
    for row in rows {
        let (first, last) = (row.first.as_deref().unwrap_or_default(), row.last.as_deref().unwrap_or_default());
        line(&mut text, &[row.from.1, row.from.0, row.to.1, row.to.0, row.label, &row.records.to_string(), first, last]);
    }
    text
}

/// <https://www.rfc-editor.org/rfc/rfc4180>
fn line(text: &mut String, fields: &[&str]) {
    let fields: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
    *text += &fields.join(",");
    *text += "\r\n";
}

/// Audit records hold what strangers typed: a text that a spreadsheet would take for a formula is made text by a quote, and
/// characters that nobody sees are shown.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
fn quoted(field: &str) -> String {
    let field = visible(field);
    let is_formula = field.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_a_formula_stays_text() {
        let name = "=HYPERLINK(\"https://evil.example\",\"x\")";
        let row = Row { from: ("user", name), to: ("file", " @a,b\n"), label: "-1", records: 2, first: None, last: None };
        let expected =
            "\"'=HYPERLINK(\"\"https://evil.example\"\",\"\"x\"\")\",\"user\",\"' @a,b\\u{a}\",\"file\",\"'-1\",\"2\",\"\",\"\"\r\n";
        let table = table(&[row]);
        assert_eq!(table.split_once("\r\n").map(|(_, rows)| rows), Some(expected));
        assert!(table.starts_with("\u{feff}\"from\",\"fromType\""));
    }

    #[test]
    fn a_name_that_looks_like_another_is_told_apart() {
        let row =
            Row { from: ("user", "megan\u{200b}@x"), to: ("file", "a\u{202e}fdp.exe"), label: "\tx", records: 1, first: None, last: None };
        assert!(table(&[row]).contains(r#""megan\u{200b}@x","user","a\u{202e}fdp.exe","file","\u{9}x""#));
    }
}
