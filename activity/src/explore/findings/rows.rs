//! Findings put together by rule and account: 24 failed sign-ins are one row, not 24.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use handler::findings::{Finding, Level};
use serde::{Serialize, Serializer};

use crate::case::document::Document;
use crate::text_table::{Count, TextTable};

/// Most accounts that a row names.
const MAX_ACCOUNTS: usize = 20;

/// What one rule found about one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The need for a person to look.
    pub level: Level,
    /// The rule's id.
    pub rule: String,
    /// The rule's title.
    pub title: String,
    /// The account; where the records are of several, what they have in common, such as an address. In lower case.
    pub account: String,
    /// The accounts where there are several, at most twenty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// What came for the first time: a country, a network, an application, an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Records.
    pub count: u64,
    /// CreationTime of the first, as far as it is known.
    #[serde(serialize_with = "written")]
    pub first: Option<DateTime<Utc>>,
    /// CreationTime of the last.
    #[serde(serialize_with = "written")]
    pub last: Option<DateTime<Utc>>,
    /// The workload of the last record, or of the one that completed what a rule over time looks for.
    pub workload: String,
    /// The document of that record.
    pub document: Place,
}

/// A document's key, and the workload of its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The partition key.
    pub pk: String,
    /// The id.
    pub id: String,
    #[serde(skip)]
    pub(super) workload: String,
}

impl Place {
    /// Of a document.
    pub(super) fn of(document: &Document) -> Self {
        let (pk, id) = document.key();
        Self { pk: pk.to_owned(), id: id.to_owned(), workload: document.text("Workload").to_owned() }
    }
}

/// Records that a rule found, before they are put together with others.
pub(super) struct Found<'f> {
    pub(super) finding: Finding<'f>,
    /// One, or all of those whose records count together.
    pub(super) accounts: Vec<String>,
    /// What the records of several accounts have in common.
    pub(super) common: String,
    pub(super) value: Option<String>,
    pub(super) count: u64,
    pub(super) first: Option<DateTime<Utc>>,
    pub(super) last: Option<DateTime<Utc>>,
    pub(super) place: Place,
}

/// Rows, being put together.
#[derive(Debug, Default)]
pub(super) struct Rows(HashMap<(String, String, Option<String>), Row>);

impl Rows {
    /// Adds records to the row of their rule and account.
    pub(super) fn add(&mut self, found: Found<'_>) {
        let Found { finding, mut accounts, common, value, count, first, last, place } = found;
        let account = match accounts.len() {
            0 => common,
            1 => accounts.pop().unwrap_or_default(),
            _ => common,
        };
        let row = self.0.entry((finding.rule.to_owned(), account.clone(), value.clone())).or_insert_with(|| Row {
            level: finding.level,
            rule: finding.rule.to_owned(),
            title: finding.title.to_owned(),
            account,
            accounts: Vec::new(),
            value,
            count: 0,
            first: None,
            last: None,
            workload: place.workload.clone(),
            document: place.clone(),
        });
        row.level = row.level.max(finding.level);
        row.count += count;
        if last >= row.last {
            (row.workload, row.document) = (place.workload.clone(), place);
        }
        row.first = row.first.into_iter().chain(first).min();
        row.last = row.last.max(last);
        row.accounts.extend(accounts);
        row.accounts.sort_unstable();
        row.accounts.dedup();
        row.accounts.truncate(MAX_ACCOUNTS);
    }

    /// All of them: most severe first, then by account.
    pub(super) fn sorted(self) -> Vec<Row> {
        let mut rows: Vec<_> = self.0.into_values().collect();
        rows.sort_by(|a, b| {
            let by_level = b.level.cmp(&a.level);
            by_level.then_with(|| (&a.account, &a.title, &a.value).cmp(&(&b.account, &b.title, &b.value)))
        });
        rows
    }
}

/// Rows for a person.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = TextTable::new(["level", "finding", "account", "count", "first", "last", "workload"]).with_texts(&[1, 2, 4, 5, 6]);
    for row in rows {
        let title = row.value.as_ref().map_or_else(|| row.title.clone(), |value| format!("{}: {value}", row.title));
        let account = match row.accounts.len() {
            0 => row.account.clone(),
            MAX_ACCOUNTS => format!("{} ({MAX_ACCOUNTS} accounts or more)", row.account),
            count => format!("{} ({count} accounts)", row.account),
        };
        let time = |time: Option<DateTime<Utc>>| time.map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M:%S").to_string());
        let count = Count(row.count).to_string();
        table.row([row.level.as_str().to_owned(), title, account, count, time(row.first), time(row.last), row.workload.clone()]);
    }
    table.to_string()
}

fn written<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)).serialize(serializer)
}
