//! Keeps the workloads' subscriptions on: starts what is missing, and no more often than the API allows between all
//! instances. Never stops one: content between a stop and the next start is lost.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::timeout;

use crate::{
    clock::{parse_utc, rfc3339},
    error_text::chain,
    failure::Failure,
    management_api,
    services::Clients,
    state::{SubscriptionNote, Subscriptions},
    workload::Workload,
};

/// The API takes one request to start a subscription in this time.
const PAUSE: TimeDelta = TimeDelta::minutes(15);
/// Most time for a call about subscriptions: the listings want theirs.
const MAX_CALL: Duration = Duration::from_secs(30);

/// Errors here do not stop the run once the service's time is certain: the listing will show whether there is content.
///
/// # Errors
/// [`Failure::Storage`]. [`Failure::Unreached`], [`Failure::OutOfTime`] or [`Failure::TimeUncertain`] if the service's time is not
/// certain: by a wrong clock a checkpoint may be moved past what is still to come, or a gap seen where there is none.
pub(super) async fn keep_on(clients: &Clients, workloads: &[Workload]) -> Result<(), Failure> {
    let listed = timeout(MAX_CALL, clients.activity.subscriptions()).await;
    match listed {
        Ok(Err(error)) if !clients.clock.is_known() => return Err(Failure::Unreached(error)),
        Err(_) if !clients.clock.is_known() => return Err(Failure::OutOfTime),
        _ => clients.activity.ask_time().await?,
    }
    match listed {
        Ok(Ok(listed)) => start_missing(clients, workloads, &listed).await.map_err(Failure::Storage)?,
        Ok(Err(error)) => tracing::warn!(error = %chain(&error), "subscriptions could not be listed"),
        Err(_) => tracing::warn!("subscriptions could not be listed in time"),
    }
    Ok(())
}

/// Starts subscriptions. Each request is noted before it is made, and its result afterwards.
async fn start_missing(clients: &Clients, workloads: &[Workload], listed: &[management_api::Subscription]) -> azure_core::Result<()> {
    let now = clients.clock.now();
    let before = clients.state.subscriptions().await?.unwrap_or_default();
    let mut noted = Subscriptions { at: rfc3339(now), ..Subscriptions::default() };
    let mut due = Vec::new();
    for workload in workloads.iter().copied() {
        let mut note = match listed.iter().any(|entry| entry.is_on(workload)) {
            true => SubscriptionNote { on: true, ..SubscriptionNote::default() },
            false => SubscriptionNote { on: false, ..before.subscriptions.get(&workload).cloned().unwrap_or_default() },
        };
        if !note.on && may_ask(&note, now) {
            note.asked = Some(rfc3339(now));
            due.push(workload);
        }
        noted.subscriptions.insert(workload, note);
    }
    clients.state.note_subscriptions(&noted).await?;
    if due.is_empty() {
        return Ok(());
    }
    for workload in due {
        let error = start(clients, workload).await.err();
        let asked = Some(rfc3339(now));
        noted.subscriptions.insert(workload, SubscriptionNote { on: error.is_none(), asked, error });
    }
    clients.state.note_subscriptions(&noted).await
}

fn may_ask(note: &SubscriptionNote, now: DateTime<Utc>) -> bool {
    note.asked.as_deref().and_then(parse_utc).is_none_or(|asked| (now - asked).abs() >= PAUSE)
}

/// Answers in words why it could not be started.
async fn start(clients: &Clients, workload: Workload) -> Result<(), String> {
    let error = match timeout(MAX_CALL, clients.activity.start_subscription(workload)).await {
        Ok(Ok(())) => {
            tracing::info!(%workload, "subscription started");
            return Ok(());
        }
        Ok(Err(error)) => chain(&error),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::error!(%workload, error, "subscription could not be started");
    Err(error)
}
