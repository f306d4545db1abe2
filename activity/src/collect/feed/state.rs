//! What was listed and stored so far, in `.state` of a case folder: a journal, and the documents beside it. Each is only
//! appended to, documents before the journal's word on them, so that a run that is killed costs work done twice and no more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use handler::batch::Item;
use handler::clock::rfc3339;
use handler::document::Document as Made;
use handler::state::Figures;
use handler::workload::Workload;
use serde::{Deserialize, Serialize};

use crate::case::account::day;
use crate::case::manifest::{Day, Gap, Lost, STATE, Verdict};
use crate::collect::documents::DocumentFiles;
use crate::collect::lines::{entries, open_alone};

const JOURNAL: &str = "journal.ndjson";

/// A line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Entry {
    /// A window was listed to its last page, and all of it is in the journal.
    Listed {
        at: String,
        #[serde(rename = "type")]
        workload: Workload,
        from: String,
        to: String,
    },
    /// A content blob was listed.
    Queued { at: String, item: Item },
    /// All of its documents are kept.
    Stored { at: String, id: String, records: u64 },
    /// It cannot be had.
    Lost { at: String, id: String, reason: String },
    /// A document lacks something of its record.
    Reduced { at: String, id: String, omitted: Vec<String> },
}

/// What is known of a range.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) days: Vec<Day>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) doubts: Vec<(Verdict, String)>,
}

/// How far a content blob is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Waiting,
    Stored(u64),
    Lost(String),
}

/// All of it. One process at a time has it.
pub(crate) struct FeedState {
    documents: DocumentFiles,
    journal: File,
    content: HashMap<String, (Item, Standing)>,
    listed: Vec<(Workload, DateTime<Utc>, DateTime<Utc>)>,
    /// Those that are to be listed.
    workloads: Vec<Workload>,
    /// Ids of documents that lack something of their record.
    reduced: BTreeSet<String>,
}

impl FeedState {
    /// Opens that of a case folder, or begins it. A line that a killed run left unfinished is taken away.
    pub(super) fn open(case: &Path, workloads: &[Workload]) -> Result<Self> {
        let folder = case.join(STATE);
        fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        let path = folder.join(JOURNAL);
        let journal = open_alone(&path, || format!("{} is being collected into by another process", case.display()))?;
        let entries = entries(&journal, &path)?;
        let documents = DocumentFiles::open(&folder)?;
        let workloads = workloads.to_vec();
        let mut state = Self { documents, journal, content: HashMap::new(), listed: Vec::new(), workloads, reduced: BTreeSet::new() };
        entries.into_iter().for_each(|entry| state.take(entry));
        Ok(state)
    }

    fn take(&mut self, entry: Entry) {
        let time = |text: &str| handler::clock::parse_utc(text).unwrap_or_default();
        match entry {
            Entry::Listed { workload, from, to, .. } => self.listed.push((workload, time(&from), time(&to))),
            Entry::Queued { item, .. } => drop(self.content.entry(item.id.clone()).or_insert((item, Standing::Waiting))),
            Entry::Stored { id, records, .. } => self.stand(&id, Standing::Stored(records)),
            Entry::Lost { id, reason, .. } => self.stand(&id, Standing::Lost(reason)),
            Entry::Reduced { id, .. } => drop(self.reduced.insert(id)),
        }
    }

    fn stand(&mut self, id: &str, standing: Standing) {
        if let Some((_, known)) = self.content.get_mut(id) {
            *known = standing;
        }
    }

    /// How many content blobs were ever listed.
    pub(super) fn listed(&self) -> u64 {
        self.content.len() as u64
    }

    /// What is neither stored nor lost, soonest expiry first.
    pub(crate) fn waiting(&self) -> Vec<Item> {
        let waiting = self.content.values().filter(|(_, standing)| *standing == Standing::Waiting);
        let mut waiting: Vec<_> = waiting.map(|(item, _)| item.clone()).collect();
        waiting.sort_by(|one, other| (one.expires, &one.id).cmp(&(other.expires, &other.id)));
        waiting
    }

    /// Notes what a window's listing says: first the content, then that the window is complete.
    pub(super) fn note_listing(
        &mut self,
        workload: Workload,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        items: Vec<Item>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let at = rfc3339(now);
        let new = items.into_iter().filter(|item| !self.content.contains_key(&item.id));
        let queued = new.map(|item| Entry::Queued { at: at.clone(), item }).collect::<Vec<_>>();
        let complete = Entry::Listed { at, workload, from: rfc3339(from), to: rfc3339(to) };
        self.append(queued.into_iter().chain([complete]).collect())
    }

    /// Keeps documents that arrived, each in the file of its partition.
    pub(super) fn keep(&mut self, documents: &[Made], now: DateTime<Utc>) -> Result<()> {
        self.documents.keep(documents)?;
        let reduced = documents.iter().filter_map(|document| {
            let omitted = document.reduced.clone()?;
            Some(Entry::Reduced { at: rfc3339(now), id: document.id.clone(), omitted })
        });
        self.append(reduced.collect())
    }

    /// Notes that all documents of a content blob are kept.
    pub(super) fn note_stored(&mut self, item: &Item, records: u64, now: DateTime<Utc>) -> Result<()> {
        self.append(vec![Entry::Stored { at: rfc3339(now), id: item.id.clone(), records }])
    }

    /// Notes that a content blob cannot be had.
    pub(super) fn note_lost(&mut self, item: &Item, why: &str, code: Option<String>, now: DateTime<Utc>) -> Result<()> {
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        self.append(vec![Entry::Lost { at: rfc3339(now), id: item.id.clone(), reason: format!("{why}{code}") }])
    }

    /// Waits until all that was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.documents.sync()?;
        Ok(self.journal.sync_data()?)
    }

    fn append(&mut self, entries: Vec<Entry>) -> Result<()> {
        let mut lines = Vec::new();
        for entry in &entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        self.journal.write_all(&lines).context("the journal cannot be written")?;
        entries.into_iter().for_each(|entry| self.take(entry));
        Ok(())
    }

    /// What is known to be missing of a range of contentCreated.
    pub(crate) fn account(&self, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Account {
        let is_in_range = |time: DateTime<Utc>| from.is_none_or(|from| from <= time) && to.is_none_or(|to| time < to);
        let mut days: BTreeMap<(String, String), Figures> = BTreeMap::new();
        let mut lost = Vec::new();
        for (item, standing) in self.content.values() {
            let created = item.created.unwrap_or_default();
            if !is_in_range(created) {
                continue;
            }
            let figures = days.entry((item.workload_name().to_owned(), created.format("%Y-%m-%d").to_string())).or_default();
            figures.listed += 1;
            match standing {
                Standing::Waiting => figures.waiting += 1,
                Standing::Stored(_) => figures.stored += 1,
                Standing::Lost(reason) => {
                    figures.lost += 1;
                    lost.push(Lost { id: item.id.clone(), reason: reason.clone() });
                }
            }
        }
        lost.sort();
        let days: Vec<Day> = days.into_iter().map(|((workload, date), figures)| day(&workload, date, figures)).collect();
        Account { days, gaps: self.gaps(from, to), lost, doubts: self.doubts() }
    }

    fn doubts(&self) -> Vec<(Verdict, String)> {
        let reduced = Some(self.reduced.len()).filter(|count| *count > 0);
        let reduced = reduced.map(|count| format!("{count} documents lack something of their record"));
        // Of what was listed once, the gaps say what is missing.
        let never = self.workloads.iter().filter(|workload| self.listed.iter().all(|(listed, ..)| listed != *workload));
        let never = never.map(|workload| format!("{workload} was never listed"));
        reduced.into_iter().chain(never).map(|why| (Verdict::Incomplete, why)).collect()
    }

    /// What of the range no complete listing covers, by workload. Without a range, it is from the first listing to the last.
    fn gaps(&self, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Vec<Gap> {
        let workloads: BTreeSet<_> = self.listed.iter().map(|(workload, ..)| workload.as_str()).collect();
        let earliest = self.listed.iter().map(|(_, start, _)| *start).min();
        let latest = self.listed.iter().map(|(.., end)| *end).max();
        let (Some(start), Some(end)) = (from.or(earliest), to.or(latest)) else { return Vec::new() };
        let mut gaps = Vec::new();
        for workload in workloads {
            let mut windows: Vec<_> =
                self.listed.iter().filter(|(of, ..)| of.as_str() == workload).map(|(_, from, to)| (*from, *to)).collect();
            windows.sort_unstable();
            let mut covered = start;
            for (from, to) in windows.into_iter().chain([(end, end)]) {
                if from.min(end) > covered {
                    gaps.push(Gap {
                        workload: workload.to_owned(),
                        from: rfc3339(covered),
                        to: rfc3339(from.min(end)),
                        reason: "not listed: the feed goes back seven days".to_owned(),
                    });
                }
                covered = covered.max(to);
            }
        }
        gaps
    }
}
