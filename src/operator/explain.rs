//! `handler explain`: for each record on stdin, one a line, the document that is stored and the row that gave each edge.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::{self, BufRead, Seek, Write},
    process::ExitCode,
};

use anyhow::Context;
use chrono::{TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::input::RecordReader;
use crate::{
    config::Documents,
    document::{self, Document, ExplainedEdge, Fields, LifeFrom, Rules, Table, redact::Treatment},
    findings::{self, Finding, RuleSet},
};

/// The answer to a line of input.
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
    findings: Vec<ExplainedFinding>,
    /// `LEAVE_OUT` names it.
    #[serde(rename = "leftOut", skip_serializing_if = "is_false")]
    is_left_out: bool,
}

/// A rule that fired, and the file it stands in.
#[derive(Serialize)]
struct ExplainedFinding {
    #[serde(flatten)]
    finding: Finding<'static>,
    file: &'static str,
}

/// Prints one answer for each line of stdin, in their order. Holds one line at a time; what is read waits in a file without a
/// name, since rules over time look ahead.
///
/// # Errors
/// A setting that changes documents cannot be used, or stdin cannot be read.
pub(super) fn explain(json: bool, lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<ExitCode> {
    let tenant = lookup("OFFICE365_TENANT_ID").unwrap_or_default();
    let documents = Documents::from_vars(lookup)?;
    let rules = rules(&documents, &tenant)?;
    let out = io::BufWriter::new(io::stdout().lock());
    match explain_all(io::stdin().lock(), out, json, rules, documents.findings.then(RuleSet::ours)) {
        // A reader who has gone is no trouble.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot read the records, or print what they become"),
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
    }
}

/// The settings that change a document, with the defaults of the handler; no other setting is looked at.
fn rules<'a>(documents: &'a Documents, tenant: &str) -> anyhow::Result<Rules<'a>> {
    Ok(Rules {
        partitions_per_day: documents.partitions_per_day,
        retention: TimeDelta::from_std(documents.retention)?,
        life_from: LifeFrom::Event,
        now: Utc::now(),
        matched_values: Treatment::new(&documents.dlp_values, tenant),
        leave_out: &documents.leave_out,
        table: Table::built_in(),
    })
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Reads all of the input, asks the rules over time of it, then explains each record. Returns how many lines were no record.
fn explain_all(input: impl BufRead, out: impl Write, json: bool, rules: Rules<'_>, set: Option<&'static RuleSet>) -> io::Result<u64> {
    let mut records = RecordReader::new(input)?;
    let Some(set) = set else { return explain_each(|record| records.read(record), out, json, rules, None, BTreeMap::new()) };
    let (mut waiting, mut over_time) = (io::BufWriter::new(tempfile::tempfile()?), set.over_time());
    let (mut number, mut record) = (0, Vec::new());
    while records.read(&mut record)? {
        number += 1;
        over_time.take(number, &String::from_utf8_lossy(&record));
        waiting.write_all(&(record.len() as u64).to_le_bytes())?;
        waiting.write_all(&record)?;
    }
    let mut waiting = waiting.into_inner()?;
    waiting.rewind()?;
    let mut waiting = io::BufReader::new(waiting);
    explain_each(|record| read_waiting(&mut waiting, record), out, json, rules, Some(set), over_time.findings())
}

/// Reads back one record: its length, then its bytes. Returns whether there was one.
fn read_waiting(waiting: &mut impl BufRead, record: &mut Vec<u8>) -> io::Result<bool> {
    if waiting.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut length = [0; 8];
    waiting.read_exact(&mut length)?;
    record.resize(usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?, 0);
    waiting.read_exact(record)?;
    Ok(true)
}

fn explain_each(
    mut next: impl FnMut(&mut Vec<u8>) -> io::Result<bool>,
    mut out: impl Write,
    json: bool,
    rules: Rules<'_>,
    set: Option<&'static RuleSet>,
    mut over_time: BTreeMap<u64, Vec<Finding<'static>>>,
) -> io::Result<u64> {
    let (mut failed, mut number, mut record) = (0, 0_u64, Vec::new());
    while next(&mut record)? {
        number += 1;
        let explained = explain_line(record.trim_ascii(), rules, set, over_time.remove(&number).unwrap_or_default());
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

fn explain_line(record: &[u8], rules: Rules<'_>, set: Option<&'static RuleSet>, over_time: Vec<Finding<'static>>) -> Line {
    let no_record = |error: String| Line::NoRecord { error };
    if record.is_empty() {
        return no_record("the line is empty".to_owned());
    }
    let mut findings = Vec::new();
    let judge = |fields: &Fields<'_>| {
        findings = set.map(|set| set.ask(fields)).unwrap_or_default();
        findings::json(&findings)
    };
    let (Document { json, is_left_out, .. }, edges) = match document::explained(record, rules, judge) {
        Ok(explained) => explained,
        Err(error) => return no_record(error.to_string()),
    };
    findings.extend(over_time);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let findings = findings.into_iter().map(|finding| ExplainedFinding { finding, file: finding.file }).collect();
    match RawValue::from_string(json) {
        Ok(document) => Line::Record(Explained { document, edges, findings, is_left_out }),
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
        if record.is_left_out {
            writeln!(f, "  left out  as LEAVE_OUT says; this would be its document")?;
        }
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
        for (at, ExplainedFinding { finding, file }) in record.findings.iter().enumerate() {
            let head = if at == 0 { "findings" } else { "" };
            writeln!(f, "  {head:<9} {:<13}  {} ({file})", finding.level.as_str(), Plain(finding.title))?;
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

    fn documents(setting: &str, value: &str) -> Documents {
        Documents::from_vars(|name| (name == setting).then(|| value.to_owned())).unwrap()
    }

    fn answers(input: &str) -> (u64, Vec<Value>) {
        let mut out = Vec::new();
        let failed = explain_all(input.as_bytes(), &mut out, true, rules(&documents("", ""), "").unwrap(), Some(RuleSet::ours())).unwrap();
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
        assert_eq!(rules(&documents("", ""), "").unwrap().partitions_per_day, 4);
        let faults = Documents::from_vars(|name| (name == "RETENTION_DAYS").then(|| "0".to_owned())).unwrap_err().to_string();
        assert!(faults.contains("RETENTION_DAYS"), "{faults}");
    }

    #[test]
    fn a_record_that_is_left_out_is_explained_and_said_to_be() {
        let documents = documents("LEAVE_OUT", "*/#1");
        let explained = |record: &str| explain_line(record.as_bytes(), rules(&documents, "").unwrap(), None, Vec::new());
        let left_out = serde_json::to_value(explained(RECORD)).unwrap();
        assert_eq!((&left_out["leftOut"], &left_out["document"]["id"]), (&Value::Bool(true), &Value::from("1")));
        let stored = serde_json::to_value(explained(&RECORD.replace("\"RecordType\":1", "\"RecordType\":2"))).unwrap();
        assert!(stored.get("leftOut").is_none() && stored["document"].is_object());
    }

    #[test]
    fn matched_values_are_dropped_unless_the_settings_say_otherwise() {
        let record = r#"{"Id":"1","DetectedValues":[{"Name":"4111","Value":"pay 4111"}]}"#;
        let text = |documents: &Documents| {
            serde_json::to_string(&explain_line(record.as_bytes(), rules(documents, "").unwrap(), None, Vec::new())).unwrap()
        };
        let dropped = text(&documents("", ""));
        assert!(!dropped.contains("4111") && dropped.contains(r#""redacted":{"rule":"dlp1","values":1}"#), "{dropped}");
        assert!(text(&documents("DLP_VALUES", "keep")).contains("4111"));
        let faults = Documents::from_vars(|name| (name == "DLP_VALUES").then(|| "hash".to_owned())).unwrap_err().to_string();
        assert!(faults.contains("DLP_HASH_KEY"), "{faults}");
    }

    #[test]
    fn what_people_read_cannot_steer_their_terminal() {
        let record = RECORD.replace("\"X\"", r#""\u001b[2J""#);
        let mut out = Vec::new();
        explain_all(record.as_bytes(), &mut out, false, rules(&documents("", ""), "").unwrap(), Some(RuleSet::ours())).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\\u{1b}[2J") && text.contains("user a@b.example -> ip 192.0.2.1"), "{text}");
    }
}
