//! Adds the journal up for people: the content blobs of the last day and week. Which work
//! is to be done is decided from [`super::Shard`], not from here.

use std::collections::{BTreeMap, HashMap, HashSet};

use azure_storage_blob::models::BlobContainerClientListBlobsOptions;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::{Event, Line, State, hour_of};
use crate::{management_api::LISTABLE, workload::Workload};

/// Journal hours read side by side: a week of five workloads is some 800.
const READS: usize = 24;
/// The length of an hour in a name: `2026-11-20T10`.
const HOUR: usize = 13;
const DAY: TimeDelta = TimeDelta::hours(24);

/// Counts of the content blobs of some time, by contentCreated, to the hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Content blobs that were listed, and so queued.
    pub listed: u64,
    /// Of those, stored.
    pub stored: u64,
    /// Of those, neither stored nor lost yet.
    pub waiting: u64,
    /// Of those, given up.
    pub lost: u64,
    /// Records in the stored ones.
    pub records: u64,
    /// Documents that they made.
    pub documents: u64,
    /// Records that were documents already.
    pub duplicates: u64,
    /// Records that the settings leave out.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Records that were erased on request.
    #[serde(skip_serializing_if = "is_zero")]
    pub erased: u64,
    /// Documents that lack something of their record.
    pub reduced: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A content blob that is neither stored nor lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its contentId.
    pub id: String,
    /// When it was first queued.
    pub since: DateTime<Utc>,
}

/// Counts of the content blobs of one hour of contentCreated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourSums {
    /// Its beginning.
    pub hour: DateTime<Utc>,
    /// The number of them.
    pub figures: Figures,
    /// The contentId of each that was given up, and why, with the code where there is one.
    pub lost: Vec<(String, String)>,
}

/// A workload's journal, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Of the last 24 hours.
    pub day: Figures,
    /// Of the last seven days.
    pub week: Figures,
    /// Of those, the content blob that waits the longest.
    pub oldest_waiting: Option<Waiting>,
    /// True if any content was ever listed.
    pub is_seen: bool,
}

impl State {
    /// Adds up a workload's journal.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn sums(&self, workload: Workload, now: DateTime<Utc>) -> azure_core::Result<Sums> {
        let names = self.journal_names(workload).await?;
        let mut sums = Sums { is_seen: !names.is_empty(), ..Sums::default() };
        let mut week: BTreeMap<DateTime<Utc>, Vec<String>> = BTreeMap::new();
        for name in names {
            if let Some(hour) = hour(&name).filter(|hour| *hour >= hour_of(now - LISTABLE)) {
                week.entry(hour).or_default().push(name);
            }
        }
        let reads: Vec<_> = week.into_iter().map(|(hour, names)| self.journal_text(hour, names)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(READS);
        while let Some((hour, text)) = reads.try_next().await? {
            let (figures, oldest) = add_up(&text);
            sums.week.add(figures);
            if hour >= hour_of(now - DAY) {
                sums.day.add(figures);
            }
            sums.oldest_waiting = older(sums.oldest_waiting, oldest);
        }
        Ok(sums)
    }

    /// Counts a workload's content hour by hour of contentCreated, in order; an hour that the range touches is in it.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn hours(
        &self,
        workload: Workload,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
    ) -> azure_core::Result<Vec<HourSums>> {
        let mut hours: BTreeMap<DateTime<Utc>, Vec<String>> = BTreeMap::new();
        for name in self.journal_names(workload).await? {
            let touches = |hour: &DateTime<Utc>| from.is_none_or(|from| hour_of(from) <= *hour) && to.is_none_or(|to| *hour < to);
            if let Some(hour) = hour(&name).filter(touches) {
                hours.entry(hour).or_default().push(name);
            }
        }
        let reads: Vec<_> = hours.into_iter().map(|(hour, names)| self.journal_text(hour, names)).collect();
        let reads = stream::iter(reads).buffered(READS);
        reads.map_ok(|(hour, text)| HourSums { hour, figures: add_up(&text).0, lost: given_up(&text) }).try_collect().await
    }

    async fn journal_names(&self, workload: Workload) -> azure_core::Result<Vec<String>> {
        let options = BlobContainerClientListBlobsOptions { prefix: Some(format!("journal/{workload}/")), ..Default::default() };
        let blobs: Vec<_> = self.container.list_blobs(Some(options))?.try_collect().await?;
        Ok(blobs.into_iter().filter_map(|blob| blob.name).collect())
    }

    /// An hour's lines, from however many blobs.
    async fn journal_text(&self, hour: DateTime<Utc>, names: Vec<String>) -> azure_core::Result<(DateTime<Utc>, String)> {
        let mut text = String::new();
        for name in names {
            text += &self.read(&name).await?.map(|stored| stored.text).unwrap_or_default();
            text.push('\n');
        }
        Ok((hour, text))
    }
}

/// The hour that a journal blob is named after, `…T10.ndjson` or, where it continues another, `…T10-2.ndjson`.
fn hour(name: &str) -> Option<DateTime<Utc>> {
    let hour = name.rsplit('/').next()?.strip_suffix(".ndjson")?;
    NaiveDateTime::parse_from_str(&format!("{}:00", hour.get(..HOUR)?), "%Y-%m-%dT%H:%M").ok().map(|at| at.and_utc())
}

/// The lines of one content blob, taken together. It may be queued and stored more than once: each record counts once, and
/// so does each document.
#[derive(Default)]
struct Blob {
    since: Option<DateTime<Utc>>,
    is_stored: bool,
    is_lost: bool,
    records: u64,
    documents: u64,
    left_out: u64,
    erased: u64,
    reduced: HashSet<String>,
}

fn add_up(text: &str) -> (Figures, Option<Waiting>) {
    let mut blobs: HashMap<String, Blob> = HashMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        let at = line.time();
        let blob = blobs.entry(line.id).or_default();
        match line.event {
            Event::Queued => blob.since = Some(blob.since.map_or(at, |since| since.min(at))),
            Event::Stored => {
                blob.is_stored = true;
                blob.records = blob.records.max(line.records.unwrap_or_default());
                blob.documents += line.documents.unwrap_or_default();
                blob.left_out = blob.left_out.max(line.left_out.unwrap_or_default());
                blob.erased = blob.erased.max(line.erased.unwrap_or_default());
            }
            Event::Lost => blob.is_lost = true,
            Event::Doubted => {}
            Event::Reduced => drop(blob.reduced.insert(line.record.unwrap_or_default())),
        }
    }
    let (mut figures, mut oldest) = (Figures::default(), None);
    for (id, blob) in blobs {
        figures.count(&blob);
        if let (false, Some(since)) = (blob.is_stored || blob.is_lost, blob.since) {
            oldest = older(oldest, Some(Waiting { id, since }));
        }
    }
    (figures, oldest)
}

/// Content that was given up and not stored after all, with the reason that was given last.
fn given_up(text: &str) -> Vec<(String, String)> {
    let mut lost = BTreeMap::new();
    let mut stored = HashSet::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        match line.event {
            Event::Lost => {
                let code = line.code.map(|code| format!(" ({code})")).unwrap_or_default();
                lost.insert(line.id, format!("{}{code}", line.reason.unwrap_or_default()));
            }
            Event::Stored => drop(stored.insert(line.id)),
            _ => {}
        }
    }
    lost.into_iter().filter(|(id, _)| !stored.contains(id)).collect()
}

fn older(one: Option<Waiting>, other: Option<Waiting>) -> Option<Waiting> {
    one.into_iter().chain(other).min_by_key(|waiting| waiting.since)
}

impl Figures {
    fn count(&mut self, blob: &Blob) {
        self.listed += 1;
        match (blob.is_stored, blob.is_lost) {
            (true, _) => self.stored += 1,
            (false, true) => self.lost += 1,
            (false, false) => self.waiting += 1,
        }
        self.records += blob.records;
        self.documents += blob.documents;
        self.duplicates += blob.records.saturating_sub(blob.documents + blob.left_out + blob.erased);
        self.left_out += blob.left_out;
        self.erased += blob.erased;
        self.reduced += blob.reduced.len() as u64;
    }

    /// Adds another time's, or another workload's.
    pub fn add(&mut self, other: Self) {
        self.listed += other.listed;
        self.stored += other.stored;
        self.waiting += other.waiting;
        self.lost += other.lost;
        self.records += other.records;
        self.documents += other.documents;
        self.duplicates += other.duplicates;
        self.left_out += other.left_out;
        self.erased += other.erased;
        self.reduced += other.reduced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::parse_utc, state::journal};

    #[test]
    fn a_blob_that_is_queued_and_stored_twice_counts_once() {
        let text = r#"{"at":"2026-11-20T10:09:00Z","event":"queued","id":"a"}
{"at":"2026-11-20T10:01:00Z","event":"queued","id":"a"}
{"at":"2026-11-20T10:10:00Z","event":"stored","id":"a","records":10,"documents":9,"duplicates":1}
{"at":"2026-11-20T10:11:00Z","event":"stored","id":"a","records":10,"documents":0,"duplicates":10}
{"at":"2026-11-20T10:11:00Z","event":"reduced","id":"a","record":"r","omitted":["x"]}
torn {
{"at":"2026-11-20T10:09:00Z","event":"queued","id":"b"}
{"at":"2026-11-20T10:05:00Z","event":"queued","id":"b"}
{"at":"2026-11-20T10:07:00Z","event":"queued","id":"c"}
{"at":"2026-11-20T10:12:00Z","event":"lost","id":"d","reason":"content expired"}
"#;
        let (figures, oldest) = add_up(text);
        let expected = Figures {
            listed: 4,
            stored: 1,
            waiting: 2,
            lost: 1,
            records: 10,
            documents: 9,
            duplicates: 1,
            reduced: 1,
            ..Figures::default()
        };
        assert_eq!(figures, expected);
        assert_eq!(oldest, Some(Waiting { id: "b".to_owned(), since: parse_utc("2026-11-20T10:05:00Z").unwrap() }));
    }

    #[test]
    fn an_hour_is_read_from_its_blobs_name() {
        let at = parse_utc("2026-11-20T10:00:00Z").unwrap();
        for part in [1, 2] {
            assert_eq!(hour(&journal::name("Audit.Exchange", at, part)), Some(at));
        }
        assert_eq!(hour("journal/Audit.Exchange/notes.txt"), None);
    }
}
