//! Ends each content blob of a message in one of three ways: stored, lost, or back on the queue for later.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Blob, Report, Shortfall};
use crate::{
    batch::Item,
    clock::{Clock, rfc3339},
    error_text::chain,
    failure::Failure,
    limits::{MAX_DELAY, MAX_RETRY_AFTER},
    management_api::Trouble,
    services::Clients,
    state::{Event, Line},
};

/// Delay of a blob's first return to the queue; doubled at each further one.
const FIRST_DELAY: Duration = Duration::from_secs(30);
/// An item put on the queue by hand has no expiry; it is tried for as long as content can be listed.
const HAND_MADE_LIFE: TimeDelta = TimeDelta::days(7);

/// Every blob ends in one of three ways, and each is on record before the message is acknowledged.
pub(super) async fn settle(clients: &Clients, items: Vec<Item>, blobs: Vec<Blob>, report: &mut Report) -> Result<(), Failure> {
    let now = clients.clock.now();
    let (mut lines, mut delayed) = (Vec::new(), Vec::new());
    for (item, blob) in items.iter().zip(&blobs) {
        match &blob.trouble {
            None => {
                report.count_stored(item, blob);
                lines.extend(stored_lines(item, blob, now).map(|line| (item, line)));
            }
            Some(error) => match fate(item, error, &clients.clock) {
                Fate::Lost(reason) => {
                    report.count_lost(item);
                    lines.push((item, lost(item, error, reason, now)));
                }
                Fate::PutOff(retry_after) => {
                    warn_put_off(item, error);
                    delayed.push((vec![item.clone()], retry_delay(item.attempt).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))));
                }
            },
        }
    }
    // First what is done: should the queue fail then, the message's next delivery has only the rest to do.
    clients.outbox.journal(lines).await.map_err(Failure::Storage)?;
    put_off(clients, delayed, report).await
}

enum Fate {
    Lost(String),
    PutOff(Option<Duration>),
}

/// A blob is given up only when the service says so, or when its time is over.
fn fate(item: &Item, error: &Shortfall, clock: &Clock) -> Fate {
    match error.trouble() {
        Trouble::Lasting(reason) => Fate::Lost(reason.to_owned()),
        // By a clock that the service has not set, its time may only seem over.
        _ if clock.is_told() && item.expires.is_some_and(|expires| expires <= clock.now()) => {
            Fate::Lost(format!("expired before it could be stored: {}", chain(error)))
        }
        Trouble::Passing(retry_after) => Fate::PutOff(retry_after),
        Trouble::Unauthorised | Trouble::Refused => Fate::PutOff(None),
    }
}

fn stored_lines(item: &Item, blob: &Blob, now: DateTime<Utc>) -> impl Iterator<Item = Line> {
    let stored = Line {
        records: Some(blob.records),
        documents: Some(blob.documents),
        duplicates: Some(blob.duplicates),
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

/// What a person has to mend is an error; what passes is not.
fn warn_put_off(item: &Item, error: &Shortfall) {
    let (content_id, attempt, why) = (&item.id, item.attempt, chain(error));
    match error {
        Shortfall::Fetch(_) => tracing::warn!(content_id, attempt, error = why, "content blob put off"),
        Shortfall::Write(..) => tracing::error!(content_id, attempt, error = why, "content blob put off"),
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
/// done with, and the journal knows of them after that.
pub(super) async fn put_off(clients: &Clients, groups: Vec<(Vec<Item>, Duration)>, report: &mut Report) -> Result<(), Failure> {
    let now = clients.clock.now();
    let mut messages = Vec::new();
    for (items, delay) in groups {
        let items = items.into_iter().map(|item| again(item, now)).collect();
        let batches = clients.outbox.pack(items, usize::MAX).await.map_err(Failure::Storage)?;
        messages.extend(batches.into_iter().map(|batch| (batch, delay)));
    }
    let sent = clients.outbox.send(&messages).await;
    report.requeued += sent.items;
    if let Err(error) = sent.journalled {
        // To fail for this would send them once more, and again at every delivery; without their lines they only count as
        // overdue sooner.
        tracing::warn!(error = %chain(&error), blobs = sent.items, "content blobs were put off, and the journal does not know of it");
    }
    sent.taken.map_err(Failure::Storage)
}

fn again(item: Item, now: DateTime<Utc>) -> Item {
    Item { attempt: item.attempt.saturating_add(1), expires: item.expires.or(Some(now + HAND_MADE_LIFE)), ..item }
}

/// 30 s doubled at each attempt, half an hour at most, a fifth more or less so that blobs do not march in step.
pub(super) fn retry_delay(attempt: u32) -> Duration {
    let whole = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_DELAY);
    whole.mul_f64(0.8 + 0.4 * fastrand::f64()).min(MAX_DELAY)
}
