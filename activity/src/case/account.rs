//! What the journal says of a range: what was listed, stored, lost, and what still waits.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use azure_core::http::RetryOptions;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use handler::azure::Connection;
use handler::config::Config;
use handler::state::{Figures, HourSums, State};
use handler::workload::Workload;

use super::manifest::{Completeness, Day, Gap, Lost, Verdict};

/// Why a range that begins before it is not covered, for all gaps that were written down.
const GAP: &str = "older than the seven days that the API lists";

/// Reads the journal of the collector whose settings these are, and judges a range of contentCreated.
///
/// A journal that cannot be read is no failure: the verdict says so.
pub(super) async fn completeness(
    lookup: impl Fn(&str) -> Option<String>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Completeness {
    let read = async {
        let (config, state) = collector(lookup)?;
        let mut account = Account { from, to, days: Vec::new(), gaps: Vec::new(), lost: Vec::new(), doubts: Vec::new() };
        account.read(&state, &config).await?;
        anyhow::Ok(account)
    };
    match read.await {
        Ok(account) => Completeness::judge(account.days, account.gaps, account.lost, account.doubts),
        Err(error) => {
            let why = format!("the journal cannot be read, so nobody knows what is missing: {error:#}");
            Completeness::judge(Vec::new(), Vec::new(), Vec::new(), vec![(Verdict::Incomplete, why)])
        }
    }
}

/// The settings of a collector, and its state.
pub(crate) fn collector(lookup: impl Fn(&str) -> Option<String>) -> Result<(Config, State)> {
    let config = Config::from_vars(lookup)?;
    let connection = Connection::new(&config, RetryOptions::none())?;
    let state = State::new(&config, &connection).context("the state container")?;
    Ok((config, state))
}

struct Account {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    days: Vec<Day>,
    gaps: Vec<Gap>,
    lost: Vec<Lost>,
    doubts: Vec<(Verdict, String)>,
}

impl Account {
    async fn read(&mut self, state: &State, config: &Config) -> Result<()> {
        let now = Utc::now();
        let retained = now - TimeDelta::from_std(config.documents.retention)?;
        if self.from.is_some_and(|from| from < retained) {
            self.doubt(format!("the database keeps no documents from before {}", written(retained)));
        }
        let (mut starts, mut journals) = (Vec::new(), Vec::new());
        for workload in &config.workloads {
            let hours = state.hours(*workload, self.from, self.to).await?;
            match state.checkpoint(*workload, now).await {
                Ok(Some(checkpoint)) => {
                    let not_before = checkpoint.sweeps.not_before;
                    if let (Some(from), Some(start)) = (self.from, not_before)
                        && from < start
                    {
                        self.doubt(format!("{workload} is listed only from {}", written(start)));
                    }
                    starts.extend(not_before);
                    if self.to.is_some_and(|to| to > checkpoint.at) {
                        self.doubt(format!("{workload} is listed only until {}", written(checkpoint.at)));
                    }
                }
                Ok(None) => self.doubt(format!("{workload} was never listed")),
                Err(error) => self.doubt(format!("{workload}: {error}")),
            }
            journals.extend(state.hours(*workload, None, None).await?.first().map(|sums| sums.hour));
            self.add(*workload, hours);
        }
        match (self.from, journal_start(starts, journals)) {
            (_, None) => self.doubt("the journal is empty".to_owned()),
            (Some(from), Some(start)) if from < start => self.doubt(format!("the journal begins at {}", written(start))),
            _ => {}
        }
        for gap in state.gaps().await? {
            if self.from.is_none_or(|from| gap.to > written(from)) && self.to.is_none_or(|to| gap.from < written(to)) {
                self.gaps.push(Gap { workload: gap.workload.to_string(), from: gap.from, to: gap.to, reason: GAP.to_owned() });
            }
        }
        Ok(())
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
