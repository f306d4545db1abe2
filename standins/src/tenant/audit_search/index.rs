//! The records of the tenant's content blobs as a search sees them: by id, with the time of the event and the time of arrival.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::super::blob::Blob;
use super::super::mark;

/// A record, and where its text stands.
#[derive(Clone)]
pub(super) struct Row {
    /// The record's Id; empty where it has none.
    pub(super) id: String,
    /// When it happened, by its CreationTime.
    pub(super) event: DateTime<Utc>,
    /// When it could first be found.
    pub(super) arrival: DateTime<Utc>,
    blob: Arc<Blob>,
    number: usize,
}

impl Row {
    /// The record's text.
    pub(super) fn text(&self) -> String {
        self.blob.record(self.number).unwrap_or_default()
    }

    /// A number that is the same whenever this record is looked at, and as if by chance.
    pub(super) fn mark(&self, salt: &str) -> u64 {
        mark(&format!("{salt} {} {}", self.id, self.number))
    }
}

/// All rows, of which each record has one, whatever the number of content blobs that hold it.
#[derive(Default)]
pub(super) struct Index {
    rows: Vec<Row>,
    seen: HashSet<u64>,
    blobs: HashSet<String>,
}

impl Index {
    /// Takes in what was published since. Blobs that were withdrawn stay: a search keeps what it had.
    pub(super) fn add<'a>(&mut self, blobs: impl Iterator<Item = &'a Arc<Blob>>) {
        for blob in blobs {
            if self.blobs.insert(blob.id.clone()) {
                self.add_blob(blob);
            }
        }
    }

    fn add_blob(&mut self, blob: &Arc<Blob>) {
        #[derive(Deserialize)]
        struct Known {
            #[serde(rename = "Id", default)]
            id: Value,
            #[serde(rename = "CreationTime", default)]
            created: Value,
            #[serde(rename = "RecordNumber", default)]
            part: Value,
        }
        for number in 0..blob.record_count() {
            let Some(text) = blob.record(number) else { continue };
            // What is no object is no record of Graph's.
            let Ok(known) = serde_json::from_str::<Known>(&text) else { continue };
            let id = known.id.as_str().unwrap_or_default().to_owned();
            let event = known.created.as_str().and_then(time).unwrap_or(blob.created);
            let key = if id.is_empty() { mark(&text) } else { mark(&format!("{id} {}", known.part)) };
            if self.seen.insert(key) {
                self.rows.push(Row { id, event, arrival: blob.visible_from, blob: Arc::clone(blob), number });
            }
        }
    }

    /// Those that a rule takes, by id.
    pub(super) fn select(&self, takes: impl Fn(&Row) -> bool) -> Vec<Row> {
        let mut rows: Vec<_> = self.rows.iter().filter(|row| takes(row)).cloned().collect();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        rows
    }
}

/// A record's time, which has no zone and is UTC.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim_end_matches('Z');
    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|time| time.and_utc())
}
