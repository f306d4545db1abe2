//! The application: services built once a process, and the router that the host speaks to: two functions and its probe.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State as Shared},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Json, Response},
    routing::{get, post},
};
use azure_core::http::{RetryOptions, Transport};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, future::join_all, stream};
use serde::Serialize;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    azure::http,
    azure::identity::managed_identity,
    azure::storage::Door,
    batch::{Item, pack},
    clock::{Clock, rfc3339},
    config::Config,
    database::Cosmos,
    failure::{Failure, chain},
    invocation::{INVOCATION_ID, QueueMessage, Reply},
    management_api::{ActivityClient, Workload},
    queue::ContentQueue,
    queue_events,
    state::{Event, Line, State, hour_of},
    store_events,
};

/// When work stops, below the host's `functionTimeout` of ten minutes: the host ends an invocation by killing the process,
/// and with it every other one.
const WORK: Duration = Duration::from_secs(8 * 60);
/// What is left of that for putting back what was not reached.
const SETTLING: Duration = Duration::from_secs(75);
/// Content blobs in flight in the whole process, whatever the number of messages: a bound of memory.
const FETCHES: usize = 8;
/// Batches being written in the whole process: likewise.
const WRITES: usize = 4;
/// Messages sent side by side: enough to hide the queue's latency, few enough to be no burst.
const SENDS: usize = 8;
/// Largest request taken; a queue message is 64 KiB at most.
const MOST_BODY: usize = 4 * 1024 * 1024;

/// An invocation's time.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// When work stops, and what was not reached is put back or left to the next run.
    pub work: Instant,
    /// When that must be done too.
    pub end: Instant,
}

/// What both functions work with, built once a process.
pub struct Services {
    pub(crate) clock: Arc<Clock>,
    pub(crate) activity: ActivityClient,
    pub(crate) queue: ContentQueue,
    pub(crate) state: State,
    pub(crate) cosmos: Cosmos,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) lookback: TimeDelta,
    pub(crate) batch_size: usize,
    pub(crate) retention: TimeDelta,
    pub(crate) partitions_per_day: u8,
    /// One permit a content blob in flight.
    pub(crate) fetches: Semaphore,
    /// One permit a batch being written.
    pub(crate) writes: Semaphore,
    /// Hours of the journal to which the last append failed.
    unwritable: Mutex<HashSet<JournalHour>>,
}

/// A workload's name and an hour of contentCreated.
type JournalHour = (&'static str, DateTime<Utc>);

impl Services {
    /// Builds every client; none of them connects yet.
    ///
    /// # Errors
    /// The settings, valid one by one, do not make a client here.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let client = http::client()?;
        let transport = Transport::new(Arc::new(client.clone()));
        let needs_identity = config.storage.needs_identity() || config.cosmos.key.is_none();
        let identity = needs_identity
            .then(|| managed_identity(config, &transport))
            .transpose()
            .context("no managed identity, which storage or database need")?;
        let door = Door { transport: transport.clone(), identity: identity.clone(), retry: RetryOptions::default() };
        let clock = Arc::new(Clock::default());
        Ok(Self {
            activity: ActivityClient::new(config, client, &transport, Arc::clone(&clock)).context("no credential for the Activity API")?,
            queue: ContentQueue::new(config, &door).context("the content queue")?,
            state: State::new(config, &door).context("the state container")?,
            cosmos: Cosmos::new(&config.cosmos, identity),
            workloads: config.workloads.clone(),
            lookback: TimeDelta::from_std(config.lookback)?,
            batch_size: config.batch_size,
            retention: TimeDelta::from_std(config.retention)?,
            partitions_per_day: config.partitions_per_day,
            fetches: Semaphore::new(FETCHES),
            writes: Semaphore::new(WRITES),
            unwritable: Mutex::default(),
            clock,
        })
    }

    /// Makes container and queue where they are missing, be it that somebody deleted them since the last run.
    pub(crate) async fn ensure_storage(&self) -> azure_core::Result<()> {
        futures::try_join!(self.state.ensure(), self.queue.ensure()).map(drop)
    }

    /// Packs content blobs into messages. One whose URI fits no message can never be fetched: it is journalled as lost.
    pub(crate) async fn pack(&self, items: Vec<Item>, most_items: usize) -> azure_core::Result<Vec<Vec<Item>>> {
        let packed = pack(items, most_items);
        let lost = packed.too_long.iter().map(|item| (item, self.lost(item.workload_name(), &item.id, "content uri too long")));
        self.journal(lost.collect()).await?;
        Ok(packed.batches)
    }

    /// Says that content is lost that was never asked for, and how the journal puts it.
    pub(crate) fn lost(&self, workload: &str, content_id: &str, reason: &str) -> Line {
        tracing::error!(workload, content_id, reason, "lost: this content cannot be had");
        Line { reason: Some(reason.to_owned()), ..Line::new(self.clock.now(), Event::Lost, content_id) }
    }

    /// Sends messages, each hidden for its own time; what the queue acknowledged is journalled even where it did not take
    /// another.
    pub(crate) async fn send(&self, messages: &[(Vec<Item>, Duration)]) -> Sent {
        let sends: Vec<_> = messages.iter().map(|(items, delay)| self.queue.send(items, *delay)).collect();
        let taken: Vec<_> = stream::iter(sends).buffered(SENDS).collect().await;
        let acknowledged: Vec<&[Item]> =
            messages.iter().zip(&taken).filter(|(_, taken)| taken.is_ok()).map(|((items, _), _)| items.as_slice()).collect();
        let now = self.clock.now();
        // A hand-made item whose time nobody knows ends in another hour than it began in, and would count as never stored.
        let lines = acknowledged.iter().copied().flatten().filter(|item| item.created.is_some());
        let lines = lines.map(|item| (item, Line::new(now, Event::Queued, &item.id))).collect();
        Sent {
            messages: acknowledged.len(),
            items: acknowledged.iter().map(|items| items.len()).sum(),
            journalled: self.journal(lines).await,
            taken: taken.into_iter().collect(),
        }
    }

    /// Journals each line with its content blob's workload and hour; one append an hour, of which one that fails holds back
    /// no other.
    pub(crate) async fn journal(&self, lines: Vec<(&Item, Line)>) -> azure_core::Result<()> {
        let mut by_hour: HashMap<_, Vec<Line>> = HashMap::new();
        for (item, line) in lines {
            by_hour.entry(self.journal_hour(item)).or_default().push(line);
        }
        let appends: Vec<_> = by_hour.iter().map(|(hour, lines)| self.append(*hour, lines)).collect();
        join_all(appends).await.into_iter().collect()
    }

    /// Fails where these could not be journalled once they are queued: each run would queue them again. Only hours to which
    /// an append failed before are tried, with a line that says nothing.
    pub(crate) async fn ensure_journal(&self, items: impl Iterator<Item = &Item>) -> azure_core::Result<()> {
        let hours: HashSet<_> = items.map(|item| self.journal_hour(item)).collect();
        let doubtful: Vec<_> = self.unwritable.lock().unwrap_or_else(PoisonError::into_inner).intersection(&hours).copied().collect();
        join_all(doubtful.into_iter().map(|hour| self.append(hour, &[]))).await.into_iter().collect()
    }

    async fn append(&self, hour: JournalHour, lines: &[Line]) -> azure_core::Result<()> {
        let appended = self.state.append(hour.0, hour.1, lines).await;
        let mut unwritable = self.unwritable.lock().unwrap_or_else(PoisonError::into_inner);
        if appended.is_ok() {
            unwritable.remove(&hour)
        } else {
            unwritable.insert(hour)
        };
        appended
    }

    /// A hand-made item whose time nobody knows is journalled under the present hour.
    fn journal_hour(&self, item: &Item) -> JournalHour {
        (item.workload_name(), hour_of(item.created.unwrap_or_else(|| self.clock.now())))
    }
}

/// What became of messages sent.
pub(crate) struct Sent {
    /// Messages that the queue acknowledged.
    pub(crate) messages: usize,
    /// Content blobs in them.
    pub(crate) items: usize,
    /// Whether the journal knows of those.
    pub(crate) journalled: azure_core::Result<()>,
    /// Whether the queue took them all.
    pub(crate) taken: azure_core::Result<()>,
}

/// The router that the host speaks to.
pub fn router(services: Arc<Services>) -> Router {
    Router::new()
        .route("/", get(|| async { StatusCode::OK }))
        .route("/QueueEvents", post(queue_events))
        .route("/StoreEvents", post(store_events))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(services)
}

/// The timer. Its payload says nothing that is needed: what to list is decided by the stored state.
async fn queue_events(Shared(services): Shared<Arc<Services>>, headers: HeaderMap) -> Response {
    let invocation = Invocation::begin("QueueEvents", &headers);
    let (report, result) = queue_events::run(&services, invocation.deadline()).await;
    invocation.end(&report, result, "the next run does the work again")
}

async fn store_events(Shared(services): Shared<Arc<Services>>, headers: HeaderMap, body: Bytes) -> Response {
    let invocation = Invocation::begin("StoreEvents", &headers);
    let message = match QueueMessage::read(&body) {
        Ok(message) => message,
        Err(error) => return invocation.end(&store_events::Report::default(), Err(error.into()), "the host decides"),
    };
    let (report, result) = store_events::run(&services, &message.text, invocation.deadline()).await;
    let what_follows = format!(
        "message {} was delivered {} times; the host delivers it again, and after its last delivery moves it to the poison \
         queue; content blobs in it that the journal has as queued are queued again by a run after an hour",
        message.id, message.dequeue_count
    );
    invocation.end(&report, result, &what_follows)
}

/// One invocation's frame: its time, its one line on stdout, its answer.
struct Invocation {
    function: &'static str,
    id: String,
    began: Instant,
}

impl Invocation {
    fn begin(function: &'static str, headers: &HeaderMap) -> Self {
        let id = headers.get(INVOCATION_ID).and_then(|id| id.to_str().ok()).unwrap_or("none").to_owned();
        Self { function, id, began: Instant::now() }
    }

    fn deadline(&self) -> Deadline {
        let work = self.began + WORK;
        Deadline { work, end: work + SETTLING }
    }

    /// Prints the figures, on success and on failure; the host throws a failure's answer away, so its reason is printed first.
    fn end<R: Serialize>(self, report: &R, result: Result<(), Failure>, what_follows: &str) -> Response {
        if let Err(failure) = &result {
            let error = chain(failure);
            match failure.level() {
                tracing::Level::ERROR => {
                    tracing::error!(function = self.function, invocation = self.id, error, what_follows, "invocation failed")
                }
                _ => tracing::warn!(function = self.function, invocation = self.id, error, what_follows, "invocation failed"),
            }
        }
        let line = self.line(report, result.is_ok());
        println!("{line}");
        match result {
            Ok(()) => Json(Reply::success(vec![line])).into_response(),
            Err(failure) => (failure.status(), Json(serde_json::json!({"error": chain(&failure)}))).into_response(),
        }
    }

    fn line<R: Serialize>(&self, report: &R, succeeded: bool) -> String {
        #[derive(Serialize)]
        struct Line<'a, R> {
            timestamp: String,
            level: &'static str,
            message: &'static str,
            function: &'static str,
            invocation: &'a str,
            succeeded: bool,
            milliseconds: u128,
            #[serde(flatten)]
            report: &'a R,
        }
        let line = Line {
            timestamp: rfc3339(Utc::now()),
            level: "INFO",
            message: "invocation",
            function: self.function,
            invocation: &self.id,
            succeeded,
            milliseconds: self.began.elapsed().as_millis(),
            report,
        };
        // A report is numbers and names: it always serialises.
        serde_json::to_string(&line).unwrap_or_default()
    }
}
