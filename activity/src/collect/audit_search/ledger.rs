//! What was planned and asked, and what came of it, in `.state` of a folder: one file that is only appended to, and that a killed run
//! goes on from. A query is written down before it is made, and its id right after.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::window::Window;
use super::wire::Counts;
use crate::case::manifest::Verdict;
use crate::collect::lines::{entries, finished_entries, open_alone};

const LEDGER: &str = "searches.ndjson";

/// What a run was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Planned {
    pub(super) at: DateTime<Utc>,
    pub(super) tenant: String,
    /// The database that the documents go to; none: files in the same folder.
    pub(super) database: Option<String>,
    /// Days that are asked, or were proven before.
    pub(super) windows: Vec<Window>,
    /// Days that no query reaches.
    pub(super) out_of_reach: Vec<Window>,
}

/// A line of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Entry {
    /// A run begins.
    Planned(Planned),
    /// A query of this name is about to be made.
    Intended { at: DateTime<Utc>, window: Window, name: String },
    /// It was made.
    Made { window: Window, name: String, id: String, made: DateTime<Utc>, root: String, echoed: Option<Window>, is_echo_right: bool },
    /// A status that it was seen in.
    Seen { window: Window, id: String, at: DateTime<Utc>, status: String },
    /// Its counts, once it had ended, and the times that it says it was asked for.
    Counted {
        window: Window,
        id: String,
        counts: Counts,
        #[serde(default)]
        echoed: Option<Window>,
    },
    /// Its pages were read to the last.
    Read { window: Window, id: String, pass: Pass },
    /// Nothing more is expected of it.
    GivenUp { window: Window, name: String, why: String },
    /// The window is asked in two halves.
    Halved { window: Window, why: String, is_for_loss: bool },
    /// The window ended.
    Ended { window: Window, end: End },
    /// It ended without a record, and its query's own record in the audit log counts some: it is to be asked again.
    Contradicted { window: Window },
}

/// One reading of a query's pages, from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pass {
    pub(super) pages: u64,
    pub(super) rows: u64,
    /// Different records among them, of those that are in the window.
    pub(super) ids: u64,
    /// The same for the same records, in whatever order they came: the sum of the halves of the SHA-256 of their ids.
    pub(super) digest: String,
    /// It had every record that any reading of the window had.
    pub(super) is_whole: bool,
}

/// How a window ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct End {
    pub(super) at: DateTime<Utc>,
    pub(super) verdict: Verdict,
    pub(super) why: String,
    /// A later run need not ask again: it could not learn more.
    pub(super) is_final: bool,
    /// Different records that were found.
    pub(super) records: u64,
    /// Documents that were kept of them, less those that were there.
    pub(super) documents: u64,
    pub(super) duplicates: u64,
    pub(super) left_out: u64,
    pub(super) erased: u64,
    /// Documents that lack something of their record.
    pub(super) reduced: u64,
    /// Documents that the database does not take.
    #[serde(default)]
    pub(super) refused: u64,
    pub(super) findings: Vec<String>,
}

/// A query of a window.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryLine {
    pub(super) display_name: String,
    #[serde(skip)]
    pub(super) intended: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<String>,
    pub(super) asked: Window,
    pub(super) echoed: Option<Window>,
    #[serde(skip)]
    pub(super) is_echo_right: bool,
    pub(super) states: Vec<(DateTime<Utc>, String)>,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) passes: Vec<Pass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) given_up: Option<String>,
}

/// All that is known of a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) queries: Vec<QueryLine>,
    /// Why it was halved; and whether for a query that was lost.
    pub(super) halved: Option<(String, bool)>,
    pub(super) end: Option<End>,
}

/// All of it. One process at a time has it.
pub(super) struct Ledger {
    path: PathBuf,
    file: File,
    known: Known,
}

/// What a ledger says.
#[derive(Debug, Default)]
pub(super) struct Known {
    plans: Vec<Planned>,
    windows: BTreeMap<Window, Standing>,
}

impl Ledger {
    /// Opens that of a state folder, or begins it.
    pub(super) fn open(state: &Path) -> Result<Self> {
        fs::create_dir_all(state).with_context(|| format!("the folder {} cannot be made", state.display()))?;
        let path = state.join(LEDGER);
        let file = open_alone(&path, || format!("{} is being worked on by another process", state.display()))?;
        let known = Known::of(entries(&file, &path)?);
        Ok(Self { path, file, known })
    }

    /// Refuses where documents of this folder go elsewhere, or are another tenant's: what is proven for one is not there for the other.
    pub(super) fn check(&self, tenant: &str, database: Option<&str>) -> Result<()> {
        let shown = |database: Option<&str>| database.map_or_else(|| "files".to_owned(), |database| format!("the database {database}"));
        let Some(last) = self.known.plans.last() else {
            // Before plans were written down, there were files alone.
            ensure!(
                database.is_none() || self.known.windows.is_empty(),
                "{} holds history in files: choose another folder",
                self.path.display()
            );
            return Ok(());
        };
        ensure!(
            last.database.as_deref() == database,
            "{} is of history that goes into {}, and not into {}: choose another folder",
            self.path.display(),
            shown(last.database.as_deref()),
            shown(database)
        );
        ensure!(last.tenant == tenant, "{} is of the tenant {}: choose another folder", self.path.display(), last.tenant);
        Ok(())
    }

    /// What it says.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// Writes a line. That a query will be made is on the disk when this returns; of all else a machine that fails costs work done
    /// twice, and no more.
    pub(super) fn note(&mut self, entry: Entry) -> Result<()> {
        let line = serde_json::to_string(&entry)? + "\n";
        let is_intent = matches!(entry, Entry::Intended { .. } | Entry::Planned(_));
        let written = self.file.write_all(line.as_bytes()).and_then(|()| if is_intent { self.file.sync_data() } else { Ok(()) });
        written.with_context(|| format!("{} cannot be written", self.path.display()))?;
        self.known.take(entry);
        Ok(())
    }
}

impl Known {
    /// Reads the ledger of a state folder, which another process may be writing at this moment.
    pub(super) fn read(state: &Path) -> Result<Self> {
        let path = state.join(LEDGER);
        let file = File::open(&path)
            .with_context(|| format!("{} cannot be read: a folder of `backfill` or `collect --source search` is meant", path.display()))?;
        Ok(Self::of(finished_entries(&file, &path)?))
    }

    fn of(entries: Vec<Entry>) -> Self {
        let mut known = Self::default();
        entries.into_iter().for_each(|entry| known.take(entry));
        known
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Planned(planned) => self.plans.push(planned),
            Entry::Intended { at, window, name } => {
                let standing = self.windows.entry(window).or_default();
                // A new query: what was before it does not hold any more.
                standing.end = None;
                standing.queries.push(QueryLine {
                    display_name: name,
                    intended: at,
                    query_id: None,
                    made: None,
                    root: None,
                    asked: window.asked(),
                    echoed: None,
                    is_echo_right: true,
                    states: Vec::new(),
                    counts: Counts::default(),
                    passes: Vec::new(),
                    given_up: None,
                });
            }
            Entry::Made { window, name, id, made, root, echoed, is_echo_right } => {
                if let Some(query) = self.query(window, |query| query.display_name == name) {
                    (query.query_id, query.made, query.root) = (Some(id), Some(made), Some(root));
                    (query.echoed, query.is_echo_right) = (echoed, is_echo_right);
                }
            }
            Entry::Seen { window, id, at, status } => {
                self.query(window, is(&id)).into_iter().for_each(|query| query.states.push((at, status.clone())));
            }
            Entry::Counted { window, id, counts, echoed } => {
                if let Some(query) = self.query(window, is(&id)) {
                    query.counts = counts;
                    query.echoed = echoed.or(query.echoed);
                }
            }
            Entry::Read { window, id, pass } => {
                if let Some(query) = self.query(window, is(&id)) {
                    query.passes.push(pass);
                }
            }
            Entry::GivenUp { window, name, why } => {
                if let Some(query) = self.query(window, |query| query.display_name == name) {
                    query.given_up = Some(why);
                }
            }
            Entry::Halved { window, why, is_for_loss } => self.windows.entry(window).or_default().halved = Some((why, is_for_loss)),
            Entry::Ended { window, end } => self.windows.entry(window).or_default().end = Some(end),
            Entry::Contradicted { window } => {
                if let Some(end) = &mut self.windows.entry(window).or_default().end {
                    end.is_final = false;
                }
            }
        }
    }

    fn query(&mut self, window: Window, is: impl Fn(&QueryLine) -> bool) -> Option<&mut QueryLine> {
        self.windows.get_mut(&window)?.queries.iter_mut().rev().find(|query| is(query))
    }

    /// What runs were asked for, in their order.
    pub(super) fn plans(&self) -> &[Planned] {
        &self.plans
    }

    /// What is known of a window.
    pub(super) fn standing(&self, window: Window) -> Standing {
        self.windows.get(&window).cloned().unwrap_or_default()
    }

    /// Every window that was asked, in order.
    pub(super) fn windows(&self) -> impl Iterator<Item = (&Window, &Standing)> {
        self.windows.iter()
    }

    /// Ids of the queries that were made.
    pub(super) fn queries(&self) -> HashSet<String> {
        self.windows.values().flat_map(|standing| standing.queries.iter().filter_map(|query| query.query_id.clone())).collect()
    }

    /// True if a window that holds this one ended so that it need not be asked again, or each of its halves did.
    pub(super) fn covers(&self, window: Window) -> bool {
        let is_final = |standing: &Standing| standing.end.as_ref().is_some_and(|end| end.is_final);
        let halves = window.halves().filter(|_| self.windows.get(&window).is_some_and(|standing| standing.halved.is_some()));
        self.windows.iter().any(|(other, standing)| other.holds(window) && is_final(standing))
            || halves.is_some_and(|halves| halves.into_iter().all(|half| self.covers(half)))
    }

    /// The longest window that ends with this one and need not be asked again.
    pub(super) fn covered_end(&self, window: Window) -> Option<Window> {
        let ends_with_it = |other: &&Window| window.holds(**other) && other.to == window.to;
        self.windows.keys().filter(ends_with_it).find(|other| self.covers(**other)).copied()
    }
}

fn is(id: &str) -> impl Fn(&QueryLine) -> bool + use<'_> {
    move |query| query.query_id.as_deref() == Some(id)
}

impl Standing {
    /// The last query, if something is still expected of it.
    pub(super) fn open_query(&self) -> Option<&QueryLine> {
        self.queries.last().filter(|query| query.given_up.is_none() && self.end.is_none())
    }
}
