//! A document as the forms read it: its fields, and the record that it was made of.

use serde_json::{Map, Value};

/// Names that a document has for itself; a record's own field of such a name is kept as `record_<name>`.
const OWN: [&str; 8] = ["id", "pk", "ttl", "feed", "edges", "findings", "omitted", "redacted"];
const PREFIX: &str = "record_";

/// A document without what the database added.
#[derive(Clone, Debug, PartialEq)]
pub struct Document(Map<String, Value>);

/// One edge of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge<'a> {
    /// Where it begins.
    pub from: &'a str,
    /// The type of that node.
    pub from_type: &'a str,
    /// Where it ends.
    pub to: &'a str,
    /// The type of that node.
    pub to_type: &'a str,
    /// The operation.
    pub label: &'a str,
}

/// One finding of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The rule's id.
    pub rule: &'a str,
    /// What it found.
    pub title: &'a str,
    /// `critical`, `high`, `medium`, `low` or `informational`.
    pub level: &'a str,
}

impl Document {
    /// Of its fields.
    pub fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Its fields, by name.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The text of a field; empty where it is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its partition key and its id: what documents are sorted by.
    pub fn key(&self) -> (&str, &str) {
        (self.text("pk"), self.text("id"))
    }

    /// When its content became available, RFC 3339, as far as that is known.
    pub fn content_created(&self) -> Option<&str> {
        self.0.get("feed")?.get("contentCreated")?.as_str()
    }

    /// Its edges.
    pub fn edges(&self) -> impl Iterator<Item = Edge<'_>> {
        self.0.get("edges").and_then(Value::as_array).into_iter().flatten().filter_map(|edge| {
            let text = |name: &str| edge.get(name).and_then(Value::as_str);
            let or_empty = |name: &str| text(name).unwrap_or_default();
            Some(Edge {
                from: text("from")?,
                from_type: or_empty("fromType"),
                to: text("to")?,
                to_type: or_empty("toType"),
                label: or_empty("label"),
            })
        })
    }

    /// Its findings, most severe first.
    pub fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        self.0.get("findings").and_then(Value::as_array).into_iter().flatten().map(|finding| {
            let text = |name: &str| finding.get(name).and_then(Value::as_str).unwrap_or_default();
            Finding { rule: text("rule"), title: text("title"), level: text("level") }
        })
    }

    /// The record that it was made of, as far as it was stored.
    pub fn record(&self) -> Map<String, Value> {
        let own_name = |name: &str| {
            let bare = name.strip_prefix(PREFIX)?;
            let last = bare.trim_start_matches(PREFIX);
            (OWN.contains(&last) || last.starts_with('_')).then(|| bare.to_owned())
        };
        let fields = self.0.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        fields.map(|(name, value)| (own_name(name).unwrap_or_else(|| name.clone()), value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::json;

    use super::*;

    fn document(fields: Value) -> Document {
        Document::new(fields.as_object().unwrap().clone())
    }

    #[test]
    fn a_record_comes_back_without_what_the_document_added() {
        let stored = document(json!({
            "id": "a", "pk": "2026-11-20-1", "ttl": 1, "feed": {}, "edges": [], "findings": [], "omitted": [], "redacted": {},
            "Id": "a", "record_id": 1, "record_record_pk": 2, "record_value": 3, "record__ts": 4,
        }));
        assert_eq!(json!(stored.record()), json!({"Id": "a", "id": 1, "record_pk": 2, "record_value": 3, "_ts": 4}));
    }

    #[test]
    fn edges_and_findings_are_read_and_half_an_edge_is_none() {
        let stored = document(json!({
            "edges": [{"from": "a", "fromType": "user", "to": "b", "toType": "file", "label": "x"}, {"from": "a"}],
            "findings": [{"rule": "r", "title": "t", "level": "high"}],
        }));
        let edges: Vec<_> = stored.edges().collect();
        assert_eq!(edges, [Edge { from: "a", from_type: "user", to: "b", to_type: "file", label: "x" }]);
        assert_eq!(stored.findings().next(), Some(Finding { rule: "r", title: "t", level: "high" }));
    }
}
