//! `handler explain`: for each record on stdin, one a line, the document that is stored and the row that gave each edge.

use std::{
    fmt::{self, Write as _},
    io::{self, BufRead, Write},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use chrono::{TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::input::RecordReader;
use crate::document::{self, Document, ExplainedEdge, Rules};

/// What a line of input becomes.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Record(Explained),
    NoRecord { error: String },
}

/// A record's document without its `feed`, and what gave its edges and findings.
#[derive(Serialize)]
struct Explained {
    document: Box<RawValue>,
    edges: Vec<ExplainedEdge>,
    findings: Vec<Value>,
}

/// Prints one answer for each line of stdin, in their order. Holds one line at a time.
///
/// # Errors
/// A setting that changes documents cannot be used, or stdin cannot be read.
pub(super) fn explain(json: bool, lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<ExitCode> {
    let rules = rules(lookup)?;
    let out = io::BufWriter::new(io::stdout().lock());
    match explain_each(io::stdin().lock(), out, json, rules) {
        // A reader who has gone is no trouble.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot read the records, or print what they become"),
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
    }
}

/// The settings that change a document, with the defaults of the handler; no other setting is looked at.
fn rules(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Rules> {
    let number = |name: &str, default: u64, max: u64| match lookup(name).filter(|text| !text.trim().is_empty()) {
        None => Ok(default),
        Some(text) => (text.trim().parse().ok())
            .filter(|number| (1..=max).contains(number))
            .ok_or_else(|| anyhow!("{name} is {text:?}; it must be a number from 1 to {max}")),
    };
    let days = number("RETENTION_DAYS", 90, 24_855)?;
    Ok(Rules {
        partitions_per_day: u8::try_from(number("PARTITIONS_PER_DAY", 4, 100)?)?,
        retention: TimeDelta::days(i64::try_from(days)?),
        now: Utc::now(),
    })
}

/// Returns how many lines were no record.
fn explain_each(input: impl BufRead, mut out: impl Write, json: bool, rules: Rules) -> io::Result<u64> {
    let (mut failed, mut number, mut record) = (0, 0_u64, Vec::new());
    let mut records = RecordReader::new(input)?;
    while records.read(&mut record)? {
        number += 1;
        let explained = explain_line(record.trim_ascii(), rules);
        failed += u64::from(matches!(explained, Line::NoRecord { .. }));
        if json {
            serde_json::to_writer(&mut out, &explained)?;
            out.write_all(b"\n")?;
        } else {
            write!(out, "{}", Readable(number, &explained))?;
        }
    }
    out.flush()?;
    Ok(failed)
}

fn explain_line(record: &[u8], rules: Rules) -> Line {
    let no_record = |error: String| Line::NoRecord { error };
    if record.is_empty() {
        return no_record("the line is empty".to_owned());
    }
    let (Document { json, .. }, edges) = match document::explained(record, rules) {
        Ok(explained) => explained,
        Err(error) => return no_record(error.to_string()),
    };
    match RawValue::from_string(json) {
        Ok(document) => Line::Record(Explained { document, edges, findings: Vec::new() }),
        Err(error) => no_record(error.to_string()),
    }
}

/// An answer for people: the record, then its edges by row, then its findings.
struct Readable<'a>(u64, &'a Line);

impl fmt::Display for Readable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, line) = self;
        let record = match line {
            Line::NoRecord { error } => return writeln!(f, "line {number}: {}\n", Plain(error)),
            Line::Record(record) => record,
        };
        let document: Value = serde_json::from_str(record.document.get()).unwrap_or_default();
        let of = |name: &str| match &document[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (operation, workload, kind, created) = (of("Operation"), of("Workload"), of("RecordType"), of("CreationTime"));
        writeln!(f, "line {number}: {} ({}, record type {}) at {}", Plain(&operation), Plain(&workload), Plain(&kind), Plain(&created))?;
        writeln!(f, "  document  {} in partition {}, {} bytes", Plain(&of("id")), of("pk"), record.document.get().len())?;
        let width = record.edges.iter().map(|edge| edge.row.chars().count()).max().unwrap_or(0);
        for (at, edge) in record.edges.iter().enumerate() {
            let head = if at == 0 { "edges" } else { "" };
            let ExplainedEdge { from, from_type, to, to_type, row } = edge;
            writeln!(f, "  {head:<9} {:<width$}  {from_type} {} -> {to_type} {}", Plain(row), Plain(from), Plain(to))?;
        }
        if record.edges.is_empty() {
            writeln!(f, "  edges     none")?;
        }
        writeln!(f)
    }
}

/// A text from a record without what would steer a terminal.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            if c.is_control() { write!(text, "{}", c.escape_default())? } else { text.push(c) }
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &str) -> (u64, Vec<Value>) {
        let mut out = Vec::new();
        let failed = explain_each(input.as_bytes(), &mut out, true, rules(|_| None).unwrap()).unwrap();
        (failed, String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    const RECORD: &str =
        r#"{"Id":"1","CreationTime":"2026-11-20T10:00:00","Operation":"X","UserId":"a@b.example","ClientIP":"192.0.2.1","RecordType":1}"#;

    #[test]
    fn each_line_put_in_gives_one_line_in_order() {
        let (failed, answers) = answers(&format!("\u{feff}{RECORD}\r\n{{no\n\n[1]\n{{}}\n{RECORD}"));
        assert_eq!((failed, answers.len()), (3, 6));
        let first = &answers[0];
        assert_eq!(first["document"]["id"], "1");
        assert_eq!(first["document"]["ClientIP"], "192.0.2.1");
        assert!(first["document"].get("feed").is_none());
        let mut without_row = first["edges"].clone();
        without_row[0].as_object_mut().unwrap().remove("row").unwrap();
        without_row[0]["label"] = "X".into();
        assert_eq!(without_row, first["document"]["edges"]);
        assert_eq!(first["findings"], Value::Array(vec![]));
        assert!(answers[1..4].iter().all(|answer| answer["error"].is_string() && answer.as_object().unwrap().len() == 1));
        assert_eq!((&answers[4]["edges"], &answers[5]), (&Value::Array(vec![]), first));
    }

    #[test]
    fn no_setting_is_required_and_a_bad_one_is_named() {
        assert_eq!(rules(|_| None).unwrap().partitions_per_day, 4);
        let error = rules(|name| (name == "RETENTION_DAYS").then(|| "0".to_owned())).unwrap_err().to_string();
        assert!(error.contains("RETENTION_DAYS"), "{error}");
    }

    #[test]
    fn what_people_read_cannot_steer_their_terminal() {
        let record = RECORD.replace("\"X\"", r#""\u001b[2J""#);
        let mut out = Vec::new();
        explain_each(record.as_bytes(), &mut out, false, rules(|_| None).unwrap()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\\u{1b}[2J") && text.contains("user a@b.example -> ip 192.0.2.1"), "{text}");
    }
}
