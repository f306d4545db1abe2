//! QueueEvents: for each workload, lists what became available, queues what the journal does not know, and only then moves
//! the checkpoint. Fetching content is the other function's work.

mod subscriptions;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    time::Duration,
};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

pub use self::window::tile;
use self::window::{Plan, Sweeping, oldest_listable, plan, still_listable};
use crate::{
    batch::Item,
    clock::rfc3339,
    error_text::chain,
    failure::Failure,
    limits::{Deadline, OVERDUE},
    log::counted,
    management_api::{self, ActivityError, LISTABLE, Window},
    services::{Clients, ListingSettings},
    state::{Checkpoint, CheckpointError, Line, Shard, Standing, Sweeps, hour_of},
    workload::Workload,
};

/// Nothing of a window is queued before its last page. So a listing that takes longer than this part of a run is given up, and the
/// window is halved: each run of even the largest tenant comes further.
const LISTINGS_A_RUN: u32 = 10;
/// Messages between two appends to the journal: what a crash makes the next run send again.
const MESSAGES_A_JOURNALLING: usize = 32;
/// Journal hours read or appended side by side.
const JOURNAL_HOURS: usize = 8;
/// Where the time of the last deep sweep is not known, this long ago is taken for it.
const UNKNOWN_SWEEP: TimeDelta = TimeDelta::days(3);
/// Hours beyond what can be listed that a deep sweep looks through, at most.
const MAX_PAST_HOURS: i64 = 31 * 24;
/// Upper bounds of the lateness histogram, in minutes, as the log names them.
const LATE_BY: [(&str, i64); 6] = [("10m", 10), ("1h", 60), ("2h", 120), ("6h", 360), ("26h", 1560), ("7d", i64::MAX)];

/// Counts of a run, for the log line.
#[derive(Debug, Default, Serialize)]
pub struct RunReport {
    /// One entry a workload.
    pub workloads: Vec<WorkloadReport>,
}

impl fmt::Display for RunReport {
    /// For a person who looks at one invocation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |count: fn(&WorkloadReport) -> usize| self.workloads.iter().map(count).sum::<usize>();
        let (workloads, blobs) = (counted(self.workloads.len(), "workload"), counted(sum(|entry| entry.listed), "content blob"));
        let (queued, messages) = (sum(|entry| entry.queued), counted(sum(|entry| entry.messages), "message"));
        write!(f, "{workloads}: {blobs} listed, {queued} queued in {messages}")
    }
}

/// Counts of a run for one workload.
#[derive(Debug, Serialize)]
pub struct WorkloadReport {
    /// The content type.
    pub workload: Workload,
    /// The end of it.
    pub outcome: Outcome,
    /// Windows listed to their last page.
    pub windows: usize,
    /// Pages of those listings.
    pub pages: usize,
    /// Content blobs listed.
    pub listed: usize,
    /// Content blobs queued, those queued again included.
    pub queued: usize,
    /// Messages they went in.
    pub messages: usize,
    /// Content blobs queued again because they were queued long ago and not finished.
    pub overdue: usize,
    /// Content blobs that turned up in time that was listed before.
    pub late: usize,
    /// Their lateness: counts by upper bound of (first seen minus contentCreated).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub late_by: BTreeMap<&'static str, usize>,
    /// The checkpoint that was found; none at the first run.
    pub checkpoint_before: Option<String>,
    /// The checkpoint that was left.
    pub checkpoint_after: Option<String>,
    /// Now minus the checkpoint.
    pub lag_seconds: Option<i64>,
}

impl WorkloadReport {
    /// Before anything was done.
    #[must_use]
    pub fn new(workload: Workload) -> Self {
        Self {
            workload,
            outcome: Outcome::Complete,
            windows: 0,
            pages: 0,
            listed: 0,
            queued: 0,
            messages: 0,
            overdue: 0,
            late: 0,
            late_by: BTreeMap::new(),
            checkpoint_before: None,
            checkpoint_after: None,
            lag_seconds: None,
        }
    }
}

/// The end of a workload's part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every window was listed and all of it queued.
    Complete,
    /// Another run was first; nothing is missing.
    Conflict,
    /// Time ran out; the next run goes on from here.
    Deadline,
    /// Something failed; the reason is in the log.
    Failed,
}

/// Runs all workloads side by side. If one fails, the others go on.
///
/// # Errors
/// [`Failure::Workloads`] when any workload failed, after the others have run; the report is of all of them.
/// [`Failure::Unreached`] when the service has not answered this process yet.
pub async fn run(clients: &Clients, listing: &ListingSettings, deadline: Deadline) -> (RunReport, Result<(), Failure>) {
    let prepared = timeout_at(deadline.work, prepare(clients, listing)).await.unwrap_or(Err(Failure::OutOfTime));
    if prepared.is_err() {
        return (RunReport { workloads: Vec::new() }, prepared);
    }
    let runs: Vec<_> = listing.workloads.iter().map(|workload| WorkloadRun::new(clients, listing, *workload).run(deadline)).collect();
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    for (report, result) in join_all(runs).await {
        if let Err(error) = result {
            failures.push((report.workload, error));
        }
        reports.push(report);
    }
    let result = if failures.is_empty() { Ok(()) } else { Err(Failure::Workloads(failures)) };
    (RunReport { workloads: reports }, result)
}

async fn prepare(clients: &Clients, listing: &ListingSettings) -> Result<(), Failure> {
    clients.outbox.ensure_storage().await.map_err(Failure::Storage)?;
    subscriptions::keep_on(clients, &listing.workloads).await
}

/// The result of listing a window.
enum Listed {
    /// All of it is queued: what could still be listed of the window.
    Whole(Window),
    /// It is too much for one listing. Each half is a window of its own, so that the checkpoint moves after the first.
    InHalves(Window, Window),
}

/// One workload's part of a run.
struct WorkloadRun<'a> {
    clients: &'a Clients,
    listing: &'a ListingSettings,
    workload: Workload,
    report: WorkloadReport,
    /// The checkpoint as last read or written.
    checkpoint: Option<Checkpoint>,
    /// W at the start of the run: what is found before it is late.
    known_until: DateTime<Utc>,
    /// The sweep that is due, and how far it got.
    sweeping: Option<Sweeping>,
    /// Failures so far; the first is returned.
    failures: Vec<anyhow::Error>,
}

impl<'a> WorkloadRun<'a> {
    fn new(clients: &'a Clients, listing: &'a ListingSettings, workload: Workload) -> Self {
        let report = WorkloadReport::new(workload);
        Self {
            clients,
            listing,
            workload,
            report,
            checkpoint: None,
            known_until: DateTime::UNIX_EPOCH,
            sweeping: None,
            failures: Vec::new(),
        }
    }

    async fn run(mut self, deadline: Deadline) -> (WorkloadReport, anyhow::Result<()>) {
        let ended = match timeout_at(deadline.end, self.collect(deadline.work)).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(workload = %self.workload, "time ran out before it could be noted how far this run came");
                self.first_failure().map(|()| Outcome::Deadline)
            }
        };
        let (outcome, result) = match ended {
            Ok(outcome) => (outcome, Ok(())),
            Err(error) if is_conflict(&error) => {
                tracing::info!(workload = %self.workload, "another run moved the checkpoint first; this one stops");
                (Outcome::Conflict, Ok(()))
            }
            Err(error) => (Outcome::Failed, Err(error)),
        };
        self.report.outcome = outcome;
        if let Some(checkpoint) = &self.checkpoint {
            self.report.checkpoint_after = Some(rfc3339(checkpoint.at));
            self.report.lag_seconds = Some((self.clients.clock.now() - checkpoint.at).num_seconds());
        }
        (self.report, result)
    }

    /// Lists every window of the plan. If one fails, the others are listed all the same, and the checkpoint moves unless the
    /// failed window stands in its way. Only listing and queueing are cut off by time: if the write of a checkpoint were cut
    /// off, it might have been carried out, and the next write would take it for another run's.
    async fn collect(&mut self, until: Instant) -> anyhow::Result<Outcome> {
        let now = self.clients.clock.now();
        let Plan { windows, sweeping, sweeps } = self.start(now).await?;
        self.sweeping = sweeping;
        let longest = until.saturating_duration_since(Instant::now()) / LISTINGS_A_RUN;
        let mut windows: VecDeque<_> = windows.into();
        while let Some(window) = windows.pop_front() {
            match timeout_at(until, self.list_and_queue(window, longest)).await {
                Ok(Ok(Listed::Whole(listed))) => {
                    self.move_checkpoint(listed).await?;
                    self.sweeping = self.sweeping.map(|sweeping| sweeping.past(window));
                }
                Ok(Ok(Listed::InHalves(first, second))) => {
                    windows.push_front(second);
                    windows.push_front(first);
                }
                Ok(Err(error)) => {
                    let is_away = is_connection(&error);
                    self.failures.push(error);
                    if is_away {
                        // The other windows would be tried to their end as well, and all of the run be waiting.
                        return self.fail().await;
                    }
                }
                Err(_) => return self.run_out_of_time().await,
            }
        }
        if sweeping.is_some_and(|sweeping| sweeping.is_deep) {
            match timeout_at(until, self.give_up_what_is_past(now)).await {
                Ok(given_up) => self.failures.extend(given_up.err()),
                Err(_) => return self.run_out_of_time().await,
            }
        }
        if !self.failures.is_empty() {
            return self.fail().await;
        }
        self.note_sweeps(sweeps).await?;
        Ok(Outcome::Complete)
    }

    /// Begins a sweep that was under way anew, and returns the first failure.
    async fn fail(&mut self) -> anyhow::Result<Outcome> {
        let anew = self.note_sweeps(self.sweeps().begun_anew()).await;
        self.failures.extend(anew.err());
        self.first_failure().map(|()| Outcome::Complete)
    }

    /// Returns the first failure, and logs those that follow it: they tend to be the same.
    fn first_failure(&mut self) -> anyhow::Result<()> {
        let mut failures = std::mem::take(&mut self.failures).into_iter();
        let first = failures.next();
        for error in failures {
            tracing::warn!(workload = %self.workload, error = %chain(error.as_ref()), "a further failure");
        }
        first.map_or(Ok(()), Err)
    }

    /// Reads the checkpoint and plans from it; time that can no longer be listed is written down as a gap.
    async fn start(&mut self, now: DateTime<Utc>) -> anyhow::Result<Plan> {
        self.checkpoint = self.clients.state.checkpoint(self.workload, now).await?;
        self.report.checkpoint_before = self.checkpoint.as_ref().map(|checkpoint| rfc3339(checkpoint.at));
        let oldest = oldest_listable(now);
        self.known_until = match self.checkpoint.as_ref().map(|checkpoint| checkpoint.at) {
            None => oldest.max(now - self.listing.lookback),
            Some(at) if at >= oldest => at,
            Some(at) => {
                self.clients.activity.ask_time().await?;
                tracing::error!(workload = %self.workload, from = rfc3339(at), to = rfc3339(oldest),
                    "gap: content of this time can no longer be listed and is lost");
                self.clients.state.append_gap(self.workload, at, oldest, now).await?;
                // Moved at once, so that the same gap is not written down again.
                self.write_checkpoint(oldest, self.sweeps()).await?;
                oldest
            }
        };
        Ok(plan(self.known_until, self.sweeps(), now))
    }

    /// Lists one window to its end and queues what is new in it.
    async fn list_and_queue(&mut self, window: Window, longest: Duration) -> anyhow::Result<Listed> {
        let now = self.clients.clock.now();
        let listable = still_listable(window, now);
        if listable.start >= listable.end {
            return Ok(Listed::Whole(listable));
        }
        match (self.clients.activity.list(self.workload, listable, Some(longest)).await, window.halves()) {
            (Err(ActivityError::TooLarge { .. }), Some((first, second))) => Ok(Listed::InHalves(first, second)),
            (listing, _) => {
                self.queue_new(listing?, now).await?;
                Ok(Listed::Whole(listable))
            }
        }
    }

    /// Queues what the journal does not know, and what it has as queued long ago.
    async fn queue_new(&mut self, listing: management_api::Listing, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.report.windows += 1;
        self.report.pages += listing.pages;
        self.report.listed += listing.blobs.len();

        let start = self.sweeps().not_before;
        let listed = listing.blobs.iter().filter(|blob| start.is_none_or(|start| blob.content_created >= start));
        let blobs: HashMap<&str, _> = listed.map(|blob| (blob.content_id.as_str(), blob)).collect();
        let hours = blobs.values().map(|blob| hour_of(blob.content_created)).collect();
        let journal = self.journal(hours).await?;
        let (mut new, mut overdue) = (Vec::new(), Vec::new());
        for blob in blobs.into_values() {
            match journal.get(&hour_of(blob.content_created)).and_then(|shard| shard.standing(&blob.content_id)) {
                Some(Standing::Stored | Standing::Lost) => {}
                Some(Standing::Queued(at)) if now - at < OVERDUE || now > blob.content_expiration => {}
                Some(Standing::Queued(at)) => overdue.push((at, blob)),
                None => {
                    self.count_late(blob.content_created, now);
                    new.push(Item::listed(self.workload, blob, self.clients.activity.tenant_id()));
                }
            }
        }
        if !overdue.is_empty() {
            let oldest_waiting = self.clients.outbox.oldest_waiting().await?;
            overdue.retain(|(at, _)| !may_wait(*at, oldest_waiting));
            self.report.overdue += overdue.len();
            new.extend(overdue.into_iter().map(|(_, blob)| Item::listed(self.workload, blob, self.clients.activity.tenant_id())));
        }
        self.queue(new).await
    }

    /// The journal's hours that a listing touches.
    async fn journal(&self, hours: BTreeSet<DateTime<Utc>>) -> anyhow::Result<HashMap<DateTime<Utc>, Shard>> {
        let reads: Vec<_> = hours.into_iter().map(|hour| self.journal_hour(hour)).collect();
        Ok(stream::iter(reads).buffer_unordered(JOURNAL_HOURS).try_collect().await?)
    }

    async fn journal_hour(&self, hour: DateTime<Utc>) -> azure_core::Result<(DateTime<Utc>, Shard)> {
        Ok((hour, self.clients.state.journal(self.workload.as_str(), hour).await?))
    }

    fn count_late(&mut self, created: DateTime<Utc>, now: DateTime<Utc>) {
        // At the first run there is nothing yet to be late for.
        if created >= self.known_until || self.report.checkpoint_before.is_none() {
            return;
        }
        let minutes = (now - created).num_minutes();
        let bucket = LATE_BY.iter().find(|(_, most)| minutes <= *most).map_or("7d", |(name, _)| name);
        self.report.late += 1;
        *self.report.late_by.entry(bucket).or_default() += 1;
    }

    /// Sends everything; what the queue acknowledged is journalled even where a later message fails.
    async fn queue(&mut self, items: Vec<Item>) -> anyhow::Result<()> {
        let batches = self.clients.outbox.pack(items, self.listing.batch_size).await?;
        let messages: Vec<_> = batches.into_iter().map(|batch| (batch, Duration::ZERO)).collect();
        for messages in messages.chunks(MESSAGES_A_JOURNALLING) {
            self.clients.outbox.ensure_journal(messages.iter().flat_map(|(items, _)| items)).await?;
            let sent = self.clients.outbox.send(messages, |_| true).await;
            self.report.messages += sent.messages;
            self.report.queued += sent.items;
            sent.journalled?;
            sent.taken.context("the content queue did not take a message")?;
        }
        Ok(())
    }

    /// Gives up what was queued, was never stored, and is now too old to be listed and queued again. What may still wait on the queue is
    /// not given up; if a message is still about all the same, it is tried.
    async fn give_up_what_is_past(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.clients.activity.ask_time().await?;
        let newest = hour_of(now - LISTABLE) - TimeDelta::hours(1);
        // What was past at the last deep sweep was looked through then.
        let unseen = now - self.sweeps().deep_sweep.unwrap_or(now - UNKNOWN_SWEEP);
        let hours = (0..(unseen.num_hours() + 2).clamp(1, MAX_PAST_HOURS)).map(|hours| newest - TimeDelta::hours(hours)).collect();
        let mut oldest_waiting = None;
        for (hour, shard) in self.journal(hours).await? {
            let past: Vec<_> = shard.queued_before(now - OVERDUE).collect();
            if past.is_empty() {
                continue;
            }
            if oldest_waiting.is_none() {
                oldest_waiting = Some(self.clients.outbox.oldest_waiting().await?);
            }
            let given_up = past.into_iter().filter(|(_, at)| !may_wait(*at, oldest_waiting.flatten()));
            let lines: Vec<Line> = given_up
                .map(|(id, _)| self.clients.outbox.lost(self.workload.as_str(), id, "never stored, and too old to be listed again"))
                .collect();
            if !lines.is_empty() {
                self.clients.state.append(self.workload.as_str(), hour, &lines).await?;
            }
        }
        Ok(())
    }

    /// Moves W to the end of a complete window that begins at or before W and ends after it; else leaves it.
    async fn move_checkpoint(&mut self, window: Window) -> anyhow::Result<()> {
        let at = self.checkpoint.as_ref().map_or(self.known_until, |checkpoint| checkpoint.at);
        if window.start > at || window.end <= at {
            return Ok(());
        }
        self.write_checkpoint(window.end, self.sweeps()).await
    }

    /// Writes the sweeps' times, and leaves the checkpoint's own where it is.
    async fn note_sweeps(&mut self, sweeps: Sweeps) -> anyhow::Result<()> {
        match self.checkpoint.as_ref().map(|checkpoint| checkpoint.at) {
            Some(at) if self.sweeps() != sweeps => self.write_checkpoint(at, sweeps).await,
            _ => Ok(()),
        }
    }

    /// If time runs out, the next run continues the sweep. If a window failed, the next run starts it again; otherwise one bad
    /// window would block all later ones.
    async fn run_out_of_time(&mut self) -> anyhow::Result<Outcome> {
        tracing::warn!(workload = %self.workload, "time ran out; the next run goes on from here");
        if !self.failures.is_empty() {
            return self.fail().await;
        }
        if let Some(sweeping) = self.sweeping {
            self.note_sweeps(sweeping.note(self.sweeps())).await?;
        }
        Ok(Outcome::Deadline)
    }

    /// Only while the service's time is certain.
    async fn write_checkpoint(&mut self, to: DateTime<Utc>, sweeps: Sweeps) -> anyhow::Result<()> {
        self.clients.activity.ask_time().await?;
        let from = self.checkpoint.clone();
        self.checkpoint = Some(self.clients.state.move_checkpoint(self.workload, from, to, sweeps).await?);
        Ok(())
    }

    /// At a first run, what is chosen is where it starts.
    fn sweeps(&self) -> Sweeps {
        let first = Sweeps { not_before: Some(self.known_until), ..Sweeps::default() };
        self.checkpoint.as_ref().map_or(first, |checkpoint| checkpoint.sweeps)
    }
}

/// True if the message of what was queued at this time may still wait: an older one does, or it itself.
fn may_wait(queued: DateTime<Utc>, oldest_waiting: Option<DateTime<Utc>>) -> bool {
    oldest_waiting.is_some_and(|oldest| oldest <= queued)
}

/// True if the service could not be reached, or fell silent, at each try.
fn is_connection(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ActivityError::Connection { .. }))
}

fn is_conflict(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(CheckpointError::Conflict { .. }))
}
