//! StoreEvents: fetches the content blobs of one message and writes their records as documents. A blob that cannot be
//! fetched goes back on the queue alone, or into the journal as lost. The message is done when all of its blobs are.

mod dedupe;
mod delivery;
mod fetch;
mod settle;
mod write;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

pub use self::delivery::{Delivery, deliver};
use self::{
    fetch::fetch,
    settle::{put_off, retry_delay, settle},
    write::write,
};
use crate::{
    batch::{self, Item},
    database::DatabaseError,
    error_text::chain,
    failure::Failure,
    limits::Deadline,
    log::counted,
    management_api::{ActivityError, Trouble},
    services::{Clients, Storing},
    state::{State, hour_of},
};

/// Blobs of one message that are fetched at a time. This hides latency; the process's own bound limits memory.
const MAX_FETCHES: usize = 4;
/// Journal hours read at a time.
const MAX_JOURNAL_READS: usize = 8;

/// Counts of one message, for the log line.
#[derive(Debug, Default, Serialize)]
pub struct Report {
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
    /// Documents that lack something of their record.
    pub reduced: u64,
    /// The same by workload.
    pub workloads: BTreeMap<&'static str, Figures>,
}

impl fmt::Display for Report {
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
pub struct Figures {
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
pub async fn run(clients: &Clients, storing: &Storing, message: &str, deadline: Deadline) -> (Report, Result<(), Failure>) {
    let mut report = Report::default();
    let result = match timeout_at(deadline.end, store(clients, storing, message, deadline.work, &mut report)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::OutOfTime),
    };
    (report, result)
}

async fn store(clients: &Clients, storing: &Storing, message: &str, deadline: Instant, report: &mut Report) -> Result<(), Failure> {
    let items = distinct(batch::decode(message).map_err(Failure::Message)?);
    report.blobs = items.len();
    let items = not_stored(&clients.state, items).await.map_err(Failure::Storage)?;
    report.stored_before = report.blobs - items.len();
    match timeout_at(deadline, fetch_and_write(clients, storing, &items)).await {
        Ok(Ok(blobs)) => settle(clients, items, blobs, report).await,
        Ok(Err(DatabaseError::Passing(error))) => {
            tracing::warn!(error = %chain(&error), "the database is not answering; the message goes back on the queue");
            // In one message: the trouble was not theirs.
            let attempt = items.iter().map(|item| item.attempt).max().unwrap_or_default();
            put_off(clients, vec![(items, retry_delay(attempt))], report).await
        }
        Ok(Err(error)) => Err(Failure::Database(error)),
        Err(_) => {
            tracing::warn!(blobs = items.len(), "time ran out; each content blob goes back on the queue by itself");
            // Together they are too much for one invocation.
            let each = items.into_iter().map(|item| (retry_delay(item.attempt), item)).map(|(delay, item)| (vec![item], delay));
            put_off(clients, each.collect(), report).await
        }
    }
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

/// A content blob after fetching and writing.
#[derive(Debug, Default)]
struct Blob {
    /// Why it is not stored whole.
    trouble: Option<Shortfall>,
    bytes: u64,
    records: u64,
    left_out: u64,
    documents: u64,
    duplicates: u64,
    /// Ids of reduced documents, with the fields they lack.
    reduced: Vec<(String, Vec<String>)>,
}

/// Why a content blob is not stored whole.
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
    fn trouble(&self) -> Trouble {
        match self {
            Self::Fetch(error) => error.trouble(),
            Self::Write(..) => Trouble::Refused,
        }
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::Fetch(error) => error.code(),
            Self::Write(_, error) => error.code(),
        }
    }
}

/// Fetching and writing run side by side, joined by a short channel: neither runs ahead of the other.
async fn fetch_and_write(clients: &Clients, storing: &Storing, items: &[Item]) -> Result<Vec<Blob>, DatabaseError> {
    let (sender, receiver) = mpsc::channel(2);
    let fetches: Vec<_> = items.iter().enumerate().map(|(at, item)| fetch(clients, storing, at, item, sender.clone())).collect();
    // The channel ends when the last fetch does.
    drop(sender);
    let fetching = stream::iter(fetches).buffered(MAX_FETCHES).collect::<Vec<Blob>>().map(Ok);
    let (mut blobs, tallies) = futures::try_join!(fetching, write(storing, receiver, items.len()))?;
    for (blob, tally) in blobs.iter_mut().zip(tallies) {
        blob.documents = tally.documents;
        blob.duplicates += tally.duplicates;
        blob.reduced = tally.reduced;
        let refused = tally.first_refusal.map(|error| Shortfall::Write(tally.refused, error));
        blob.trouble = blob.trouble.take().or(refused);
    }
    Ok(blobs)
}

impl Report {
    fn count_stored(&mut self, item: &Item, blob: &Blob) {
        self.stored += 1;
        self.bytes += blob.bytes;
        self.records += blob.records;
        self.documents += blob.documents;
        self.duplicates += blob.duplicates;
        self.left_out += blob.left_out;
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
