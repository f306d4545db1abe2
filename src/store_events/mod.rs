//! StoreEvents: fetches the content blobs of one message and writes their records as documents. A blob that cannot be
//! fetched goes back on the queue alone, or into the journal as lost. The message is done when all of its blobs are.

mod dedupe;
mod delivery;
mod fetch;
mod settle;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream, try_join};
use serde::Serialize;
use tokio::{sync::mpsc, time::timeout_at};

pub use self::delivery::{Delivery, DocumentMaker, MadeDocuments, StoredDocuments, deliver, store_documents};
use self::{
    dedupe::Sourced,
    fetch::fetch,
    settle::{put_off, retry_delay, settle},
    write::{Tally, write},
};
use crate::{
    batch::{self, Item},
    database::DatabaseError,
    envelope::QueueMessage,
    error_text::chain,
    failure::Failure,
    limits::Deadline,
    log::counted,
    management_api::{ActivityError, Fetched, Remedy},
    services::{Clients, Storing},
    state::{Shard, State, hour_of},
};

/// Blobs of one message that are fetched at a time. This hides latency; the process's own bound limits memory.
const MAX_FETCHES: usize = 4;
/// Journal hours read at a time.
const MAX_JOURNAL_READS: usize = 8;

/// Counts of one message, for the log line.
#[derive(Debug, Default, Serialize)]
pub struct MessageReport {
    /// Content blobs in the message.
    pub blobs: usize,
    /// Of those, stored before this message came.
    pub stored_before: usize,
    /// Stored by this invocation.
    pub stored: usize,
    /// Back on the queue for later.
    pub requeued: usize,
    /// Journalled as lost.
    pub lost: usize,
    /// Bytes of bodies, decompressed.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Documents created.
    pub documents: u64,
    /// Records that were documents already, or stood twice in the message.
    pub duplicates: u64,
    /// Records that `LEAVE_OUT` names.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Records that were erased on request.
    #[serde(skip_serializing_if = "is_zero")]
    pub erased: u64,
    /// Documents that lack something of their record.
    pub reduced: u64,
    /// The same by workload.
    pub workloads: BTreeMap<&'static str, WorkloadCounts>,
}

impl fmt::Display for MessageReport {
    /// For a person who looks at one invocation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blobs, records) = (counted(self.blobs, "content blob"), counted(self.records, "record"));
        let (documents, repeats) = (counted(self.documents, "document"), counted(self.duplicates, "repeat"));
        write!(f, "{blobs}, {records}: {documents}, {repeats}")?;
        let rest = [(self.stored_before, "stored before"), (self.requeued, "back on the queue"), (self.lost, "lost")];
        rest.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, what)| write!(f, "; {count} {what}"))
    }
}

/// One workload's share of a message.
#[derive(Debug, Default, Serialize)]
pub struct WorkloadCounts {
    /// Content blobs stored.
    pub stored: usize,
    /// Content blobs lost.
    pub lost: usize,
    /// Records.
    pub records: u64,
    /// Documents created.
    pub documents: u64,
    /// Duplicates.
    pub duplicates: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Stores the content blobs of one message.
///
/// # Errors
/// Then nothing of the message is settled, and the host delivers it again.
pub async fn run(clients: &Clients, storing: &Storing, message: &QueueMessage, deadline: Deadline) -> (MessageReport, Result<(), Failure>) {
    let mut report = MessageReport::default();
    let result = match timeout_at(deadline.end, store(clients, storing, message, deadline, &mut report)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::OutOfTime),
    };
    (report, result)
}

async fn store(
    clients: &Clients,
    storing: &Storing,
    message: &QueueMessage,
    deadline: Deadline,
    report: &mut MessageReport,
) -> Result<(), Failure> {
    let put = message.inserted.unwrap_or_else(|| clients.clock.now());
    let items = batch::decode(&message.text).map_err(Failure::Message)?.into_iter().map(|item| item.put_at(put));
    let items = distinct(items.collect());
    report.blobs = items.len();
    let (items, ()) = try_join!(not_stored(&clients.state, items), clients.state.read_erased()).map_err(Failure::Storage)?;
    report.stored_before = report.blobs - items.len();

    let Finished { blobs, end } = fetch_and_write(clients, storing, &items, deadline).await;
    let mut rest = Vec::new();
    let (mut done, mut outcomes) = (Vec::new(), Vec::new());
    for (item, blob) in items.into_iter().zip(blobs) {
        match blob {
            Some(blob) => {
                done.push(item);
                outcomes.push(blob);
            }
            None => rest.push(item),
        }
    }
    let rest = match end {
        Ok(()) => Vec::new(),
        Err(End::Database(DatabaseError::Passing(error))) => {
            tracing::warn!(error = %chain(&error), "the database is not answering; what is not stored goes back on the queue");
            // In one message: the trouble was not theirs.
            let attempt = rest.iter().map(|item| item.attempt).max().unwrap_or_default();
            vec![(rest, retry_delay(attempt))]
        }
        Err(End::Database(error)) => return Err(Failure::Database(error)),
        Err(End::Time) => {
            tracing::warn!(blobs = rest.len(), "time ran out; each content blob that is not stored goes back on the queue by itself");
            // Together they are too much for one invocation.
            rest.into_iter().map(|item| (retry_delay(item.attempt), item)).map(|(delay, item)| (vec![item], delay)).collect()
        }
    };
    let in_doubt = done.iter().zip(&outcomes).filter(|(_, blob)| blob.needs_journal()).map(|(item, _)| item);
    let journal = Journal::read(&clients.state, in_doubt).await.map_err(Failure::Storage)?;
    settle(clients, storing, &journal, done, outcomes, report).await?;
    put_off(clients, &journal, rest, report).await
}

/// One of each content blob, the first. Two addresses are two pieces of work, whatever they call themselves: the id of a
/// hand-made one is only its address's last piece.
fn distinct(items: Vec<Item>) -> Vec<Item> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert((item.id.clone(), item.uri.clone()))).collect()
}

/// Leaves out what the journal says is stored: a message may come twice.
async fn not_stored(state: &State, items: Vec<Item>) -> azure_core::Result<Vec<Item>> {
    let mut hours: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for item in &items {
        if let Some(created) = item.created {
            hours.entry((item.workload_name(), hour_of(created))).or_default().push(&item.id);
        }
    }
    let reads: Vec<_> = hours.into_iter().map(|((workload, hour), ids)| stored(state, workload, hour, ids)).collect();
    let stored: HashSet<_> = stream::iter(reads).buffer_unordered(MAX_JOURNAL_READS).try_concat().await?;
    let is_stored =
        |item: &Item| item.created.is_some_and(|created| stored.contains(&(item.workload_name(), hour_of(created), item.id.clone())));
    Ok(items.into_iter().filter(|item| !is_stored(item)).collect())
}

/// Those of an hour's content blobs that are stored.
async fn stored(
    state: &State,
    workload: &'static str,
    hour: DateTime<Utc>,
    ids: Vec<&str>,
) -> azure_core::Result<HashSet<(&'static str, DateTime<Utc>, String)>> {
    let stored = state.stored(workload, hour, &ids).await?;
    Ok(ids.iter().zip(stored).filter(|(_, is_stored)| *is_stored).map(|(id, _)| (workload, hour, (*id).to_owned())).collect())
}

type Hour = (&'static str, DateTime<Utc>);

/// All that the journal says of content blobs in trouble.
struct Journal(HashMap<Hour, Shard>);

impl Journal {
    async fn read(state: &State, items: impl Iterator<Item = &Item>) -> azure_core::Result<Self> {
        let hours: BTreeSet<_> = items.filter_map(Self::hour).collect();
        let reads: Vec<_> = hours.into_iter().map(|hour| Self::read_hour(state, hour)).collect();
        Ok(Self(stream::iter(reads).buffer_unordered(MAX_JOURNAL_READS).try_collect().await?))
    }

    async fn read_hour(state: &State, (workload, hour): Hour) -> azure_core::Result<(Hour, Shard)> {
        Ok(((workload, hour), state.journal(workload, hour).await?))
    }

    fn hour(item: &Item) -> Option<Hour> {
        Some((item.workload_name(), hour_of(item.journal_time()?)))
    }

    fn shard(&self, item: &Item) -> Option<&Shard> {
        self.0.get(&Self::hour(item)?)
    }

    /// True if this collector queued it, or another that shares its state.
    fn is_known(&self, item: &Item) -> bool {
        self.shard(item).is_some_and(|shard| shard.standing(&item.id).is_some())
    }

    /// When the service first refused it with this code.
    fn doubted(&self, item: &Item, code: &str) -> Option<DateTime<Utc>> {
        self.shard(item)?.doubted(&item.id, code)
    }
}

/// A content blob after fetching and writing.
#[derive(Debug, Default)]
struct Blob {
    /// The reason why it is not stored whole.
    trouble: Option<Shortfall>,
    bytes: u64,
    records: u64,
    left_out: u64,
    erased: u64,
    documents: u64,
    duplicates: u64,
    /// Ids of reduced documents, with the fields they lack.
    reduced: Vec<(String, Vec<String>)>,
}

/// The reason why a content blob is not stored whole.
#[derive(Debug, thiserror::Error)]
enum Shortfall {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(ActivityError),
    /// So many of its documents were refused; the first of the reasons.
    #[error("{0} of its documents could not be written")]
    Write(u64, #[source] DatabaseError),
}

impl Shortfall {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Fetch(error) => error.remedy(),
            Self::Write(..) => Remedy::Refused,
        }
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::Fetch(error) => error.code(),
            Self::Write(_, error) => error.code(),
        }
    }
}

/// The result of fetching and writing.
struct Finished {
    /// For each item of the message; none if it was neither written whole nor refused.
    blobs: Vec<Option<Blob>>,
    /// The reason why they did not come to their end.
    end: Result<(), End>,
}

enum End {
    Time,
    Database(DatabaseError),
}

/// Fetching and writing run side by side, joined by a short channel: neither runs ahead of the other. No fetch goes on after
/// the deadline for work; what has arrived by then is written in half of the time that is left.
async fn fetch_and_write(clients: &Clients, storing: &Storing, items: &[Item], deadline: Deadline) -> Finished {
    let fetched = Mutex::new(items.iter().map(|_| None).collect());
    let tallies = Mutex::new(items.iter().map(|_| Tally::default()).collect());
    let (sender, receiver) = mpsc::channel(1);
    let fetching = async {
        // The channel ends with it.
        let is_in_time = timeout_at(deadline.work, fetch_all(clients, storing, items, sender, &fetched)).await.is_ok();
        Ok::<_, End>(is_in_time)
    };
    let writing = async {
        let end = deadline.work + (deadline.end - deadline.work) / 2;
        timeout_at(end, write(storing, receiver, &tallies)).await.map_err(|_| End::Time)?.map_err(End::Database)
    };
    let joined = try_join!(fetching, writing);
    let (fetched, tallies): (Vec<Option<Blob>>, Vec<Tally>) = (into_inner(fetched), into_inner(tallies));
    let is_written = joined.is_ok();
    let blobs = fetched.into_iter().zip(tallies).map(|(blob, tally)| blob?.written(tally, is_written)).collect();
    Finished { blobs, end: joined.and_then(|(is_in_time, ())| if is_in_time { Ok(()) } else { Err(End::Time) }) }
}

async fn fetch_all(
    clients: &Clients,
    storing: &Storing,
    items: &[Item],
    documents: mpsc::Sender<Vec<Sourced>>,
    fetched: &Mutex<Vec<Option<Blob>>>,
) {
    let fetch = |(at, item)| {
        let documents = documents.clone();
        async move { lock(fetched)[at] = Some(fetch(clients, storing, at, item, documents).await) }
    };
    let fetches: Vec<_> = items.iter().enumerate().map(fetch).collect();
    stream::iter(fetches).buffer_unordered(MAX_FETCHES).collect::<()>().await
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(shared: Mutex<T>) -> T {
    shared.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Blob {
    /// True if its fate depends on what was said of it before.
    fn needs_journal(&self) -> bool {
        matches!(self.trouble.as_ref().map(Shortfall::remedy), Some(Remedy::Doubtful(_) | Remedy::Foreign))
    }

    /// The result of the fetch, for the count of refusals.
    fn fetched(&self) -> Fetched {
        match &self.trouble {
            None | Some(Shortfall::Write(..)) => Fetched::Served,
            Some(Shortfall::Fetch(error)) => match error.remedy() {
                Remedy::Doubtful(_) => Fetched::Refused(error.code().unwrap_or_default()),
                _ => Fetched::Other,
            },
        }
    }

    /// With what writing made of its documents. None if some of them may not be written: if the writing did not come to its end,
    /// that is known only of what has a count for each record, and shares no record with another blob of the message, whose copy
    /// is the one that is written.
    fn written(mut self, tally: Tally, is_all_written: bool) -> Option<Self> {
        let counted = tally.documents + tally.duplicates + tally.refused + self.duplicates + self.left_out + self.erased;
        let is_written = is_all_written || (tally.shared == 0 && counted == self.records);
        if self.trouble.is_none() && !is_written {
            return None;
        }
        self.documents = tally.documents;
        self.duplicates += tally.duplicates + tally.shared;
        self.reduced = tally.reduced;
        let refused = tally.first_refusal.map(|error| Shortfall::Write(tally.refused, error));
        self.trouble = self.trouble.or(refused);
        Some(self)
    }
}

impl MessageReport {
    fn count_stored(&mut self, item: &Item, blob: &Blob) {
        self.stored += 1;
        self.bytes += blob.bytes;
        self.records += blob.records;
        self.documents += blob.documents;
        self.duplicates += blob.duplicates;
        self.left_out += blob.left_out;
        self.erased += blob.erased;
        self.reduced += blob.reduced.len() as u64;
        let figures = self.workloads.entry(item.workload_name()).or_default();
        figures.stored += 1;
        figures.records += blob.records;
        figures.documents += blob.documents;
        figures.duplicates += blob.duplicates;
    }

    fn count_lost(&mut self, item: &Item) {
        self.lost += 1;
        self.workloads.entry(item.workload_name()).or_default().lost += 1;
    }
}
