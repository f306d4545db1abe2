//! The outbox: sends content blobs in messages, and journals what the queue took.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::{StreamExt, future::join_all, stream};
use tokio::sync::RwLock;

use crate::{
    batch::{Item, pack},
    clock::Clock,
    queue::ContentQueue,
    state::{Event, Line, Standing, State, hour_of},
};

/// Messages sent side by side: enough to hide the queue's latency, few enough to be no burst.
const SENDS: usize = 8;

/// Queue and journal, which go together: what the queue took is journalled.
pub(crate) struct Outbox {
    queue: ContentQueue,
    state: Arc<State>,
    clock: Arc<Clock>,
    /// Hours of the journal to which the last append failed.
    unwritable: Mutex<HashSet<JournalHour>>,
    /// Held by each sending until what it sent is journalled. While the queue is looked at none is under way. Otherwise a blob that another
    /// workload has just queued again could be on the queue while the journal has only the time at which it was first queued: it
    /// would count as waiting since then, and all that was lost in between would be taken for what still waits.
    sending: RwLock<()>,
}

/// A workload's name and an hour of contentCreated.
type JournalHour = (&'static str, DateTime<Utc>);

impl Outbox {
    pub(crate) fn new(queue: ContentQueue, state: Arc<State>, clock: Arc<Clock>) -> Self {
        Self { queue, state, clock, unwritable: Mutex::default(), sending: RwLock::default() }
    }

    /// Makes container and queue if they are missing: somebody may have deleted them since the last run.
    pub(crate) async fn ensure_storage(&self) -> azure_core::Result<()> {
        futures::try_join!(self.state.ensure(), self.queue.ensure()).map(drop)
    }

    /// Since when the oldest of the messages waits that can be seen on the queue: as the journal has it, so that it compares with
    /// other times of the journal; else by its age, since the queue's clock and the API's need not agree.
    pub(crate) async fn oldest_waiting(&self) -> azure_core::Result<Option<DateTime<Utc>>> {
        let none_is_under_way = self.sending.write().await;
        let oldest = self.queue.oldest_waiting().await?;
        drop(none_is_under_way);
        let Some(message) = oldest else { return Ok(None) };
        for item in &message.items {
            let (workload, hour) = self.journal_hour(item);
            if let Some(Standing::Queued(at)) = self.state.journal(workload, hour).await?.standing(&item.id) {
                return Ok(Some(at));
            }
        }
        Ok(Some(self.clock.now() - message.age))
    }

    /// Packs content blobs into messages. One whose URI fits no message can never be fetched: it is journalled as lost.
    pub(crate) async fn pack(&self, items: Vec<Item>, max_items: usize) -> azure_core::Result<Vec<Vec<Item>>> {
        let packed = pack(items, max_items);
        let lost = packed.too_long.iter().map(|item| (item, self.lost(item.workload_name(), &item.id, "content uri too long")));
        self.journal(lost.collect()).await?;
        Ok(packed.batches)
    }

    /// Logs that content is lost which was never asked for, and returns the journal's line of it.
    pub(crate) fn lost(&self, workload: &str, content_id: &str, reason: &str) -> Line {
        tracing::error!(workload, content_id, reason, "lost: this content cannot be had");
        Line { reason: Some(reason.to_owned()), ..Line::new(self.clock.now(), Event::Lost, content_id) }
    }

    /// Sends messages, each hidden for its own time. What the queue acknowledged is journalled, even if it did not take another;
    /// less what `is_journalled` is false for.
    pub(crate) async fn send(&self, messages: &[(Vec<Item>, Duration)], is_journalled: impl Fn(&Item) -> bool) -> Sent {
        let _until_journalled = self.sending.read().await;
        let sends: Vec<_> = messages.iter().map(|(items, delay)| self.queue.send(items, *delay)).collect();
        let taken: Vec<_> = stream::iter(sends).buffered(SENDS).collect().await;
        let acknowledged: Vec<&[Item]> =
            messages.iter().zip(&taken).filter(|(_, taken)| taken.is_ok()).map(|((items, _), _)| items.as_slice()).collect();
        let now = self.clock.now();
        // A hand-made item whose time nobody knows ends in another hour than it began in, and would count as never stored.
        let lines = acknowledged.iter().copied().flatten().filter(|item| item.created.is_some() && is_journalled(item));
        let lines = lines.map(|item| (item, Line::new(now, Event::Queued, &item.id))).collect();
        Sent {
            messages: acknowledged.len(),
            items: acknowledged.iter().map(|items| items.len()).sum(),
            journalled: self.journal(lines).await,
            taken: taken.into_iter().collect(),
        }
    }

    /// Journals each line under its content blob's workload and hour, with one append an hour. If one append fails, the others
    /// are made all the same.
    pub(crate) async fn journal(&self, lines: Vec<(&Item, Line)>) -> azure_core::Result<()> {
        let mut by_hour: HashMap<_, Vec<Line>> = HashMap::new();
        for (item, line) in lines {
            by_hour.entry(self.journal_hour(item)).or_default().push(line);
        }
        let appends: Vec<_> = by_hour.iter().map(|(hour, lines)| self.append(*hour, lines)).collect();
        join_all(appends).await.into_iter().collect()
    }

    /// Checks that these items can be journalled before they are queued. If they could not, every run would queue them again.
    /// Only hours whose last append failed are tested, by appending an empty line.
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

    fn journal_hour(&self, item: &Item) -> JournalHour {
        (item.workload_name(), hour_of(item.journal_time().unwrap_or_else(|| self.clock.now())))
    }
}

/// The result of sending messages.
pub(crate) struct Sent {
    /// Messages that the queue acknowledged.
    pub(crate) messages: usize,
    /// Content blobs in them.
    pub(crate) items: usize,
    /// The result of journalling those.
    pub(crate) journalled: azure_core::Result<()>,
    /// An error if the queue did not take them all.
    pub(crate) taken: azure_core::Result<()>,
}
