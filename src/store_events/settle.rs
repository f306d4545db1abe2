//! Ends each content blob of a message in one of three ways: stored, lost, or back on the queue for later.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Blob, Journal, MessageReport, Shortfall};
use crate::{
    batch::Item,
    clock::{Clock, rfc3339},
    error_text::chain,
    failure::Failure,
    limits::{CLOCK_RESOLUTION, DOUBT, MAX_DELAY, MAX_RETRY_AFTER},
    management_api::Remedy,
    services::{Clients, Storing},
    state::{Event, Line},
};

/// Delay of a blob's first return to the queue; doubled at each further one.
const FIRST_DELAY: Duration = Duration::from_secs(30);

/// Every blob ends in one of three ways, and each is on record before the message is acknowledged.
pub(super) async fn settle(
    clients: &Clients,
    storing: &Storing,
    journal: &Journal,
    items: Vec<Item>,
    blobs: Vec<Blob>,
    report: &mut MessageReport,
) -> Result<(), Failure> {
    if items.iter().zip(&blobs).any(|(item, blob)| needs_time(item, blob, &clients.clock)) {
        // If it stays in doubt, nothing is given up below.
        let _ = clients.activity.ask_time().await;
    }
    let now = clients.clock.now();
    let (mut lines, mut delayed) = (Vec::new(), Vec::new());
    for (item, blob) in items.iter().zip(&blobs) {
        match &blob.trouble {
            None => {
                report.count_stored(item, blob);
                lines.extend(stored_lines(item, blob, now).map(|line| (item, line)));
            }
            Some(error) => match fate(item, error, journal, &clients.clock) {
                Fate::Lost(reason) => {
                    report.count_lost(item);
                    lines.push((item, lost(item, error, reason, now)));
                }
                Fate::Doubted { is_first, delay } => {
                    warn_put_off(item, error);
                    lines.extend(is_first.then(|| (item, Line { code: error.code(), ..Line::new(now, Event::Doubted, &item.id) })));
                    delayed.push((vec![item.clone()], delay));
                }
                Fate::PutOff(retry_after) => {
                    warn_put_off(item, error);
                    delayed.push((vec![item.clone()], retry_delay(item.attempt).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))));
                }
            },
        }
    }
    warn_refusals(storing, &items, &blobs);
    // First what is done: should the queue fail then, the message's next delivery has only the rest to do.
    clients.outbox.journal(lines).await.map_err(Failure::Storage)?;
    put_off(clients, journal, delayed, report).await
}

enum Fate {
    Lost(String),
    /// Refused in a way that is believed when it is said again later: whether this is the first time, and when it is asked again.
    Doubted {
        is_first: bool,
        delay: Duration,
    },
    PutOff(Option<Duration>),
}

/// True if the blob may be given up by the time alone.
fn needs_time(item: &Item, blob: &Blob, clock: &Clock) -> bool {
    let Some(error) = &blob.trouble else { return false };
    let latest = clock.now().max(clock.doubt().map_or(DateTime::UNIX_EPOCH, |(offset, _)| Utc::now() + offset));
    matches!(error.remedy(), Remedy::Doubtful(_)) || item.expires.is_some_and(|expires| expires <= latest)
}

/// A blob is given up only for a reason that no setting could mend: the service says that it expired, or says again after an hour
/// that it is not there; or its time is over. While the service's time is in doubt, its time may only seem over.
fn fate(item: &Item, error: &Shortfall, journal: &Journal, clock: &Clock) -> Fate {
    let now = clock.now();
    match error.remedy() {
        Remedy::Lasting(reason) => Fate::Lost(reason.to_owned()),
        _ if clock.is_certain() && item.expires.is_some_and(|expires| expires <= now) => {
            Fate::Lost(format!("expired before it could be stored: {}", chain(error)))
        }
        Remedy::Doubtful(reason) => match journal.doubted(item, &error.code().unwrap_or_default()) {
            Some(first) if clock.is_certain() && now - first >= DOUBT - CLOCK_RESOLUTION => Fate::Lost(reason.to_owned()),
            Some(first) => Fate::Doubted { is_first: false, delay: wait_until(first + DOUBT, now) },
            None => Fate::Doubted { is_first: true, delay: wait_until(now + DOUBT, now) },
        },
        Remedy::Passing(retry_after) => Fate::PutOff(retry_after),
        Remedy::Unauthorised | Remedy::Refused | Remedy::Foreign => Fate::PutOff(None),
    }
}

/// At least as long as a first return to the queue, at most as long as a doubt lasts: clocks may have been set.
fn wait_until(time: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (time - now).clamp(TimeDelta::seconds(30), DOUBT).to_std().unwrap_or(FIRST_DELAY)
}

/// Says so if every fetch of a workload is refused: for content that went, it would be some.
fn warn_refusals(storing: &Storing, items: &[Item], blobs: &[Blob]) {
    let fetches = items.iter().zip(blobs).map(|(item, blob)| (item.workload_name(), blob.fetched()));
    for (workload, refused) in storing.refusals.count(fetches) {
        tracing::error!(
            workload,
            refused = refused.times,
            code = refused.code,
            "every content blob that is asked for is refused: check OFFICE365_TENANT_ID and OFFICE365_PUBLISHER_ID"
        );
    }
}

fn stored_lines(item: &Item, blob: &Blob, now: DateTime<Utc>) -> impl Iterator<Item = Line> {
    let stored = Line {
        records: Some(blob.records),
        documents: Some(blob.documents),
        duplicates: Some(blob.duplicates),
        left_out: Some(blob.left_out).filter(|count| *count > 0),
        erased: Some(blob.erased).filter(|count| *count > 0),
        ..Line::new(now, Event::Stored, &item.id)
    };
    let reduced: Vec<_> = blob
        .reduced
        .iter()
        .map(|(id, omitted)| {
            tracing::error!(content_id = item.id, record = id, fields = omitted.len(), "reduced: a record could not be stored whole");
            Line { record: Some(id.clone()), omitted: Some(omitted.clone()), ..Line::new(now, Event::Reduced, &item.id) }
        })
        .collect();
    reduced.into_iter().chain([stored])
}

/// Logs an error if a person has to mend it, a warning if it passes.
fn warn_put_off(item: &Item, error: &Shortfall) {
    let (content_id, attempt, why) = (&item.id, item.attempt, chain(error));
    match error {
        Shortfall::Fetch(error) if error.remedy() != Remedy::Foreign => {
            tracing::warn!(content_id, attempt, error = why, "content blob put off")
        }
        Shortfall::Fetch(_) | Shortfall::Write(..) => tracing::error!(content_id, attempt, error = why, "content blob put off"),
    }
}

fn lost(item: &Item, error: &Shortfall, reason: String, now: DateTime<Utc>) -> Line {
    tracing::error!(
        workload = item.workload_name(),
        content_id = item.id,
        created = item.created.map(rfc3339),
        expires = item.expires.map(rfc3339),
        reason,
        error = %chain(error),
        "lost: this content cannot be had"
    );
    Line { reason: Some(reason), code: error.code(), ..Line::new(now, Event::Lost, &item.id) }
}

/// Back on the queue in messages of their own, each hidden for its time. They are acknowledged before the old message is
/// done with, and the journal knows of them after that; but not of another collector's, which this journal never knew.
pub(super) async fn put_off(
    clients: &Clients,
    journal: &Journal,
    groups: Vec<(Vec<Item>, Duration)>,
    report: &mut MessageReport,
) -> Result<(), Failure> {
    let mut messages = Vec::new();
    for (items, delay) in groups {
        let items = items.into_iter().map(|item| Item { attempt: item.attempt.saturating_add(1), ..item }).collect();
        let batches = clients.outbox.pack(items, usize::MAX).await.map_err(Failure::Storage)?;
        messages.extend(batches.into_iter().map(|batch| (batch, delay)));
    }
    let is_ours = |item: &Item| journal.is_known(item) || !clients.activity.is_foreign(&item.uri, item.tenant.as_deref());
    let sent = clients.outbox.send(&messages, is_ours).await;
    report.requeued += sent.items;
    if let Err(error) = sent.journalled {
        // To fail for this would send them once more, and again at every delivery; without their lines they only count as
        // overdue sooner.
        tracing::warn!(error = %chain(&error), blobs = sent.items, "content blobs were put off, and the journal does not know of it");
    }
    sent.taken.map_err(Failure::Storage)
}

/// 30 s doubled at each attempt, half an hour at most, a fifth more or less so that blobs do not march in step.
pub(super) fn retry_delay(attempt: u32) -> Duration {
    let whole = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_DELAY);
    whole.mul_f64(0.8 + 0.4 * fastrand::f64()).min(MAX_DELAY)
}
