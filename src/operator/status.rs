//! `handler status`: how far each workload is, from what the collector has written down, and from nothing else.

use std::{fmt, time::Duration};

use anyhow::{Context, bail};
use azure_core::http::RetryOptions;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::try_join_all;
use serde::Serialize;
use tokio::time::timeout;

use super::paper::{Columns, count, span};
use crate::{
    azure::{Connection, storage::is_not_found},
    clock::{parse_utc, rfc3339},
    config::Config,
    error_text::chain,
    management_api::SKEW,
    state::{Figures, Gap, State, SubscriptionNote, Subscriptions, Sums},
    workload::Workload,
};

/// The time that all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Gaps that were found longer ago are old news.
const RECENT: TimeDelta = TimeDelta::days(7);

/// The progress of the collector.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// Now, by this machine's clock, or by the service's as QueueEvents last heard it if that is later.
    at: String,
    /// When QueueEvents last heard from the service.
    last_run: Option<String>,
    /// True if this machine's clock is behind the service's.
    is_clock_behind: bool,
    workloads: Vec<WorkloadStatus>,
    /// `DLP_VALUES`: drop, hash or keep.
    dlp_values: &'static str,
}

#[derive(Debug, Serialize)]
struct WorkloadStatus {
    workload: Workload,
    standing: Standing,
    /// The reason why it is not Active, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Everything that became available before it is queued.
    checkpoint: Option<String>,
    #[serde(skip)]
    is_unreadable: bool,
    lag_seconds: Option<i64>,
    last_24_hours: Figures,
    last_7_days: Figures,
    oldest_waiting: Option<Oldest>,
    /// Time that could never be listed, found in the last seven days.
    gaps: Vec<Range>,
}

/// The standing of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Standing {
    /// Subscription on, content seen.
    Active,
    /// On, and nothing yet.
    Pending,
    /// Off.
    Inactive,
}

#[derive(Debug, Serialize)]
struct Oldest {
    content_id: String,
    since: String,
    seconds: i64,
}

#[derive(Debug, Serialize)]
struct Range {
    from: String,
    to: String,
}

/// Reads it all.
///
/// # Errors
/// Storage refused or could not be reached.
pub(super) async fn status(config: &Config) -> anyhow::Result<Status> {
    let state = State::new(config, &Connection::new(config, RetryOptions::none())?)?;
    let unread = "the state cannot be read; `handler check` says more";
    let read = timeout(PATIENCE, read(&state, config)).await;
    read.with_context(|| format!("no answer within {} seconds", PATIENCE.as_secs())).context(unread)?.context(unread)
}

async fn read(state: &State, config: &Config) -> anyhow::Result<Status> {
    let (subscriptions, gaps) = futures::try_join!(state.subscriptions(), state.gaps())?;
    let told = subscriptions.as_ref().and_then(|subscriptions| parse_utc(&subscriptions.at));
    let machine = Utc::now();
    // This machine's clock may be behind: what the service told is no later than now.
    let now = told.map_or(machine, |told| told.max(machine));
    let reads = config.workloads.iter().map(|workload| workload_status(state, *workload, subscriptions.as_ref(), &gaps, now));
    // Not asked beforehand: a signature that may read and list may not ask whether the container is there.
    match try_join_all(reads).await {
        Ok(workloads) => Ok(Status {
            at: rfc3339(now),
            last_run: subscriptions.map(|subscriptions| subscriptions.at),
            is_clock_behind: now - machine > SKEW,
            workloads,
            dlp_values: config.documents.dlp_values.as_str(),
        }),
        Err(error) if is_not_found(&error) => {
            bail!("the container that STATE_CONTAINER names is not there: QueueEvents has not run yet, or it is another")
        }
        Err(error) => Err(error.into()),
    }
}

async fn workload_status(
    state: &State,
    workload: Workload,
    subscriptions: Option<&Subscriptions>,
    gaps: &[Gap],
    now: DateTime<Utc>,
) -> azure_core::Result<WorkloadStatus> {
    // Whether it lies in the future is for the service's clock to say, and QueueEvents.
    let (checkpoint, sums) = futures::join!(state.checkpoint(workload, DateTime::<Utc>::MAX_UTC), state.sums(workload, now));
    let (at, trouble) = match checkpoint {
        Ok(checkpoint) => (checkpoint.map(|checkpoint| checkpoint.at), None),
        Err(error) => (None, Some(chain(&error))),
    };
    let sums = sums?;
    let noted = subscriptions.and_then(|subscriptions| subscriptions.subscriptions.get(&workload));
    let (standing, reason) = standing(noted, at.is_some(), &sums);
    let is_recent = |gap: &&Gap| gap.workload == workload && parse_utc(&gap.at).is_none_or(|at| now - at < RECENT);
    Ok(WorkloadStatus {
        workload,
        standing,
        is_unreadable: trouble.is_some(),
        reason: trouble.or(reason),
        checkpoint: at.map(rfc3339),
        lag_seconds: at.map(|at| (now - at).num_seconds().max(0)),
        last_24_hours: sums.day,
        last_7_days: sums.week,
        oldest_waiting: sums.oldest_waiting.map(|waiting| Oldest {
            content_id: waiting.id,
            since: rfc3339(waiting.since),
            seconds: (now - waiting.since).num_seconds(),
        }),
        gaps: gaps.iter().filter(is_recent).map(|gap| Range { from: gap.from.clone(), to: gap.to.clone() }).collect(),
    })
}

/// As QueueEvents last noted it. Without a note the checkpoint tells: it only ever moves where the subscription is on.
fn standing(noted: Option<&SubscriptionNote>, has_checkpoint: bool, sums: &Sums) -> (Standing, Option<String>) {
    let is_on = noted.map_or(has_checkpoint, |noted| noted.on);
    match (is_on, noted) {
        (true, _) if sums.is_seen => (Standing::Active, None),
        (true, _) => (Standing::Pending, None),
        (false, None) => (Standing::Inactive, Some("QueueEvents has not asked for it yet".to_owned())),
        (false, Some(noted)) => (Standing::Inactive, Some(noted.error.clone().unwrap_or_else(|| "the subscription is off".to_owned()))),
    }
}

impl WorkloadStatus {
    fn no_checkpoint(&self) -> &'static str {
        if self.is_unreadable { "unreadable" } else { "none" }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |text: &String| parse_utc(text).zip(parse_utc(&self.at)).map(|(at, now)| span(now - at)).unwrap_or_default();
        match &self.last_run {
            Some(at) => writeln!(f, "QueueEvents last heard from the service {} ago, at {at}.\n", ago(at))?,
            None => writeln!(f, "QueueEvents has not heard from the service yet.\n")?,
        }
        if self.is_clock_behind {
            writeln!(f, "this machine's clock is behind the service's: the times below are of the last run.\n")?;
        }
        let mut table = Columns::default();
        table.row(["", "standing", "checkpoint", "lag"]);
        for workload in &self.workloads {
            table.row([
                workload.workload.to_string(),
                format!("{:?}", workload.standing),
                workload.checkpoint.clone().unwrap_or_else(|| workload.no_checkpoint().to_owned()),
                workload.lag_seconds.map(|seconds| span(TimeDelta::seconds(seconds))).unwrap_or_default(),
            ]);
        }
        write!(f, "{table}")?;
        self.figures(f, "last 24 hours", |workload| workload.last_24_hours)?;
        self.figures(f, "last 7 days", |workload| workload.last_7_days)?;
        self.remarks(f)
    }
}

impl Status {
    fn figures(&self, f: &mut fmt::Formatter<'_>, head: &str, of: impl Fn(&WorkloadStatus) -> Figures) -> fmt::Result {
        let mut table = Columns::default();
        table.row([head, "listed", "stored", "waiting", "lost", "records", "documents", "duplicates"]);
        let mut total = Figures::default();
        let mut row = |name: String, figures: Figures| {
            let Figures { listed, stored, waiting, lost, records, documents, duplicates, .. } = figures;
            let numbers = [listed, stored, waiting, lost, records, documents, duplicates].map(count);
            table.row(std::iter::once(name).chain(numbers));
        };
        for workload in &self.workloads {
            total.add(of(workload));
            row(workload.workload.to_string(), of(workload));
        }
        row("total".to_owned(), total);
        write!(f, "\n{table}")
    }

    /// Writes what a person should look at.
    fn remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oldest = self.workloads.iter().filter_map(|workload| Some((workload.workload, workload.oldest_waiting.as_ref()?)));
        match oldest.max_by_key(|(_, oldest)| oldest.seconds) {
            Some((workload, oldest)) => {
                let waits = span(TimeDelta::seconds(oldest.seconds));
                writeln!(f, "\nOldest waiting: {workload}, for {waits}, since {}: {}", oldest.since, oldest.content_id)?;
            }
            None => writeln!(f, "\nNothing is waiting.")?,
        }
        writeln!(f, "Values that data loss prevention matched: {}.", self.dlp_values)?;
        for WorkloadStatus { workload, reason, gaps, last_7_days, .. } in &self.workloads {
            if let Some(reason) = reason {
                writeln!(f, "{workload}: {reason}")?;
            }
            for Range { from, to } in gaps {
                writeln!(f, "{workload}: gap: what became available from {from} to {to} could not be listed any more")?;
            }
            if last_7_days.left_out > 0 {
                writeln!(f, "{workload}: {} records were left out, as LEAVE_OUT says", count(last_7_days.left_out))?;
            }
            if last_7_days.erased > 0 {
                writeln!(f, "{workload}: {} records were not stored again, since they were erased", count(last_7_days.erased))?;
            }
            if last_7_days.reduced > 0 {
                writeln!(f, "{workload}: {} documents lack something of their record", count(last_7_days.reduced))?;
            }
        }
        Ok(())
    }
}
