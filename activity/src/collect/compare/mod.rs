//! Holds Microsoft's two ways to the same records against each other: what the feed has and what the audit search has of a range of
//! time that both reach. Killed at any moment, it goes on where it was.

mod tally;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use clap::Args;
use handler::clock::rfc3339;
use handler::store_events::DocumentMaker;
use tokio::task::spawn_blocking;

pub use self::tally::Comparison;
use self::tally::Tally;
use super::audit_search::{AuditSearch, CLOSED_AFTER, Shelf};
use super::case::{MARGIN, SearchArgs, open_services, setting};
use super::documents::DocumentFiles;
use super::feed::{collect_feed, oldest_listable};
use crate::case::filter::instant;
use crate::case::manifest::{Completeness, STATE, Verdict};
use crate::paths::user_state_folder;
use crate::screen::Screen;

/// What is compared, and how it is told.
#[derive(Args, Clone, Debug)]
pub struct CompareOptions {
    /// What happened from this time on, UTC, a day or RFC 3339; if not given, and at the earliest, what the feed still has
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from: Option<DateTime<Utc>>,
    /// What happened before this time; 24 hours ago if not given, since a search of what is younger is not proven
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to: Option<DateTime<Utc>>,
    /// Keep what was collected in this folder, so that a later run asks only for what is new; else it is removed at the end
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Name the ids that only one of them has
    #[arg(long)]
    pub ids: bool,
    /// One JSON object in place of tables
    #[arg(long)]
    pub json: bool,
    /// How a search may ask
    #[command(flatten)]
    pub search: SearchArgs,
}

/// Collects a range by both ways, and compares what came.
///
/// # Errors
///
/// Nothing of the range is reached by both, the settings do not name a tenant, one of its services refuses to be asked at all, or the
/// state cannot be written. What cannot be had is no error: the comparison says so.
pub async fn compare(options: &CompareOptions, screen: &Screen) -> Result<Comparison> {
    ensure!(options.from.zip(options.to).is_none_or(|(from, to)| from < to), "--from is not before --to");
    let (config, services) = open_services().await?;
    let folder = folder(options.out.as_deref(), &config.office365.tenant_id)?;
    let state = folder.join(STATE);
    let shelf = Shelf::files(DocumentFiles::open(&state)?);
    let maker = DocumentMaker::new(Arc::clone(&services), None).await;
    let search = AuditSearch::open(&config, setting, &services.clients, &state, shelf, maker, options.search.limits()).await?;
    let (from, to) = range(options.from, options.to, search.now())?;
    let plan = search.plan(from, to)?;
    screen.part("plan", format_args!("from {} to {}, which both reach: {plan}; asked of {}", rfc3339(from), rfc3339(to), search.root()));
    // What happened in the range may have become available at any time after it.
    let feed = collect_feed(&services, &config, &folder, (Some(from - MARGIN), None), screen).await?;
    let waiting = search.run(&plan, screen).await?;
    let has_all = waiting.is_none() && feed.waiting().is_empty();
    let (ids, erased) = (options.ids, services.clients.state().erased());
    let comparison = spawn_blocking(move || {
        let tally = Tally::of(&state, (from, to), &search.queries(), &erased, ids)?;
        let account = feed.account(Some(from - MARGIN), None);
        let feed = Completeness::judge(account.days, account.gaps, account.lost, account.doubts);
        search.take_reports(tally.reports())?;
        let days = search.days(&plan, tally.reports(), waiting.as_deref());
        let search = Completeness::judge(days, plan.gaps(), Vec::new(), Vec::new());
        anyhow::Ok(tally.finish(&feed, &search))
    })
    .await??;
    if options.out.is_none() && has_all {
        fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    Ok(comparison)
}

/// The part of a range of CreationTime that both reach. The default ends are whole hours, so that a run that was killed finds its windows.
fn range(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>)> {
    let hour = |time: DateTime<Utc>| time.duration_trunc(TimeDelta::hours(1)).unwrap_or(time);
    let oldest = hour(oldest_listable(now) + MARGIN) + TimeDelta::hours(1);
    let from = from.unwrap_or(oldest).max(oldest);
    let to = to.unwrap_or_else(|| hour(now - CLOSED_AFTER)).min(now);
    ensure!(from < to, "both reach nothing of that time: the feed begins at {}, and it is {}", rfc3339(oldest), rfc3339(now));
    Ok((from, to))
}

/// Where the state lies: what is collected are audit records, which are nobody else's to read.
fn folder(out: Option<&Path>, tenant: &str) -> Result<PathBuf> {
    let folder = match out {
        Some(out) => out.to_owned(),
        None => user_state_folder()?.join(format!("compare-{}", tenant.to_lowercase())),
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    Ok(folder)
}

impl Comparison {
    /// 3 where one of them has what the other lacks; else 2 where one of them is not proven to be whole; else 0.
    pub fn exit_code(&self) -> u8 {
        let verdict = self.feed.verdict.max(self.search.verdict);
        match (self.differ(), verdict) {
            (true, _) => 3,
            (false, Verdict::Complete) => 0,
            (false, _) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    #[test]
    fn what_both_reach_begins_where_the_feed_does_and_ends_where_a_search_is_proven() {
        let time = |text: &str| instant(text).unwrap();
        let now = time("2026-11-20T12:34:56Z");
        assert_eq!(range(None, None, now).unwrap(), (time("2026-11-13T14:00:00Z"), time("2026-11-19T12:00:00Z")));
        let asked = range(Some(time("2026-11-15")), Some(time("2026-11-16")), now).unwrap();
        assert_eq!(asked, (time("2026-11-15"), time("2026-11-16")));
        assert_eq!(range(Some(time("2026-01-01")), Some(time("2027-01-01")), now).unwrap(), (time("2026-11-13T14:00:00Z"), now));
        let refused = range(Some(time("2026-01-01")), Some(time("2026-02-01")), now).unwrap_err().to_string();
        assert!(refused.contains("the feed begins at 2026-11-13T14:00:00.000Z"), "{refused}");
    }
}
