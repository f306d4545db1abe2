//! Collects the feed of a tenant into the state of a case folder: the handler's own listing, fetching, retrying and making of
//! documents, with files in place of queue and database. Killed at any moment, it goes on where it was.

mod state;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use handler::batch::Item;
use handler::config::Config;
use handler::document::Document;
use handler::management_api::{ActivityError, LISTABLE, SETTLE, Window};
use handler::queue_events::tile;
use handler::services::{Clients, Services};
use handler::store_events::{Delivery, deliver};
use handler::workload::Workload;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::collect::sign_in::check_feed;
use crate::screen::Screen;
use crate::text_table::Count;
pub(crate) use state::{Account, FeedState};

/// Content blobs in flight.
const FETCHES: usize = 8;
/// How often content that cannot be had at the moment is asked for before it is left to the next run.
const ROUNDS: u32 = 6;
/// The pause before the second round, doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause, whatever the service asks for: the next run is the better wait.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Kept from the oldest time that can be listed, so that it is still listable when its turn comes.
const EDGE: TimeDelta = TimeDelta::minutes(15);
/// Lists and fetches a range of contentCreated into the state of a case folder.
///
/// # Errors
///
/// The tenant's service refuses to be asked at all, or the folder cannot be written. What cannot be had is no error: the state says so.
pub(crate) async fn collect_feed(
    services: &Arc<Services>,
    config: &Config,
    out: &Path,
    range: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    screen: &Screen,
) -> Result<FeedState> {
    check_feed(&services.clients, config).await?;
    let mut state = FeedState::open(out, &config.workloads)?;
    start_subscriptions(&services.clients, &config.workloads, screen).await?;

    let task = screen.task("collect", "listing content");
    // One time for all: what one of them is listed later than another would be a gap.
    let now = services.clients.clock().now();
    for workload in &config.workloads {
        list(&services.clients, *workload, range, now, &mut state, screen).await?;
        task.now(format_args!("{} content blobs are listed", Count(state.listed())));
    }
    let mut pause = FIRST_PAUSE;
    for round in 1..=ROUNDS {
        let waiting = state.waiting();
        if waiting.is_empty() {
            break;
        }
        if round > 1 {
            task.now(format_args!("{} content blobs cannot be had at the moment, trying again", Count(waiting.len() as u64)));
            tokio::time::sleep(pause).await;
        }
        let (stored, wait);
        (state, stored, wait) = fetch(services, state, waiting, |done, all| {
            task.at(done, all, format_args!("{} of {} content blobs", Count(done), Count(all)));
        })
        .await?;
        let next = if stored == 0 { pause * 2 } else { pause };
        pause = next.max(wait.unwrap_or_default()).min(MAX_PAUSE);
    }
    task.done(format_args!("{} content blobs", Count(state.listed())));
    Ok(state)
}

/// The oldest contentCreated that can be listed, with room for its turn to come.
pub(crate) fn oldest_listable(now: DateTime<Utc>) -> DateTime<Utc> {
    (now - LISTABLE + EDGE).trunc_subsecs(0)
}

/// Content is listed only while its subscription is on. None is ever stopped.
async fn start_subscriptions(clients: &Clients, workloads: &[Workload], screen: &Screen) -> Result<()> {
    let subscriptions = clients.activity().subscriptions().await.context("the tenant's subscriptions cannot be asked for")?;
    for workload in workloads {
        if subscriptions.iter().any(|subscription| subscription.is_on(*workload)) {
            continue;
        }
        match clients.activity().start_subscription(*workload).await {
            Ok(()) => screen.part("collect", format_args!("subscribed to {workload}: content comes from now on, the first after hours")),
            Err(error) => screen.part("collect", format_args!("{workload} cannot be subscribed to: {error}")),
        }
    }
    Ok(())
}

/// Lists the range, window by window; one that cannot be listed is noted, and does not hold back the others.
async fn list(
    clients: &Clients,
    workload: Workload,
    (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    now: DateTime<Utc>,
    state: &mut FeedState,
    screen: &Screen,
) -> Result<()> {
    let oldest = oldest_listable(now);
    let start = from.unwrap_or(oldest).max(oldest).trunc_subsecs(0);
    let end = to.unwrap_or(now).min(now - SETTLE).trunc_subsecs(0);
    let mut windows: VecDeque<_> = tile(start, end).into();
    while let Some(window) = windows.pop_front() {
        let Window { start, end } = window;
        match (clients.activity().list(workload, window, None).await, window.halves()) {
            (Err(ActivityError::TooLarge { .. }), Some((first, second))) => {
                windows.push_front(second);
                windows.push_front(first);
            }
            (Ok(listing), _) => {
                let items = listing.blobs.iter().map(|blob| Item::listed(workload, blob, clients.activity().tenant_id())).collect();
                state.note_listing(workload, (start, end), items, now)?;
            }
            (Err(error), _) => screen.part("collect", format_args!("{workload} from {start} to {end} cannot be listed: {error}")),
        }
    }
    Ok(())
}

/// What comes from fetching to writing.
enum Arrival {
    Documents(Vec<Document>),
    Ended(Item, Delivery),
}

/// Fetches content side by side, and writes it in one place. Returns how many were settled, and the longest wait that was asked for.
async fn fetch(
    services: &Arc<Services>,
    state: FeedState,
    items: Vec<Item>,
    tell: impl Fn(u64, u64),
) -> Result<(FeedState, u64, Option<Duration>)> {
    let all = items.len() as u64;
    let (sender, receiver) = mpsc::channel(FETCHES);
    let [writer, fetcher] = [Arc::clone(services), Arc::clone(services)];
    let writing = spawn_blocking(move || write(state, receiver, &writer));
    let fetches = items.into_iter().map(move |item| fetch_one(Arc::clone(&fetcher), item, sender.clone()));
    let mut fetches = stream::iter(fetches).buffer_unordered(FETCHES);
    let mut done = 0;
    while fetches.next().await.is_some() {
        done += 1;
        tell(done, all);
    }
    // With it goes the last sender, which ends the writing.
    drop(fetches);
    writing.await?
}

async fn fetch_one(services: Arc<Services>, item: Item, arrivals: mpsc::Sender<Arrival>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let hand_on = async {
        while let Some(documents) = receiver.recv().await {
            let _ = arrivals.send(Arrival::Documents(documents)).await;
        }
    };
    let (delivery, ()) = futures::join!(deliver(&services.clients, &services.storing, &item, sender), hand_on);
    let _ = arrivals.send(Arrival::Ended(item, delivery)).await;
}

fn write(mut state: FeedState, mut arrivals: mpsc::Receiver<Arrival>, services: &Services) -> Result<(FeedState, u64, Option<Duration>)> {
    let (mut settled, mut longest) = (0, None);
    while let Some(arrival) = arrivals.blocking_recv() {
        let now = services.clients.clock().now();
        match arrival {
            Arrival::Documents(documents) => state.keep(&documents, now)?,
            Arrival::Ended(item, Delivery::Whole { records }) => {
                settled += 1;
                state.note_stored(&item, records, now)?;
            }
            Arrival::Ended(item, Delivery::Refused { why, code }) => {
                settled += 1;
                state.note_lost(&item, &why, code, now)?;
            }
            Arrival::Ended(_, Delivery::Later { wait, .. }) => longest = longest.max(wait),
        }
    }
    state.sync()?;
    Ok((state, settled, longest))
}
