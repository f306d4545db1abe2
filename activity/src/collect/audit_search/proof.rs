//! What the ledger proves: a verdict for each day, and a line for each window that was asked.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::ledger::{End, Known, QueryLine, Standing};
use super::search::NO_RECORDS;
use super::window::{Window, first_moment};
use crate::case::document::Document;
use crate::case::manifest::{Day, Verdict};

/// The workload under which the manifest has searched days.
pub(crate) const WORKLOAD: &str = "AuditSearch";

/// Why a range of time was not searched.
pub(super) const OUT_OF_REACH: &str = "older than a query reaches";

/// The operation under which a query is on record itself.
pub(crate) const REPORT: &str = "AuditSearchCompleted";

/// What queries say of themselves in the audit log, by their id: the count of their results.
pub(crate) type Reports = HashMap<String, u64>;

/// Notes what a document says of one of these queries, if it is about one.
pub(crate) fn note_report(reports: &mut Reports, queries: &HashSet<String>, document: &Document) {
    if let Some((query, count)) = report(document).filter(|(query, _)| queries.contains(*query)) {
        reports.insert(query.to_owned(), count);
    }
}

/// The query that a record of the audit log is about, and how many results it counts.
fn report(document: &Document) -> Option<(&str, u64)> {
    if document.text("Operation") != REPORT {
        return None;
    }
    let count = match document.fields().get("ResultsCount")? {
        Value::Number(count) => count.as_u64()?,
        Value::String(count) => count.parse().ok()?,
        _ => return None,
    };
    Some((document.text("SearchJobId"), count))
}

/// A part of a day, and what is known of it.
struct Part {
    window: Window,
    verdict: Verdict,
    why: String,
    end: Option<End>,
}

/// A line of `windows.ndjson`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowLine<'a> {
    from: String,
    to: String,
    verdict: Option<Verdict>,
    why: String,
    /// The query that decided.
    #[serde(flatten)]
    query: Option<&'a QueryLine>,
    /// What the query says of itself in the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    duplicates: u64,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
    #[serde(skip_serializing_if = "is_zero")]
    erased: u64,
    findings: Vec<String>,
    is_halved: bool,
    /// Queries before it, that came to nothing or are older.
    earlier: &'a [QueryLine],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The days of a plan, each with its verdict. A day is no better than the part of it that no query reaches.
pub(super) fn days(known: &Known, plan: &[Window], out_of_reach: &[Window], reports: &Reports, reason: &str) -> Vec<Day> {
    let mut days: Vec<Day> = Vec::new();
    for window in plan {
        let mut parts = parts(known, *window, reports, reason);
        parts.extend(unreached(*window, out_of_reach));
        let sum = |of: fn(&End) -> u64| parts.iter().filter_map(|part| part.end.as_ref()).map(of).sum();
        let verdict = parts.iter().map(|part| part.verdict).max().unwrap_or(Verdict::Incomplete);
        let worst: Vec<_> = parts.iter().filter(|part| part.verdict == verdict).collect();
        let why = match worst.as_slice() {
            [part] if part.window == *window => part.why.clone(),
            _ if verdict == Verdict::Complete => "each of its windows was proven".to_owned(),
            parts => parts.iter().map(|part| format!("{}: {}", part.window, part.why)).collect::<Vec<_>>().join("; "),
        };
        let day = Day {
            workload: WORKLOAD.to_owned(),
            day: window.day(),
            listed: sum(|end| end.records),
            // Those of the day alone: what was kept of a window has a few of its neighbours too.
            stored: sum(|end| end.records.saturating_sub(end.refused)),
            verdict: Some(verdict),
            why: Some(why),
            ..Day::default()
        };
        days.push(day);
    }
    days
}

/// What lies out of reach of the day of a window, just before it.
fn unreached(window: Window, out_of_reach: &[Window]) -> Option<Part> {
    let beyond = out_of_reach.iter().find(|beyond| beyond.to == window.from)?;
    let unreached = Window { from: beyond.from.max(first_moment(window.from)), to: beyond.to };
    let part = Part { window: unreached, verdict: Verdict::Incomplete, why: OUT_OF_REACH.to_owned(), end: None };
    (unreached.from < unreached.to).then_some(part)
}

/// How a window ended, or each of its halves.
pub(super) fn ends(known: &Known, window: Window) -> Vec<End> {
    parts(known, window, &Reports::new(), "").into_iter().filter_map(|part| part.end).collect()
}

/// The leaves of a window, which may have been halved.
fn parts(known: &Known, window: Window, reports: &Reports, reason: &str) -> Vec<Part> {
    let standing = known.standing(window);
    let reported = reported(&standing, reports);
    if let Some(end) = standing.end {
        let (verdict, why) = told(&end, reported);
        return vec![Part { window, verdict, why, end: Some(end) }];
    }
    if let (Some(_), Some(halves)) = (&standing.halved, window.halves()) {
        return halves.into_iter().flat_map(|half| parts(known, half, reports, reason)).collect();
    }
    let holding = known.windows().filter(|(other, _)| other.holds(window)).find_map(|(_, standing)| standing.end.clone());
    if let Some(end) = holding {
        return vec![Part { window, verdict: end.verdict, why: end.why.clone(), end: None }];
    }
    let why = match standing.open_query() {
        Some(_) => format!("it was asked, and is not finished{reason}"),
        None => format!("it was not asked yet{reason}"),
    };
    vec![Part { window, verdict: Verdict::Incomplete, why, end: None }]
}

/// What the query that decided says of itself.
fn reported(standing: &Standing, reports: &Reports) -> Option<u64> {
    reports.get(standing.queries.last()?.query_id.as_deref()?).copied()
}

/// A window without records is proven only by its query's own record, which says that there was none.
fn told(end: &End, reported: Option<u64>) -> (Verdict, String) {
    match (end.why.as_str(), reported) {
        (NO_RECORDS, Some(0)) => {
            (Verdict::Complete, "no record was found, and the query's own record in the audit log says so too".to_owned())
        }
        (NO_RECORDS, Some(count)) => (
            end.verdict,
            format!("no record was found, and the query's own record in the audit log counts {count}: the next run asks again"),
        ),
        _ => (end.verdict, end.why.clone()),
    }
}

/// Windows that are left as they are, without a record, although their query's own record counts some.
pub(super) fn contradicted(known: &Known, reports: &Reports) -> Vec<Window> {
    let is_left_empty = |standing: &Standing| standing.end.as_ref().is_some_and(|end| end.is_final && end.why == NO_RECORDS);
    let counts_some = |standing: &Standing| reported(standing, reports).is_some_and(|count| count > 0);
    let windows = known.windows().filter(|(_, standing)| is_left_empty(standing) && counts_some(standing));
    windows.map(|(window, _)| *window).collect()
}

/// A line for each window that was asked, in order.
pub(crate) fn lines(known: &Known, reports: &Reports) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (window, standing) in known.windows() {
        let (earlier, query) = match standing.queries.split_last() {
            Some((last, earlier)) => (earlier, Some(last)),
            None => (&[][..], None),
        };
        let reported = reported(standing, reports);
        let end = standing.end.as_ref();
        let (verdict, why) = match (end, &standing.halved) {
            (Some(end), _) => {
                let (verdict, why) = told(end, reported);
                (Some(verdict), why)
            }
            (None, Some((why, _))) => (None, format!("asked in two halves: {why}")),
            (None, None) => (Some(Verdict::Incomplete), "it is not finished".to_owned()),
        };
        let mut findings = end.map(|end| end.findings.clone()).unwrap_or_default();
        if let (Some(reported), Some(pass)) = (reported, query.and_then(|query| query.passes.last()))
            && reported != pass.ids
        {
            findings.push(format!("the query's own record in the audit log counts {reported} results, and {} were read", pass.ids));
        }
        lines.push(serde_json::to_string(&WindowLine {
            from: handler::clock::rfc3339(window.from),
            to: handler::clock::rfc3339(window.to),
            verdict,
            why,
            query,
            reported,
            records: end.map(|end| end.records),
            documents: end.map(|end| end.documents),
            duplicates: end.map_or(0, |end| end.duplicates),
            left_out: end.map_or(0, |end| end.left_out),
            erased: end.map_or(0, |end| end.erased),
            findings,
            is_halved: standing.halved.is_some(),
            earlier,
        })?);
    }
    Ok(lines)
}
