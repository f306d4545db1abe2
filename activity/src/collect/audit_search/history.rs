//! Searched history as a folder tells it, for an export out of the database that it went into: which days it covers, what is proven of
//! them, and whether what was proven is still in the database.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::gap;
use super::ledger::Known;
use super::proof::{self, Reports};
use super::search::CLOSED_AFTER;
use super::window::{Range, Window};
use crate::case::manifest::{Day, Gap, STATE, Verdict};

/// Why a day has no verdict, where nobody is at it.
const NOBODY: &str = ": run the command of this folder again";

/// What is known of a folder's searches.
pub(crate) struct History {
    known: Known,
    /// That any run planned, in order, none of them within another.
    windows: Vec<Window>,
    out_of_reach: Vec<Window>,
}

/// Documents of each day in the database, by their partition key: `2026-11-20`, …, `unknown`.
pub(crate) type Counts = BTreeMap<String, u64>;

impl History {
    /// Reads the folder of `backfill` or `collect`.
    ///
    /// # Errors
    /// Nothing was searched into this folder, or its ledger cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        Ok(Self::of(Known::read(&folder.join(STATE))?))
    }

    fn of(known: Known) -> Self {
        let planned = known.plans().iter().flat_map(|plan| &plan.windows).chain(known.windows().map(|(window, _)| window));
        let windows = outermost(planned.copied().collect());
        let out_of_reach =
            known.plans().iter().flat_map(|plan| plan.out_of_reach.iter().copied()).flat_map(|window| Window::days(window.from, window.to));
        let out_of_reach = outermost(out_of_reach.filter(|day| !windows.iter().any(|window| window.holds(*day))).collect());
        Self { known, windows, out_of_reach }
    }

    /// Ids of its queries.
    pub(crate) fn queries(&self) -> HashSet<String> {
        self.known.queries()
    }

    /// True if every moment from one time to another was planned to be searched, so that the rows of its days tell what is missing.
    pub(crate) fn covers(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let mut covered = from;
        let mut windows: Vec<_> = self.windows.iter().chain(&self.out_of_reach).collect();
        windows.sort_unstable();
        for window in windows {
            if window.from <= covered {
                covered = covered.max(window.to);
            }
        }
        covered >= to
    }

    /// The same for what became available in this time: it may have happened a day before.
    pub(crate) fn covers_content(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.covers(from - CLOSED_AFTER, to)
    }

    /// A row for each of its days in a range, held against what the database holds.
    pub(crate) fn days(&self, range: Range, reports: &Reports, there: &Counts) -> Vec<Day> {
        let windows: Vec<_> = self.windows.iter().copied().filter(|window| window.touches(range)).collect();
        let mut days = proof::days(&self.known, &windows, &self.out_of_reach, reports, NOBODY);
        for (day, window) in days.iter_mut().zip(&windows) {
            if let Some(why) = self.missing(*window, there) {
                (day.verdict, day.why) = (Some(Verdict::Incomplete), Some(why));
            }
        }
        days
    }

    /// What no query reached, of a range.
    pub(crate) fn gaps(&self, range: Range) -> Vec<Gap> {
        self.out_of_reach.iter().filter(|window| window.touches(range)).map(|window| gap(*window)).collect()
    }

    /// A line for each window that was asked.
    ///
    /// # Errors
    /// None that can occur.
    pub(crate) fn lines(&self, reports: &Reports) -> Result<Vec<String>> {
        proof::lines(&self.known, reports)
    }

    /// Fewer documents than records were proven: deleted, expired, or never in this database.
    fn missing(&self, window: Window, there: &Counts) -> Option<String> {
        let day = |day: &str| there.get(day).copied().unwrap_or_default();
        let expected: u64 = proof::ends(&self.known, window).iter().map(|end| end.records.saturating_sub(end.left_out + end.erased)).sum();
        // A record whose time cannot be read is in none of the days.
        let there = day(&window.day()) + day("unknown");
        (there < expected).then(|| format!("{expected} records were found, and the database holds {there} documents of that day"))
    }
}

/// Windows that lie in none of the others, in order, each once.
fn outermost(mut windows: Vec<Window>) -> Vec<Window> {
    windows.sort_unstable_by_key(|window| (window.from, std::cmp::Reverse(window.to)));
    let mut outermost: Vec<Window> = Vec::new();
    for window in windows {
        if !outermost.last().is_some_and(|last| last.holds(window)) {
            outermost.push(window);
        }
    }
    outermost
}
