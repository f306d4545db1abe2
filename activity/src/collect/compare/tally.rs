//! Counts what the feed and the audit search each have, by workload and record type and by day, from the documents that were kept.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, SubsecRound as _, Utc};
use handler::clock::{parse_utc, rfc3339};
use handler::document::{Digest, digest_of};
use indicatif::HumanDuration;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::case::document::Document;
use crate::case::manifest::{Completeness, Verdict};
use crate::collect::audit_search::{REPORT, Reports, WORKLOAD, note_report};
use crate::collect::documents::DocumentFiles;
use crate::text_table::{Count, TextTable};

/// What the two ways have, and do not have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The range of CreationTime, half-open, RFC 3339.
    from: String,
    to: String,
    /// By workload and record type, as the records have them.
    types: Vec<TypeRow>,
    /// By day of CreationTime.
    days: Vec<DayRow>,
    /// Records without a readable CreationTime, which cannot be compared.
    #[serde(skip_serializing_if = "Undated::is_none")]
    undated: Undated,
    /// Whether the feed is whole.
    pub(super) feed: Proof,
    /// Whether the search is.
    pub(super) search: Proof,
    /// Where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<OnlyId>>,
}

/// How far one way is proven.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    pub(super) verdict: Verdict,
    why: String,
}

impl Proof {
    fn of(completeness: &Completeness) -> Self {
        Self { verdict: completeness.verdict, why: completeness.why.clone() }
    }
}

impl Display for Proof {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::Complete => write!(f, "{}", self.verdict),
            verdict => write!(f, "{verdict}: {}", self.why),
        }
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TypeRow {
    workload: String,
    record_type: Value,
    both: u64,
    /// Of those that both have, how many are not the same record.
    unlike: u64,
    only_feed: u64,
    /// How long after the event the feed had them.
    #[serde(skip_serializing_if = "Delays::is_empty")]
    only_feed_after_seconds: Delays,
    only_search: u64,
    /// How long after the event they were found: they may have been there earlier.
    #[serde(skip_serializing_if = "Delays::is_empty")]
    only_search_within_seconds: Delays,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct DayRow {
    day: String,
    both: u64,
    only_feed: u64,
    only_search: u64,
    /// Of the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Undated {
    feed: u64,
    search: u64,
}

impl Undated {
    fn is_none(&self) -> bool {
        self.feed == 0 && self.search == 0
    }
}

/// A record that only one way has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OnlyId {
    id: String,
    only: Way,
    workload: String,
    record_type: Value,
    after_seconds: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    Feed,
    Search,
}

/// Seconds from an event until its record was there, of many.
#[derive(Debug, Default)]
struct Delays(Vec<u32>);

impl Delays {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least, the one in the middle, and the greatest.
    fn span(&self) -> Option<[u32; 3]> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        Some([*sorted.first()?, *sorted.get(sorted.len() / 2)?, *sorted.last()?])
    }
}

impl Serialize for Delays {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Span {
            min: u32,
            median: u32,
            max: u32,
        }
        self.span().map(|[min, median, max]| Span { min, median, max }).serialize(serializer)
    }
}

impl Display for Delays {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some([min, _, max]) = self.span() else { return Ok(()) };
        let [min, max] = [min, max].map(|seconds| format!("{:#}", HumanDuration(Duration::from_secs(u64::from(seconds)))));
        if min == max { f.write_str(&max) } else { write!(f, "{min} to {max}") }
    }
}

/// A document as it is compared.
struct Seen {
    way: Way,
    id: String,
    event: Option<DateTime<Utc>>,
    /// When it was there: available in the feed, or found by a query.
    there: Option<DateTime<Utc>>,
    workload: String,
    record_type: Value,
    /// Tells records apart: all but where it came from and how long it lives.
    body: [u8; 8],
}

impl Seen {
    fn read(line: &str) -> serde_json::Result<Self> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Feed {
            content_type: Option<String>,
            content_created: Option<String>,
        }
        let mut members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(line)?;
        let feed: Feed = members.remove("feed").map_or(Ok(Feed::default()), |feed| serde_json::from_str(feed.get()))?;
        members.remove("ttl");
        let mut hash = Sha256::new();
        for (name, value) in &members {
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(value.get());
            hash.update([0]);
        }
        let hash = hash.finalize();
        let value = |name: &str| members.get(name).map_or(Ok(Value::Null), |value| serde_json::from_str(value.get()));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            way: if feed.content_type.as_deref() == Some(WORKLOAD) { Way::Search } else { Way::Feed },
            id: text(&value("id")?),
            event: value("CreationTime")?.as_str().and_then(parse_utc),
            there: feed.content_created.as_deref().and_then(parse_utc),
            workload: text(&value("Workload")?),
            record_type: value("RecordType")?,
            body: std::array::from_fn(|byte| hash[byte]),
        })
    }

    fn after_seconds(&self) -> Option<u32> {
        let seconds = (self.there? - self.event?).num_seconds().max(0);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// The counts as they grow.
pub(super) struct Tally {
    range: (DateTime<Utc>, DateTime<Utc>),
    types: BTreeMap<(String, Option<i64>, String), TypeRow>,
    days: BTreeMap<String, DayRow>,
    undated: Undated,
    ids: Option<Vec<OnlyId>>,
    reports: Reports,
}

impl Tally {
    /// Counts the documents of a state folder that happened in a range. Holds one partition at a time.
    pub(super) fn of(
        state: &Path,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        queries: &HashSet<String>,
        erased: &HashSet<Digest>,
        has_ids: bool,
    ) -> Result<Self> {
        let mut tally = Self {
            range: (from.trunc_subsecs(0), to.trunc_subsecs(0)),
            types: BTreeMap::new(),
            days: BTreeMap::new(),
            undated: Undated::default(),
            ids: has_ids.then(Vec::new),
            reports: Reports::new(),
        };
        for path in DocumentFiles::open(state)?.partitions()? {
            tally.partition(&path, queries, erased).with_context(|| format!("{} is damaged", path.display()))?;
        }
        Ok(tally)
    }

    /// The same record is in the same partition whichever way it came, since its key is made of its id and its time.
    fn partition(&mut self, path: &Path, queries: &HashSet<String>, erased: &HashSet<Digest>) -> Result<()> {
        let mut records: BTreeMap<String, [Option<Seen>; 2]> = BTreeMap::new();
        for line in BufReader::new(File::open(path)?).lines() {
            let line = line?;
            self.note_report(&line, queries)?;
            let seen = Seen::read(&line)?;
            if seen.event.is_some_and(|event| event < self.range.0 || self.range.1 <= event) || erased.contains(&digest_of(&seen.id)) {
                continue;
            }
            // The first that came is the one that counts.
            let places = records.entry(seen.id.clone()).or_default();
            places[seen.way as usize].get_or_insert(seen);
        }
        records.into_values().for_each(|places| self.count(places));
        Ok(())
    }

    fn note_report(&mut self, line: &str, queries: &HashSet<String>) -> Result<()> {
        if line.contains(REPORT) {
            note_report(&mut self.reports, queries, &Document::new(serde_json::from_str::<Map<String, Value>>(line)?));
        }
        Ok(())
    }

    fn count(&mut self, [feed, search]: [Option<Seen>; 2]) {
        let Some(one) = feed.as_ref().or(search.as_ref()) else { return };
        let Some(event) = one.event else {
            self.undated.feed += u64::from(feed.is_some());
            self.undated.search += u64::from(search.is_some());
            return;
        };
        let day = event.format("%Y-%m-%d").to_string();
        let key = (one.workload.clone(), one.record_type.as_i64(), one.record_type.to_string());
        let new_row = || TypeRow { workload: one.workload.clone(), record_type: one.record_type.clone(), ..TypeRow::default() };
        let row = self.types.entry(key).or_insert_with(new_row);
        let of_day = self.days.entry(day.clone()).or_insert_with(|| DayRow { day, ..DayRow::default() });
        match (&feed, &search) {
            (Some(feed), Some(search)) => {
                row.both += 1;
                row.unlike += u64::from(feed.body != search.body);
                of_day.both += 1;
                return;
            }
            (Some(feed), None) => {
                row.only_feed += 1;
                row.only_feed_after_seconds.0.extend(feed.after_seconds());
                of_day.only_feed += 1;
            }
            (None, _) => {
                row.only_search += 1;
                row.only_search_within_seconds.0.extend(one.after_seconds());
                of_day.only_search += 1;
            }
        }
        if let Some(ids) = &mut self.ids {
            ids.push(OnlyId {
                id: one.id.clone(),
                only: one.way,
                workload: one.workload.clone(),
                record_type: one.record_type.clone(),
                after_seconds: one.after_seconds(),
            });
        }
    }

    /// What queries say of themselves in the audit log.
    pub(super) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// With how far each way is proven.
    pub(super) fn finish(mut self, feed: &Completeness, search: &Completeness) -> Comparison {
        for day in &search.workloads {
            let row = self.days.entry(day.day.clone()).or_insert_with(|| DayRow { day: day.day.clone(), ..DayRow::default() });
            (row.verdict, row.why) = (day.verdict, day.why.clone());
        }
        Comparison {
            from: rfc3339(self.range.0),
            to: rfc3339(self.range.1),
            types: self.types.into_values().collect(),
            days: self.days.into_values().collect(),
            undated: self.undated,
            feed: Proof::of(feed),
            search: Proof::of(search),
            ids: self.ids,
        }
    }
}

impl Comparison {
    /// True if one way has a record that the other lacks.
    pub(super) fn differ(&self) -> bool {
        self.types.iter().any(|row| row.only_feed + row.only_search > 0)
    }

    fn by_type(&self) -> TextTable {
        let head = ["workload", "type", "both", "unlike", "only feed", "there after", "only search", "found within"];
        let mut table = TextTable::new(head).with_texts(&[5, 7]);
        let mut total = TypeRow::default();
        for row in &self.types {
            total.both += row.both;
            total.unlike += row.unlike;
            total.only_feed += row.only_feed;
            total.only_search += row.only_search;
            table.row(row.cells(&row.workload, &row.record_type.to_string()));
        }
        table.row(total.cells("total", ""));
        table
    }

    fn by_day(&self) -> TextTable {
        let mut table = TextTable::new(["day", "both", "only feed", "only search", "search"]).with_texts(&[4]);
        for row in &self.days {
            let verdict = row.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
            let why = row.why.as_deref().filter(|_| row.verdict != Some(Verdict::Complete));
            let proof = why.map_or_else(|| verdict.clone(), |why| format!("{verdict}: {why}"));
            let [both, only_feed, only_search] = [row.both, row.only_feed, row.only_search].map(|count| Count(count).to_string());
            table.row([row.day.clone(), both, only_feed, only_search, proof]);
        }
        table
    }

    fn by_id(ids: &[OnlyId]) -> TextTable {
        let mut table = TextTable::new(["id", "only", "workload", "type", "after"]).with_texts(&[1, 2, 4]);
        for id in ids {
            let only = if id.only == Way::Feed { "feed" } else { "search" };
            let after = Delays(id.after_seconds.into_iter().collect()).to_string();
            table.row([id.id.clone(), only.to_owned(), id.workload.clone(), id.record_type.to_string(), after]);
        }
        table
    }
}

impl TypeRow {
    fn cells(&self, workload: &str, record_type: &str) -> [String; 8] {
        let count = |count: u64| Count(count).to_string();
        [
            workload.to_owned(),
            record_type.to_owned(),
            count(self.both),
            count(self.unlike),
            count(self.only_feed),
            self.only_feed_after_seconds.to_string(),
            count(self.only_search),
            self.only_search_within_seconds.to_string(),
        ]
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "From {} to {}, by when it happened:\n", self.from, self.to)?;
        writeln!(f, "{}\n{}", self.by_type(), self.by_day())?;
        if let Some(ids) = self.ids.as_deref().filter(|ids| !ids.is_empty()) {
            writeln!(f, "{}", Self::by_id(ids))?;
        }
        if !self.undated.is_none() {
            let Undated { feed, search } = self.undated;
            writeln!(f, "Without a readable time, so not compared: {feed} of the feed, {search} of the search.")?;
        }
        writeln!(f, "The feed is {}.\nThe search is {}.", self.feed, self.search)?;
        f.write_str(if self.differ() { "They do not have the same records." } else { "They have the same records." })
    }
}
