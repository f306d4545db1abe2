//! Fills the collector's database with history: what the audit search has of a range, in the documents that the feed would have made.
//! Killed at any moment, it goes on where it was.

use std::env;
use std::fmt::{self, Display, Formatter};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use azure_core::http::RetryOptions;
use azure_data_cosmos::clients::ContainerClient;
use azure_identity::DeveloperToolsCredential;
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use handler::azure::Connection;
use handler::config::Config;
use handler::document::digest_of;
use handler::services::Services;
use handler::store_events::DocumentMaker;
use tempfile::NamedTempFile;

use super::audit_search::{AuditSearch, Plan, REPORT, Reports, Shelf, note_report};
use super::case::{SearchArgs, read_state};
use super::sign_in::services_over;
use crate::case::filter::instant;
use crate::case::manifest::{Completeness, STATE};
use crate::explore::database::DatabaseOptions;
use crate::explore::documents::{count, of_container, of_partition, partitions};
use crate::screen::Screen;
use crate::text_table::Count;

/// Request units of creating a document under the index policy of `infra/`, by the estimate of docs/DEPLOY.md.
const UNITS_A_DOCUMENT: u64 = 14;
/// The days before today by which it is judged how many documents a day has.
const JUDGED_BY: i64 = 7;
/// Partitions that are looked into at a time.
const LOOKS: usize = 8;
/// Partitions of a day that are looked into.
const LOOKS_A_DAY: usize = 2;
/// With an identity that the platform gives, that one is taken and no person's.
const MANAGED: &str = "IDENTITY_ENDPOINT";

/// What is filled in, and how.
#[derive(Args, Clone, Debug)]
pub struct BackfillOptions {
    /// From this time on, UTC, a day or RFC 3339: when it happened
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from: DateTime<Utc>,
    /// Before this time; now if not given
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to: Option<DateTime<Utc>>,
    /// Days that the documents stay, counted from now; RETENTION_DAYS if not given
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=24_855))]
    pub keep_days: Option<u32>,
    /// Request units a second that writing may take, 400 at least; as many as the database gives if not given
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(400..))]
    pub pace: Option<u32>,
    /// The folder of the plan and of what is proven; one that was begun is gone on with
    #[arg(long, value_name = "DIR", default_value = "history")]
    pub out: PathBuf,
    /// How a search may ask
    #[command(flatten)]
    pub search: SearchArgs,
    /// Which database
    #[command(flatten)]
    pub database: DatabaseOptions,
}

/// What came of it.
#[derive(Debug)]
pub struct Backfilled {
    /// Of the days of the range.
    pub completeness: Completeness,
    /// Request units that this run was charged for writing.
    pub request_units: f64,
}

/// Fills the range in, as far as the tenant takes queries.
///
/// # Errors
///
/// The settings are not whole, the database or the state cannot be read, stored documents are spread over another number of partitions,
/// the token lacks the permission, or something cannot be written. What was stored and proven until then stays.
pub async fn backfill(options: &BackfillOptions, screen: &Screen) -> Result<Backfilled> {
    let database = options.database.or_kept()?;
    let lookup = database.settings()?;
    let config = Config::from_vars(&lookup)?;
    let container = database.open().await?;
    let stored = partitions(&container).await?;
    let to = options.to.unwrap_or_else(Utc::now);
    ensure!(options.from < to, "--from is not before --to");
    ensure!(options.from < Utc::now(), "--from is not in the past");
    check_partitions(&container, &stored, config.documents.partitions_per_day, (options.from, to)).await?;

    let services = Arc::new(services(&config, options.pace)?);
    read_state(&services).await?;
    let keep = match options.keep_days {
        Some(days) => TimeDelta::days(i64::from(days)),
        None => TimeDelta::from_std(config.documents.retention)?,
    };
    let maker = DocumentMaker::new(Arc::clone(&services), Some(keep)).await;
    let shelf = Shelf::database(Arc::clone(&services));
    let state = options.out.join(STATE);
    let search = AuditSearch::open(&config, &lookup, &services.clients, &state, shelf, maker, options.search.limits()).await?;

    let plan = search.plan(options.from, options.to.unwrap_or_else(|| search.now()))?;
    screen.part("plan", format_args!("{plan}; asked of {}; documents stay {} days from now", search.root(), keep.num_days()));
    screen.part("cost", Cost { documents: expected(&container, &stored, &plan).await?, pace: options.pace });

    let ran = search.run(&plan, screen).await;
    // What was proven until then is told in any case.
    let reports = if ran.is_ok() { reports(&container, &search).await? } else { Reports::new() };
    search.take_reports(&reports)?;
    write_lines(&options.out, &search.lines(&reports)?)?;
    let waiting = ran?;
    let days = search.days(&plan, &reports, waiting.as_deref());
    let completeness = Completeness::judge(days, plan.gaps(), Vec::new(), Vec::new());
    Ok(Backfilled { completeness, request_units: services.storing.database().request_units() })
}

/// Where no key opens database or storage, the person at the keyboard does.
fn services(config: &Config, pace: Option<u32>) -> Result<Services> {
    let connection = Connection::new(config, RetryOptions::default())?;
    let needs_identity = config.cosmos.key.is_none() || config.storage.needs_identity();
    let connection = if needs_identity && env::var_os(MANAGED).is_none() {
        let person = DeveloperToolsCredential::new(None).context("neither keys for database and storage nor `az login` are there")?;
        connection.with_identity(person)
    } else {
        connection
    };
    let mut services = services_over(config, &connection)?;
    if let Some(pace) = pace {
        services.storing.set_pace(pace);
    }
    Ok(services)
}

/// Refuses where stored documents lie elsewhere than this number of partitions would put them: each of their records would be stored once
/// more. Looks at the days of the range, and at the last two that are stored, which are the collector's own.
async fn check_partitions(
    container: &ContainerClient,
    stored: &[String],
    partitions_per_day: u8,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<()> {
    let (first, last) = (from.format("%Y-%m-%d").to_string(), to.format("%Y-%m-%d").to_string());
    let days = by_day(stored);
    let latest = days.len().saturating_sub(2);
    let asked = days.iter().enumerate().filter(|(at, (day, _))| *at >= latest || (first.as_str() <= *day && *day <= last.as_str()));
    let asked: Vec<_> = asked.map(|(_, (_, partitions))| partitions.as_slice()).collect();
    let beyond = asked.iter().filter_map(|partitions| partitions.iter().find(|(_, number)| *number >= u32::from(partitions_per_day)));
    let mut others: Vec<_> = beyond.map(|(name, _)| (*name).to_owned()).collect();
    if others.is_empty() {
        let looks = asked.iter().flat_map(|partitions| partitions.iter().rev().take(LOOKS_A_DAY));
        let looks: Vec<_> = looks.map(|(name, number)| misplaced(container, name, *number, partitions_per_day)).collect();
        let mut looks = stream::iter(looks).buffer_unordered(LOOKS);
        while let Some(look) = looks.try_next().await? {
            others.extend(look);
        }
    }
    others.sort_unstable();
    let Some(other) = others.first() else { return Ok(()) };
    anyhow::bail!(
        "documents of the partition {other} are not where PARTITIONS_PER_DAY={partitions_per_day} puts them, and each of their records would be \
         stored once more: set PARTITIONS_PER_DAY as the collector has it, or had it then"
    )
}

/// Partitions of each day, with their numbers, in order.
fn by_day(stored: &[String]) -> Vec<(&str, Vec<(&str, u32)>)> {
    let mut days: Vec<(&str, Vec<(&str, u32)>)> = Vec::new();
    for name in stored {
        let Some((day, number)) = name.rsplit_once('-').and_then(|(day, number)| Some((day, number.parse().ok()?))) else { continue };
        // Not a day: records whose time cannot be read.
        if day.len() != "2026-11-20".len() {
            continue;
        }
        match days.last_mut().filter(|(last, _)| *last == day) {
            Some((_, partitions)) => partitions.push((name, number)),
            None => days.push((day, vec![(name, number)])),
        }
    }
    days.iter_mut().for_each(|(_, partitions)| partitions.sort_by_key(|(_, number)| *number));
    days
}

/// The partition's name, if a document of it would be put elsewhere.
async fn misplaced(container: &ContainerClient, partition: &str, number: u32, partitions_per_day: u8) -> Result<Option<String>> {
    let mut documents = of_partition(container, partition, "SELECT TOP 20 c.id FROM c").await?;
    while let Some(document) = documents.try_next().await? {
        if u32::from(digest_of(document.text("id"))[0] % partitions_per_day) != number {
            return Ok(Some(partition.to_owned()));
        }
    }
    Ok(None)
}

/// How many documents the days that are still to be asked may have, judged by those that are stored of the last whole days; none where
/// there are none.
async fn expected(container: &ContainerClient, stored: &[String], plan: &Plan) -> Result<Option<u64>> {
    let today = Utc::now().date_naive();
    let is_judged_by =
        |day: &str| day.parse::<chrono::NaiveDate>().is_ok_and(|day| today - TimeDelta::days(JUDGED_BY) <= day && day < today);
    let days: Vec<_> = by_day(stored).into_iter().filter(|(day, _)| is_judged_by(day)).collect();
    let counts: Vec<_> = days.iter().flat_map(|(_, partitions)| partitions).map(|(name, _)| count(container, name)).collect();
    let documents: u64 = stream::iter(counts).buffer_unordered(LOOKS).try_fold(0, |sum, count| async move { Ok(sum + count) }).await?;
    Ok((documents > 0).then(|| documents * plan.queries() as u64 / days.len() as u64))
}

/// What writing takes, told before anything is asked.
struct Cost {
    documents: Option<u64>,
    pace: Option<u32>,
}

impl Display for Cost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let documents = self.documents.unwrap_or(1_000_000);
        let units = documents * UNITS_A_DOCUMENT;
        match self.documents {
            Some(_) => write!(f, "about {} documents, judged by those that are stored of the last {JUDGED_BY} days: ", Count(documents))?,
            None => write!(f, "nobody knows how many documents it comes to; of each {}: ", Count(documents))?,
        }
        write!(f, "some {} request units, {UNITS_A_DOCUMENT} each by the estimate of docs/DEPLOY.md", Count(units))?;
        match self.pace.map(|pace| (pace, units as f64 / f64::from(pace) / 3600.0)) {
            Some((pace, hours)) if hours < 1.0 => write!(f, "; at {pace} a second less than an hour"),
            Some((pace, hours)) => write!(f, "; at {pace} a second {hours:.1} hours"),
            None => f.write_str("; as fast as the database takes them, which the collector feels too: --pace sets a limit"),
        }
    }
}

/// What the queries of this folder say of themselves, as far as it is in the database.
async fn reports(container: &ContainerClient, search: &AuditSearch) -> Result<Reports> {
    let queries = search.queries();
    let sql = format!("SELECT c.Operation, c.SearchJobId, c.ResultsCount FROM c WHERE c.Operation = '{REPORT}'");
    let mut documents = of_container(container, sql).await?;
    let mut reports = Reports::new();
    while let Some(document) = documents.try_next().await? {
        note_report(&mut reports, &queries, &document);
    }
    Ok(reports)
}

/// Writes `windows.ndjson`, at once or not at all.
fn write_lines(folder: &Path, lines: &[String]) -> Result<()> {
    let path = folder.join("windows.ndjson");
    let write = || {
        let mut file = NamedTempFile::new_in(folder)?;
        lines.iter().try_for_each(|line| writeln!(file, "{line}"))?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_sorted_by_day_and_number_and_what_is_none_is_passed_over() {
        let stored =
            ["2026-11-20-0", "2026-11-20-1", "2026-11-20-10", "2026-11-20-2", "2026-11-21-0", "check", "unknown-0"].map(str::to_owned);
        let days = by_day(&stored);
        assert_eq!(days.iter().map(|(day, _)| *day).collect::<Vec<_>>(), ["2026-11-20", "2026-11-21"]);
        assert_eq!(days[0].1.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [0, 1, 2, 10]);
    }

    #[test]
    fn the_cost_is_told_with_and_without_documents_to_judge_by() {
        let cost = |documents, pace| Cost { documents, pace }.to_string();
        assert!(cost(Some(10_000), Some(400)).contains("some 140,000 request units"), "{}", cost(Some(10_000), Some(400)));
        assert!(cost(Some(10_285_714), Some(400)).ends_with("at 400 a second 100.0 hours"), "{}", cost(Some(10_285_714), Some(400)));
        assert!(cost(None, None).contains("of each 1,000,000: some 14,000,000"), "{}", cost(None, None));
    }
}
