//! A timeline for Timesketch, as JSON lines: each has a message, a time and what the time means.
//! <https://timesketch.org/guides/user/import-from-json-csv/>

use std::io::{self, Write as _};
use std::path::Path;

use handler::config::is_guid;
use serde_json::{Map, Value, json};

use super::Writer;
use crate::case::columns::{Cell, FILE_COLUMNS, FINDINGS, time};
use crate::case::document::{Document, Edge};
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;

pub(super) struct Timesketch(HashedFile);

impl Timesketch {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        HashedFile::create(folder, "timesketch.jsonl").map(Self)
    }
}

impl Writer for Timesketch {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &line(document))?;
        self.0.count(1);
        self.0.write_all(b"\n")
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        Ok(vec![self.0.finish()?])
    }
}

fn line(document: &Document) -> Value {
    // Findings are tags.
    let cells = FILE_COLUMNS.iter().filter(|column| column.name != FINDINGS).filter_map(|column| {
        let value = match column.cell(document)? {
            Cell::Text(text) | Cell::Time(text, _) => json!(text),
            Cell::Integer(number) => json!(number),
            Cell::Boolean(truth) => json!(truth),
        };
        Some((column.name.clone(), value))
    });
    let mut line: Map<String, Value> = cells.collect();
    let (datetime, meaning) = moment(document);
    line.insert("message".to_owned(), json!(message(document)));
    line.insert("datetime".to_owned(), json!(datetime));
    line.insert("timestamp_desc".to_owned(), json!(meaning));
    line.insert("data_type".to_owned(), json!("office365:audit:record"));
    let findings: Vec<_> = document.findings().map(|finding| finding.title).collect();
    if !findings.is_empty() {
        line.insert("tag".to_owned(), json!(findings));
    }
    Value::Object(line)
}

/// Timesketch refuses a line without a time. One of a record without a time has the time when its content became available, and says so.
fn moment(document: &Document) -> (String, &'static str) {
    let written = |text: &str| time(text).map(|time| time.and_utc().to_rfc3339());
    if let Some(created) = written(document.text("CreationTime")) {
        return (created, "Record Creation Time");
    }
    match document.content_created().and_then(written) {
        Some(available) => (available, "Content Available Time (the record has none)"),
        None => ("1970-01-01T00:00:00+00:00".to_owned(), "Not Known (the record has no time)"),
    }
}

/// What happened, in one line.
pub(super) fn message(document: &Document) -> String {
    let [operation, user, workload] = ["Operation", "UserId", "Workload"].map(|name| document.text(name));
    let object = object(document);
    let parts = [("", operation), ("by ", user), ("on ", object), ("in ", workload)];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(word, text)| format!("{word}{text}"));
    let message = parts.collect::<Vec<_>>().join(" ");
    if message.is_empty() { document.text("id").to_owned() } else { message }
}

/// What was acted on: the record's object or, where that says nothing to a reader, what the edges name: the alert, the report.
fn object(document: &Document) -> &str {
    let object = document.text("ObjectId");
    if !object.is_empty() && !is_guid(object) {
        return object;
    }
    let is_told = |edge: &Edge<'_>| edge.label == document.text("Operation") && !is_guid(edge.to);
    let of = |kinds: &[&str]| document.edges().find(|edge| is_told(edge) && kinds.contains(&edge.to_type)).map(|edge| edge.to);
    of(&["policy"]).or_else(|| of(&["file", "mailbox", "user", "guest", "group", "site", "object", "address"])).unwrap_or(object)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    #[test]
    fn every_line_has_what_timesketch_asks_for() {
        let of = |fields: Value| line(&Document::new(fields.as_object().unwrap().clone()));
        let whole = of(json!({
            "id": "a", "CreationTime": "2026-11-20T10:00:00", "Operation": "FileAccessed", "UserId": "megan@contoso.com", "ObjectId": "x",
            "Workload": "SharePoint", "RecordType": 6, "findings": [{"title": "Many downloads"}],
        }));
        assert_eq!(whole["message"], "FileAccessed by megan@contoso.com on x in SharePoint");
        let edge = |to: &str, kind: &str, label: &str| json!({"from": "a", "fromType": "user", "to": to, "toType": kind, "label": label});
        let id = "241b9e0a-1078-4f96-a4f9-ef2168669b1b";
        let alert = of(json!({
            "id": "a", "Operation": "AlertTriggered", "ObjectId": id, "Severity": "High",
            "edges": [edge("192.0.2.1", "ip", "AlertTriggered"), edge("b@c.d", "address", "mentions"), edge("Phish delivered", "policy", "AlertTriggered")],
        }));
        assert_eq!(
            (&alert["message"], &alert["OtherFields"]),
            (&json!("AlertTriggered on Phish delivered"), &json!(r#"{"Severity":"High"}"#))
        );
        let shared = of(json!({"id": "a", "Operation": "ShareReport", "edges": [edge("bob@fabrikam.com", "guest", "ShareReport")]}));
        assert_eq!(shared["message"], "ShareReport on bob@fabrikam.com");
        let unknown = of(
            json!({"id": "a", "Operation": "SearchQueryPerformed", "ObjectId": id, "edges": [edge(id, "object", "SearchQueryPerformed")]}),
        );
        assert_eq!(unknown["message"], json!(format!("SearchQueryPerformed on {id}")));
        assert_eq!(whole["datetime"], "2026-11-20T10:00:00+00:00");
        assert_eq!((&whole["timestamp_desc"], &whole["tag"]), (&json!("Record Creation Time"), &json!(["Many downloads"])));
        assert_eq!(whole["RecordType"], json!(6));
        let late = of(json!({ "id": "a", "feed": {"contentCreated": "2026-11-20T10:00:00.000Z"} }));
        assert_eq!((&late["message"], &late["datetime"]), (&json!("a"), &json!("2026-11-20T10:00:00+00:00")));
        assert!(of(json!({ "id": "a" }))["datetime"].is_string());
    }
}
