//! Collects a tenant's content straight into a case on this machine: by the feed what the feed still has, by the audit search what is
//! older. Killed at any moment, it goes on where it was.

use std::collections::HashSet;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use handler::config::Config;
use handler::document::{Digest, digest_of};
use handler::own_rows;
use handler::services::Services;
use handler::store_events::DocumentMaker;
use serde::Serialize;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::audit_search::{AuditSearch, Limits, Pauses, Plan, Range, Reports, Shelf, UNREAD, next_day, note_report};
use super::documents::DocumentFiles;
use super::feed::{Account, FeedState, collect_feed, oldest_listable};
use super::lines::hold;
use super::sign_in;
use crate::case::filter::{Filter, instant};
use crate::case::forms::FormOptions;
use crate::case::manifest::{Completeness, Manifest, STATE};
use crate::case::writing::CaseWriter;
use crate::keep::STORAGE;
use crate::screen::Screen;

/// Settings of the handler that no collecting to files needs, and that its settings are not whole without.
const NOT_ASKED: [(&str, &str); 3] =
    [(STORAGE, "UseDevelopmentStorage=true"), ("COSMOS_ENDPOINT", "https://localhost:1/"), ("COSMOS_KEY", "bm9uZQ==")];

/// The feed is asked from so long after the oldest that it lists; what is older is the search's.
pub(super) const MARGIN: TimeDelta = TimeDelta::hours(1);

/// What is collected, and where to.
#[derive(Args, Clone, Debug)]
pub struct CaseOptions {
    /// From this time on, UTC, a day or RFC 3339: of the feed when the content became available, of a search when it happened; seven
    /// days ago if not given
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from: Option<DateTime<Utc>>,
    /// Before this time; now if not given
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to: Option<DateTime<Utc>>,
    /// Where from: the feed what it still has and the search what is older, if not given
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<Source>,
    /// How a search may ask
    #[command(flatten)]
    pub search: SearchArgs,
    /// The folder of the case; one that was begun is gone on with
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// In which forms
    #[command(flatten)]
    pub forms: FormOptions,
    /// SSH key that the manifest is signed with, by ssh-keygen
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
}

/// How a search may ask.
#[derive(Args, Clone, Copy, Debug)]
pub struct SearchArgs {
    /// Days back that the tenant's licences let a search reach; beyond 180 a day stays unproven
    #[arg(long, value_name = "DAYS", default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..=3653))]
    pub reach_days: u32,
    /// Searches that may be made in 24 hours; the tenant's floor is 200
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub max_searches: u32,
    /// Divides all pauses, for a simulated tenant whose clock is pushed
    #[arg(long, value_name = "N", default_value_t = 1, hide = true)]
    pub hurry: u32,
}

impl SearchArgs {
    /// The same for the search.
    pub(crate) fn limits(self) -> Limits {
        Limits {
            reach_days: self.reach_days,
            max_submissions: self.max_searches as usize,
            pauses: if self.hurry > 1 { Pauses::shortened(self.hurry) } else { Pauses::REAL },
        }
    }
}

/// A way to the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Activity API: seven days
    Feed,
    /// Graph's audit log queries: half a year or more
    Search,
    /// Both, each as far as it reaches
    Both,
}

/// What each way is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Ranges {
    feed: Option<Range>,
    search: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Ranges {
    fn new(source: Option<Source>, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<Self> {
        ensure!(from.zip(to).is_none_or(|(from, to)| from < to), "--from is not before --to");
        ensure!(from.is_none_or(|from| from < now), "--from is not in the past");
        // The edge of what can be listed moves on until its turn comes, and must not become a gap.
        let (oldest, end) = (oldest_listable(now) + MARGIN, to.unwrap_or(now));
        let since = || from.context("a search needs --from");
        Ok(match source {
            Some(Source::Feed) => Self { feed: Some((from, to)), search: None },
            Some(Source::Search) => Self { feed: None, search: Some((since()?, end)) },
            Some(Source::Both) => Self { feed: Some((from.map(|from| from.max(oldest)), to)), search: Some((since()?, end)) },
            None => match from.filter(|from| *from < oldest) {
                None => Self { feed: Some((from, to)), search: None },
                // To the end of the day in which the feed begins: what happened that day and became available before is not in it.
                Some(from) => Self { feed: (oldest < end).then_some((Some(oldest), to)), search: Some((from, end.min(next_day(oldest)))) },
            },
        })
    }
}

/// Collects, and writes the case anew from all that was collected so far.
///
/// # Errors
///
/// The settings do not name a tenant, its service refuses to be asked at all, or the folder cannot be written. What cannot be had is no
/// error: the manifest says so.
pub async fn collect_case(options: &CaseOptions, screen: &Screen) -> Result<Manifest> {
    let (config, services) = open_services().await?;
    let ranges = |now| Ranges::new(options.source, options.from, options.to, now);
    let state = options.out.join(STATE);
    // Feed and search each have a file of their own, but the documents are one's.
    let _alone = hold(&state)?;
    let (search, ranges) = match ranges(Utc::now())? {
        by_machine @ Ranges { search: None, .. } => (None, by_machine),
        _ => {
            let shelf = Shelf::files(DocumentFiles::open(&state)?);
            let maker = DocumentMaker::new(Arc::clone(&services), None).await;
            let search = AuditSearch::open(&config, setting, &services.clients, &state, shelf, maker, options.search.limits()).await?;
            // Now the service has told its time, by which it decides what it still has.
            let by_service = ranges(search.now())?;
            (Some(search), by_service)
        }
    };
    let search = match search.zip(ranges.search) {
        None => None,
        Some((search, (from, to))) => {
            let plan = search.plan(from, to)?;
            screen.part("plan", format_args!("{plan}; asked of {}", search.root()));
            Some((search, plan))
        }
    };
    let feed = match ranges.feed {
        None => None,
        Some(range) => Some((collect_feed(&services, &config, &options.out, range, screen).await?, range)),
    };
    let mut waiting = None;
    if let Some((search, plan)) = &search {
        waiting = search.run(plan, screen).await?;
    }
    let (options, erased) = (options.clone(), services.clients.state().erased());
    spawn_blocking(move || write_case(&options, feed, search, waiting.as_deref(), &erased)).await?
}

/// The settings and what works by them, once it is known what was erased on request.
pub(super) async fn open_services() -> Result<(Config, Arc<Services>)> {
    let config = Config::from_vars(setting)?;
    let services = Arc::new(sign_in::services(&config)?);
    if has_state() {
        read_state(&services).await?;
    } else {
        services.storing.ask_built_in_rules().await;
    }
    Ok((config, services))
}

/// Reads what the collector's state says of documents: which were erased on request, and the administrator's own rows.
pub(super) async fn read_state(services: &Services) -> Result<()> {
    services.clients.state().read_erased().await.context(UNREAD)?;
    own_rows::read(services).await.context("the administrator's own rows of edges cannot be read")
}

/// Writes the case from all that was collected so far, as far as it is in the range.
fn write_case(
    options: &CaseOptions,
    feed: Option<(FeedState, Range)>,
    search: Option<(AuditSearch, Plan)>,
    waiting: Option<&str>,
    erased: &HashSet<Digest>,
) -> Result<Manifest> {
    let mut case = CaseWriter::begin(&options.out, &options.forms)?;
    let filter = Filter { from: options.from, to: options.to, ..Filter::default() };
    let queries = search.as_ref().map(|(search, _)| search.queries()).unwrap_or_default();
    let mut reports = Reports::new();
    DocumentFiles::open(&options.out.join(STATE))?.each(|document| {
        note_report(&mut reports, &queries, document);
        // An earlier run may have collected what was erased since.
        let is_kept = filter.keeps(document) && !erased.contains(&digest_of(document.text("id")));
        if is_kept { case.write(document).context("the case cannot be written") } else { Ok(()) }
    })?;
    let mut account = match feed {
        Some((feed, (from, to))) => feed.account(from, to),
        None => Account::default(),
    };
    if let Some((search, plan)) = &search {
        search.take_reports(&reports)?;
        account.days.extend(search.days(plan, &reports, waiting));
        account.gaps.extend(plan.gaps());
        case.add_lines("windows.ndjson", &search.lines(&reports)?).context("the case cannot be written")?;
    }
    let source = options.source.unwrap_or(if search.is_some() { Source::Both } else { Source::Feed });
    let asked = json!({ "command": "collect", "source": source, "as": options.forms.forms, "from": options.from, "to": options.to });
    let completeness = Completeness::judge(account.days, account.gaps, account.lost, account.doubts);
    case.finish(asked, completeness, options.sign.as_deref())
}

/// Whether the settings name a collector's state: then its word on what was erased holds here too.
fn has_state() -> bool {
    env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(STORAGE))
}

/// The environment, with something in place of what is not asked for.
pub(super) fn setting(name: &str) -> Option<String> {
    let not_asked = NOT_ASKED.iter().filter(|(known, _)| *known != STORAGE || !has_state());
    let not_asked = not_asked.into_iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    not_asked.or_else(|| env::var(name).ok())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    #[test]
    fn the_feed_gives_what_it_still_has_and_the_search_what_is_older() {
        let time = |text: &str| instant(text).unwrap();
        let now = time("2026-11-20T12:00:00Z");
        let ranges = |source, from: Option<&str>, to: Option<&str>| Ranges::new(source, from.map(time), to.map(time), now);
        let oldest = oldest_listable(now) + MARGIN;
        assert_eq!(ranges(None, None, None).unwrap(), Ranges { feed: Some((None, None)), search: None });
        let recent = ranges(None, Some("2026-11-18"), None).unwrap();
        assert_eq!(recent, Ranges { feed: Some((Some(time("2026-11-18")), None)), search: None });
        let both = ranges(None, Some("2026-06-01"), None).unwrap();
        assert_eq!(both, Ranges { feed: Some((Some(oldest), None)), search: Some((time("2026-06-01"), time("2026-11-14"))) });
        let old = ranges(None, Some("2026-06-01"), Some("2026-07-01")).unwrap();
        assert_eq!(old, Ranges { feed: None, search: Some((time("2026-06-01"), time("2026-07-01"))) });
        assert!(ranges(Some(Source::Search), None, None).is_err());
        assert!(ranges(None, Some("2026-11-19"), Some("2026-11-18")).is_err());
        assert!(ranges(None, Some("2026-11-21"), None).is_err());
    }
}
