//! The report of storms over history: by fault, how the windows that met it ended, and what is missing of them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use chrono::{DateTime, NaiveDate, Utc};

use crate::case::manifest::Verdict;
use crate::text_table::{Count, TextTable};

/// How a window ended.
#[derive(Debug)]
pub(super) struct WindowEnd {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    /// When its last query was made.
    pub(super) made: DateTime<Utc>,
    pub(super) verdict: Verdict,
    pub(super) why: String,
    /// Records that its last query could have found, and that are not among the documents.
    pub(super) missing: BTreeSet<String>,
    /// Its line holds the proof.
    pub(super) is_proven: bool,
}

/// How a day ended, by the manifest.
#[derive(Debug)]
pub(super) struct DayEnd {
    pub(super) day: String,
    pub(super) verdict: Option<Verdict>,
    pub(super) why: String,
    pub(super) has_records: bool,
    /// As of a window.
    pub(super) missing: BTreeSet<String>,
}

/// What came of one seed.
#[derive(Debug, Default)]
pub(super) struct SeedReport {
    pub(super) seed: u64,
    pub(super) has_faults: bool,
    /// What the queries of each day met.
    pub(super) faults: BTreeMap<NaiveDate, BTreeSet<&'static str>>,
    pub(super) windows: Vec<WindowEnd>,
    /// Queries that the tenant saw, that the command counted, and that it was allowed.
    pub(super) submissions: usize,
    pub(super) counted: usize,
    pub(super) max_submissions: usize,
    pub(super) records: usize,
    /// Where what is there is not what was promised.
    pub(super) differences: Vec<String>,
}

impl SeedReport {
    /// Holds what came against what was promised.
    pub(super) fn judge(&mut self) {
        let Self { seed, submissions, counted, max_submissions, .. } = *self;
        let broken = self.windows.iter().filter(|window| window.is_broken()).map(|window| format!("seed {seed}: {window}"));
        self.differences.extend(broken);
        if submissions > max_submissions {
            self.differences.push(format!("seed {seed}: {submissions} queries were made, and {max_submissions} may be"));
        }
        if submissions > counted {
            self.differences.push(format!("seed {seed}: {submissions} queries were made, and {counted} were counted"));
        }
    }

    /// No day is complete that lacks a record, and without faults each that has records is.
    pub(super) fn judge_days(&mut self, days: &[DayEnd]) {
        let Self { seed, has_faults, .. } = *self;
        let is_broken = |day: &&DayEnd| match day.verdict {
            Some(Verdict::Complete) => !day.missing.is_empty(),
            _ => !has_faults && day.has_records,
        };
        let broken = days.iter().filter(is_broken).map(|day| {
            let DayEnd { day, verdict, why, missing, .. } = day;
            format!(
                "seed {seed}: the day {day} is {} ({why}), and lacks {missing:?}",
                verdict.map_or_else(String::new, |it| it.to_string())
            )
        });
        self.differences.extend(broken);
    }

    /// The same for the next run, which no fault disturbs: it leaves nothing incomplete.
    pub(super) fn judge_next_run(&mut self, windows: &[WindowEnd]) {
        let seed = self.seed;
        let broken = windows.iter().filter(|window| window.is_broken() || window.verdict == Verdict::Incomplete);
        self.differences.extend(broken.map(|window| format!("seed {seed}, in the next run: {window}")));
    }
}

impl WindowEnd {
    /// Complete without its records or without its proof, or another verdict that does not say why, or not why records may be missing.
    fn is_broken(&self) -> bool {
        let has_all = self.missing.is_empty();
        match self.verdict {
            Verdict::Complete => !has_all || !self.is_proven,
            Verdict::Unproven => {
                let may_lack = ["no record was found", "does not say whether it cut"];
                self.why.is_empty() || !(has_all || may_lack.iter().any(|reason| self.why.contains(reason)))
            }
            Verdict::Incomplete => self.why.is_empty(),
        }
    }
}

impl Display for WindowEnd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { from, to, verdict, why, missing, is_proven, .. } = self;
        let proof = if *is_proven { "with" } else { "without" };
        write!(f, "{from} to {to} is {verdict} ({why}) {proof} a proof in its line, and lacks {missing:?}")
    }
}

/// A line of the table.
#[derive(Clone, Debug, Default)]
struct Row {
    seeds: BTreeSet<u64>,
    windows: u64,
    complete: u64,
    unproven: u64,
    incomplete: u64,
    missing: u64,
}

impl Row {
    fn add(&mut self, seed: u64, window: &WindowEnd) {
        self.seeds.insert(seed);
        self.windows += 1;
        self.missing += window.missing.len() as u64;
        match window.verdict {
            Verdict::Complete => self.complete += 1,
            Verdict::Unproven => self.unproven += 1,
            Verdict::Incomplete => self.incomplete += 1,
        }
    }

    fn cells(&self, name: &str) -> [String; 7] {
        let [seeds, windows, complete, unproven, incomplete, missing] =
            [self.seeds.len() as u64, self.windows, self.complete, self.unproven, self.incomplete, self.missing]
                .map(|count| Count(count).to_string());
        [name.to_owned(), seeds, windows, complete, unproven, incomplete, missing]
    }
}

/// What came of the storms of some seeds.
#[derive(Clone, Debug, Default)]
pub struct HistoryStormReport {
    by_fault: BTreeMap<&'static str, Row>,
    /// Of days that met no fault of their own.
    others: Row,
    without_faults: Row,
    all: Row,
    records: u64,
    submissions: u64,
    /// Where what is there is not what was promised, first things first.
    pub differences: Vec<String>,
}

impl HistoryStormReport {
    pub(super) fn add(&mut self, report: &SeedReport) {
        self.records += report.records as u64;
        self.submissions += report.submissions as u64;
        self.differences.extend(report.differences.iter().cloned());
        for window in &report.windows {
            self.all.add(report.seed, window);
            let faults = report.faults.get(&window.from.date_naive());
            match faults.filter(|faults| !faults.is_empty()) {
                _ if !report.has_faults => self.without_faults.add(report.seed, window),
                None => self.others.add(report.seed, window),
                Some(faults) => faults.iter().for_each(|fault| self.by_fault.entry(*fault).or_default().add(report.seed, window)),
            }
        }
    }

    /// Whether everything promised was kept.
    pub fn is_kept(&self) -> bool {
        self.differences.is_empty()
    }
}

impl Display for HistoryStormReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table =
            TextTable::new(["fault that the day met", "seeds", "windows", "complete", "unproven", "incomplete", "records missing"]);
        let named = self.by_fault.iter().map(|(name, row)| (*name, row));
        let others = [("none of its own", &self.others), ("storm without faults", &self.without_faults), ("all windows", &self.all)];
        named.chain(others).filter(|(_, row)| row.windows > 0).for_each(|(name, row)| table.row(row.cells(name)));
        writeln!(f, "{table}")?;
        let (records, queries) = (Count(self.records), Count(self.submissions));
        writeln!(f, "A day can meet several faults at once. {queries} queries were made, {records} records found.")?;
        match self.differences.len() {
            0 => f.write_str(
                "No window is called complete that lacks its proof or a record which its query could find; each other says why, and the next \
                 run leaves none incomplete.",
            ),
            count => write!(f, "{count} times what is there is not what was promised."),
        }
    }
}
