//! What the journal says of a range: what was listed, stored, lost, and what still waits; and beside it what searches proved.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use azure_core::http::RetryOptions;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use handler::azure::Connection;
use handler::clock::parse_utc;
use handler::config::Config;
use handler::state::{Figures, HourSums, State};
use handler::workload::Workload;

use super::manifest::{Completeness, Day, Gap, Lost, Verdict};
use crate::collect::audit_search::{Counts, History, Range, Reports};

/// Why a range that begins before it is not covered, for all gaps that were written down.
const GAP: &str = "older than the seven days that the API lists";

/// Searched history, and what the database holds of it.
#[derive(Clone, Copy)]
pub(super) struct Searched<'a> {
    pub(super) history: &'a History,
    pub(super) reports: &'a Reports,
    pub(super) there: &'a Counts,
}

/// Reads the journal of the collector whose settings these are, and judges a range of contentCreated. What the journal does not reach is
/// judged by what searches proved of it, by CreationTime.
///
/// A journal that cannot be read is no failure: the verdict says so.
pub(super) async fn completeness(lookup: impl Fn(&str) -> Option<String>, range: Range, searched: Option<Searched<'_>>) -> Completeness {
    let (from, to) = range;
    let mut account = Account {
        from,
        to,
        history: searched.map(|searched| searched.history),
        days: Vec::new(),
        gaps: Vec::new(),
        lost: Vec::new(),
        doubts: Vec::new(),
    };
    let read = async {
        let (config, state) = collector(lookup)?;
        account.read(&state, &config).await
    };
    if let Err(error) = read.await {
        account.doubt(format!("the journal cannot be read, so nobody knows what is missing: {error:#}"));
    }
    if account.is_searched(from, to) {
        // Whatever the journal lacks, each day of the range has its row.
        account.doubts.clear();
    }
    if let Some(Searched { history, reports, there }) = searched {
        account.days.extend(history.days(range, reports, there));
        account.gaps.extend(history.gaps(range));
    }
    Completeness::judge(account.days, account.gaps, account.lost, account.doubts)
}

/// The settings of a collector, and its state.
pub(crate) fn collector(lookup: impl Fn(&str) -> Option<String>) -> Result<(Config, State)> {
    let config = Config::from_vars(lookup)?;
    let connection = Connection::new(&config, RetryOptions::none())?;
    let state = State::new(&config, &connection).context("the state container")?;
    Ok((config, state))
}

struct Account<'a> {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    history: Option<&'a History>,
    days: Vec<Day>,
    gaps: Vec<Gap>,
    lost: Vec<Lost>,
    doubts: Vec<(Verdict, String)>,
}

impl Account<'_> {
    async fn read(&mut self, state: &State, config: &Config) -> Result<()> {
        let now = Utc::now();
        let retained = now - TimeDelta::from_std(config.documents.retention)?;
        if self.begins_before(retained) {
            self.doubt(format!("the database keeps no documents from before {}", written(retained)));
        }
        let (mut starts, mut journals) = (Vec::new(), Vec::new());
        for workload in &config.workloads {
            let hours = state.hours(*workload, self.from, self.to).await?;
            match state.checkpoint(*workload, now).await {
                Ok(Some(checkpoint)) => {
                    let not_before = checkpoint.sweeps.not_before;
                    if let Some(start) = not_before.filter(|start| self.begins_before(*start)) {
                        self.doubt(format!("{workload} is listed only from {}", written(start)));
                    }
                    starts.extend(not_before);
                    if self.to.is_some_and(|to| to > checkpoint.at && !self.is_content_searched(checkpoint.at, to)) {
                        self.doubt(format!("{workload} is listed only until {}", written(checkpoint.at)));
                    }
                }
                Ok(None) => self.doubt(format!("{workload} was never listed")),
                Err(error) => self.doubt(format!("{workload}: {error}")),
            }
            journals.extend(state.hours(*workload, None, None).await?.first().map(|sums| sums.hour));
            self.add(*workload, hours);
        }
        match journal_start(starts, journals) {
            None => self.doubt("the journal is empty".to_owned()),
            Some(start) if self.begins_before(start) => self.doubt(format!("the journal begins at {}", written(start))),
            Some(_) => {}
        }
        for gap in state.gaps().await? {
            let is_in_range = self.from.is_none_or(|from| gap.to > written(from)) && self.to.is_none_or(|to| gap.from < written(to));
            let is_searched = parse_utc(&gap.from).zip(parse_utc(&gap.to)).is_some_and(|(from, to)| self.is_content_searched(from, to));
            if is_in_range && !is_searched {
                self.gaps.push(Gap { workload: gap.workload.to_string(), from: gap.from, to: gap.to, reason: GAP.to_owned() });
            }
        }
        Ok(())
    }

    /// True if the range begins before a time, and no search covers what lies between.
    fn begins_before(&self, time: DateTime<Utc>) -> bool {
        self.from.is_some_and(|from| from < time) && !self.is_searched(self.from, Some(time))
    }

    fn is_searched(&self, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> bool {
        self.history.zip(from.zip(to)).is_some_and(|(history, (from, to))| history.covers(from, to))
    }

    fn is_content_searched(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.history.is_some_and(|history| history.covers_content(from, to))
    }

    fn doubt(&mut self, why: String) {
        self.doubts.push((Verdict::Incomplete, why));
    }

    fn add(&mut self, workload: Workload, hours: Vec<HourSums>) {
        let mut days: BTreeMap<String, Figures> = BTreeMap::new();
        for HourSums { hour, figures, lost } in hours {
            days.entry(hour.format("%Y-%m-%d").to_string()).or_default().add(figures);
            self.lost.extend(lost.into_iter().map(|(id, reason)| Lost { id, reason }));
        }
        self.days.extend(days.into_iter().map(|(day, figures)| self::day(workload.as_str(), day, figures)));
    }
}

/// The time from which the journal tells all: its first hour, or the start that was chosen if the first content came within a day of
/// it. Further on, hours that nothing came in cannot be told from hours whose journal was deleted.
fn journal_start(chosen: Vec<DateTime<Utc>>, journals: Vec<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let first = journals.into_iter().min()?;
    let is_near = |start: &DateTime<Utc>| *start <= first && first - *start < TimeDelta::days(1);
    Some(chosen.into_iter().filter(is_near).min().unwrap_or(first))
}

/// A row of the manifest.
pub(crate) fn day(workload: &str, day: String, figures: Figures) -> Day {
    let Figures { listed, stored, lost, reduced, waiting, .. } = figures;
    Day { workload: workload.to_owned(), day, listed, stored, lost, reduced, waiting, verdict: None, why: None }
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    #[test]
    fn the_journal_tells_all_from_the_chosen_start_only_if_content_came_soon_after() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let first = at("2026-11-20T11:00:00Z");
        assert_eq!(journal_start(vec![at("2026-11-20T10:00:00Z")], vec![first]), Some(at("2026-11-20T10:00:00Z")));
        assert_eq!(journal_start(vec![at("2026-11-10T10:00:00Z")], vec![first]), Some(first));
        assert_eq!(journal_start(Vec::new(), vec![first, at("2026-11-20T09:00:00Z")]), Some(at("2026-11-20T09:00:00Z")));
        assert_eq!(journal_start(vec![first], Vec::new()), None);
    }
}
