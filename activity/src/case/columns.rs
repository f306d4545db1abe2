//! The flat columns of a document: those of the table *Activity* of the Power BI project, from the list that the project is
//! generated from; and behind them, in files, what found something and what else the record has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDateTime};
use serde::Deserialize;
use serde_json::Value;

use super::document::Document;

/// The list of the Power BI project.
const PROJECT: &str = include_str!("../../../powerbi/source/project.toml");
/// Its words for numbers of records: field, number, word.
const WORDS: &str = include_str!("../../../powerbi/source/words.tsv");

/// The columns of a table of edges, one row for each edge of each document; the names are those of the Power BI project.
pub(super) const EDGE_COLUMNS: [&str; 9] =
    ["id", "Partition", "CreationTime", "Workload", "Source", "SourceType", "Target", "TargetType", "LinkType"];

/// A column of the table of activity.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    source: Source,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    #[default]
    #[serde(rename = "string")]
    Text,
    #[serde(rename = "int64")]
    Integer,
    #[serde(rename = "boolean")]
    Boolean,
    #[serde(rename = "dateTime")]
    Time,
}

#[derive(Clone, Debug)]
enum Source {
    /// The document's field; a dot leads into an object.
    Field(String),
    /// The first address of the edges.
    Address,
    /// The day of CreationTime.
    Date,
    /// The hour of CreationTime.
    Hour,
    /// The word for the number in a field.
    Word(&'static str),
    /// The titles of the findings.
    Findings,
    /// All fields that no column shows, as JSON.
    OtherFields,
}

/// What stands in a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// As the document has it, and what it means where that can be read.
    Time(String, Option<NaiveDateTime>),
}

/// All columns, in their order.
pub(super) static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(columns);

/// The columns of files: those, then what Power BI has in tables of its own, or not at all.
pub(super) static FILE_COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let further = [(FINDINGS, Source::Findings), ("OtherFields", Source::OtherFields)];
    let further = further.map(|(name, source)| Column { name: name.to_owned(), kind: Kind::Text, source });
    COLUMNS.iter().cloned().chain(further).collect()
});

/// The column of findings.
pub(super) const FINDINGS: &str = "Findings";

/// Fields that no column shows and no reader misses: what the document has for itself, `Id`, which `id` repeats, and `Version`, which is
/// that of the record's form.
const UNSHOWN: [&str; 7] = ["Id", "Version", "pk", "ttl", "feed", "edges", "findings"];

fn columns() -> Vec<Column> {
    #[derive(Deserialize)]
    struct Project {
        columns: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        field: String,
        name: Option<String>,
        #[serde(default, rename = "type")]
        kind: Kind,
    }
    #[expect(clippy::expect_used, reason = "the list is part of this program, and a test reads it")]
    let project: Project = toml::from_str(PROJECT).expect("the list of columns");
    let listed = project.columns.into_iter().map(|column| Column {
        name: column.name.unwrap_or_else(|| column.field.clone()),
        kind: column.kind,
        source: Source::Field(column.field),
    });
    let made = [
        ("Address", Kind::Text, Source::Address),
        ("Date", Kind::Text, Source::Date),
        ("Hour", Kind::Integer, Source::Hour),
        ("RecordTypeName", Kind::Text, Source::Word("RecordType")),
        ("UserTypeName", Kind::Text, Source::Word("UserType")),
        ("LogonTypeName", Kind::Text, Source::Word("LogonType")),
    ];
    listed.chain(made.map(|(name, kind, source)| Column { name: name.to_owned(), kind, source })).collect()
}

impl Column {
    /// What a document has in this column; none where it has nothing, or nothing of this kind.
    pub(super) fn cell(&self, document: &Document) -> Option<Cell> {
        let created = document.text("CreationTime");
        match &self.source {
            Source::Field(path) => self.kind.cell(at(document, path)?),
            Source::Address => address(document).map(|address| Cell::Text(address.to_owned())),
            Source::Word(field) => match Kind::Integer.cell(at(document, field)?)? {
                Cell::Integer(number) => word(field, number).map(|word| Cell::Text(word.to_owned())),
                _ => None,
            },
            Source::Date => time(created).map(|time| Cell::Text(time.date().to_string())),
            Source::Hour => time(created).map(|time| Cell::Integer(i64::from(chrono::Timelike::hour(&time)))),
            Source::Findings => {
                let titles: Vec<_> = document.findings().map(|finding| finding.title).collect();
                (!titles.is_empty()).then(|| Cell::Text(titles.join("; ")))
            }
            Source::OtherFields => other_fields(document).map(Cell::Text),
        }
    }
}

impl Kind {
    fn cell(self, value: &Value) -> Option<Cell> {
        match (self, value) {
            (_, Value::Null) => None,
            (Self::Text, Value::String(text)) => Some(Cell::Text(text.clone())),
            (Self::Text, other) => Some(Cell::Text(other.to_string())),
            (Self::Time, Value::String(text)) => Some(Cell::Time(text.clone(), time(text))),
            (Self::Time, _) => None,
            (Self::Integer, Value::String(text)) => text.trim().parse().ok().map(Cell::Integer),
            (Self::Integer, other) => other.as_i64().map(Cell::Integer),
            (Self::Boolean, Value::String(text)) => text.trim().to_lowercase().parse().ok().map(Cell::Boolean),
            (Self::Boolean, other) => other.as_bool().map(Cell::Boolean),
        }
    }
}

impl Cell {
    /// The cell as text, as the document has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Time(text, _) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(truth) => truth.to_string(),
        }
    }
}

/// The word for a number that a record's field has.
fn word(field: &str, number: i64) -> Option<&'static str> {
    static BY_NUMBER: LazyLock<HashMap<(&str, i64), &str>> = LazyLock::new(|| {
        let parts = WORDS.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
        parts.filter_map(|parts| Some(((*parts.first()?, parts.get(1)?.parse().ok()?), *parts.get(2)?))).collect()
    });
    BY_NUMBER.get(&(field, number)).copied()
}

/// The fields of a document that no column shows, as JSON.
fn other_fields(document: &Document) -> Option<String> {
    static SHOWN: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let fields = COLUMNS.iter().filter_map(|column| match &column.source {
            Source::Field(path) => path.split('.').next(),
            _ => None,
        });
        fields.chain(UNSHOWN).collect()
    });
    let others = document.fields().iter().filter(|(name, value)| !SHOWN.contains(name.as_str()) && !value.is_null());
    let others: BTreeMap<_, _> = others.collect();
    if others.is_empty() { None } else { serde_json::to_string(&others).ok() }
}

fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = document.fields().get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// A time of a document; without a zone it is UTC.
pub(super) fn time(text: &str) -> Option<NaiveDateTime> {
    text.parse().ok().or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|time| time.naive_utc()))
}

/// The first IP address among a document's edges, which have it plain.
pub(crate) fn address(document: &Document) -> Option<&str> {
    document.edges().find(|edge| edge.to_type == "ip").map(|edge| edge.to)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::json;

    use super::*;

    fn cells(fields: Value) -> Vec<(String, String)> {
        let document = Document::new(fields.as_object().unwrap().clone());
        COLUMNS.iter().filter_map(|column| Some((column.name.clone(), column.cell(&document)?.text()))).collect()
    }

    #[test]
    fn the_columns_are_those_of_the_power_bi_project() {
        let model = include_str!("../../../powerbi/O365Activity.SemanticModel/definition/tables/Activity.tmdl");
        let its: Vec<_> = model.lines().filter_map(|line| line.strip_prefix("\tcolumn ")).collect();
        let names: Vec<_> = COLUMNS.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, its);
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn a_cell_is_what_the_document_has_and_nothing_where_it_is_of_another_kind() {
        let cells = cells(json!({
            "id": "a", "CreationTime": "2026-11-20T10:05:00", "RecordType": "6", "UserType": [], "ExternalAccess": "True", "LogonType": 1.5,
            "Parameters": [{"Name": "a"}], "UserId": null, "ClientIP": "[2001:DB8::1]:443", "feed": {"contentType": "Audit.General"},
            "edges": [{"from": "a", "fromType": "user", "to": "2001:db8::1", "toType": "ip", "label": "x"}],
        }));
        let expected = [
            ("id", "a"),
            ("CreationTime", "2026-11-20T10:05:00"),
            ("RecordType", "6"),
            ("ClientIP", "[2001:DB8::1]:443"),
            ("ExternalAccess", "true"),
            ("Parameters", r#"[{"Name":"a"}]"#),
            ("ContentType", "Audit.General"),
            ("Address", "2001:db8::1"),
            ("Date", "2026-11-20"),
            ("Hour", "10"),
            ("RecordTypeName", "SharePointFileOperation"),
        ];
        assert_eq!(cells, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn files_have_the_findings_and_each_field_that_has_no_column() {
        let document = json!({
            "id": "a", "Id": "a", "pk": "2026-11-20-1", "ttl": 1, "feed": {"contentType": "Audit.General"}, "edges": [],
            "findings": [{"title": "One"}, {"title": "Two"}], "Operation": "AlertTriggered", "Severity": "High", "Name": "Phish", "Empty": null,
            "PolicyDetails": [{"PolicyName": "Card numbers"}],
        });
        let document = Document::new(document.as_object().unwrap().clone());
        let further: Vec<_> = FILE_COLUMNS[COLUMNS.len()..].iter().map(|column| column.cell(&document).unwrap().text()).collect();
        let others = r#"{"Name":"Phish","PolicyDetails":[{"PolicyName":"Card numbers"}],"Severity":"High"}"#;
        assert_eq!(further, ["One; Two", others]);
        let plain = Document::new(json!({"id": "a", "Operation": "Send", "Version": 1}).as_object().unwrap().clone());
        assert!(FILE_COLUMNS[COLUMNS.len()..].iter().all(|column| column.cell(&plain).is_none()));
    }

    #[test]
    fn an_address_is_the_first_of_the_edges() {
        let edge = |to: &str, kind: &str| json!({"from": "a", "fromType": "user", "to": to, "toType": kind, "label": "x"});
        for (edges, first) in [
            (json!([edge("f", "file"), edge("192.0.2.7", "ip"), edge("192.0.2.8", "ip")]), Some("192.0.2.7")),
            (json!([edge("f", "file")]), None),
            (json!("none"), None),
        ] {
            let document = Document::new(json!({ "ClientIP": "192.0.2.1", "edges": edges }).as_object().unwrap().clone());
            assert_eq!(address(&document), first);
        }
    }
}
