//! StoreEvents: fetches the content blobs of one message, and writes their records as documents. A blob that cannot be had
//! goes back on the queue alone, or into the journal as lost; the message is done when every one of its blobs is.

mod dedupe;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    iter,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, StreamExt, TryStreamExt, stream, stream::FuturesUnordered};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use self::dedupe::{Batch, Batches, Sourced, Taken};
use crate::{
    batch::{self, Item},
    clock::{Clock, rfc3339},
    database::{DatabaseError, Written},
    document::{
        Document, Feed, document,
        records::{BodyError, Splitter},
    },
    error_text::chain,
    failure::Failure,
    limits::{Deadline, MAX_DELAY, MAX_RETRY_AFTER},
    management_api::{ActivityError, Trouble, body_error},
    services::Services,
    state::{Event, Line, Shard, Standing, hour_of},
};

/// Blobs of one message fetched side by side: hides latency, while the process's own bound keeps memory in hand.
const FETCHES: usize = 4;
/// Batches of one message written side by side.
const WRITES: usize = 4;
/// Documents of a blob wait for its end up to this many bytes, so that a small blob that turns out cut short leaves nothing.
const WAIT_FOR_END: usize = 512 * 1024;
/// Documents gathered for fuller batches, in bytes; beyond this the fullest batch is written.
const GATHERED: usize = 2 * 1024 * 1024;
/// Journal hours read side by side.
const JOURNAL_HOURS: usize = 8;
/// Delay of a blob's first return to the queue; doubled at each further one.
const FIRST_DELAY: Duration = Duration::from_secs(30);
/// What is put back by hand has no expiry; it is tried for as long as content can be listed.
const HAND_MADE: TimeDelta = TimeDelta::days(7);

/// What became of a message: the log line's figures.
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
    /// Documents that lack something of their record.
    pub reduced: u64,
    /// The same by workload.
    pub workloads: std::collections::BTreeMap<&'static str, Figures>,
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

/// Stores the content blobs of one message.
///
/// # Errors
/// Then nothing of the message is settled, and the host delivers it again.
pub async fn run(services: &Services, message: &str, deadline: Deadline) -> (Report, Result<(), Failure>) {
    let mut report = Report::default();
    let result = match timeout_at(deadline.end, store(services, message, deadline.work, &mut report)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::OutOfTime),
    };
    (report, result)
}

async fn store(services: &Services, message: &str, deadline: Instant, report: &mut Report) -> Result<(), Failure> {
    let items = distinct(batch::decode(message).map_err(Failure::Message)?);
    report.blobs = items.len();
    let items = not_stored(services, items).await.map_err(Failure::Storage)?;
    report.stored_before = report.blobs - items.len();
    match timeout_at(deadline, fetch_and_write(services, &items)).await {
        Ok(Ok(blobs)) => settle(services, items, blobs, report).await,
        Ok(Err(DatabaseError::Passing(error))) => {
            tracing::warn!(error = %chain(&error), "the database is not answering; the message goes back on the queue");
            // In one message: the trouble was not theirs.
            let attempt = items.iter().map(|item| item.attempt).max().unwrap_or_default();
            put_off(services, vec![(items, delay(attempt))], report).await
        }
        Ok(Err(error)) => Err(Failure::Database(error)),
        Err(_) => {
            tracing::warn!(blobs = items.len(), "time ran out; each content blob goes back on the queue by itself");
            // Together they are too much for one invocation.
            let each = items.into_iter().map(|item| (delay(item.attempt), item)).map(|(delay, item)| (vec![item], delay));
            put_off(services, each.collect(), report).await
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
async fn not_stored(services: &Services, items: Vec<Item>) -> azure_core::Result<Vec<Item>> {
    let hours: BTreeSet<_> = items.iter().filter_map(|item| Some((item.workload_name(), hour_of(item.created?)))).collect();
    let reads: Vec<_> = hours.into_iter().map(|(workload, hour)| journal_hour(services, workload, hour)).collect();
    let shards: HashMap<_, _> = stream::iter(reads).buffer_unordered(JOURNAL_HOURS).try_collect().await?;
    let is_stored = |item: &Item| {
        let shard = item.created.and_then(|created| shards.get(&(item.workload_name(), hour_of(created))));
        shard.and_then(|shard| shard.standing(&item.id)) == Some(Standing::Stored)
    };
    Ok(items.into_iter().filter(|item| !is_stored(item)).collect())
}

type Hour = (&'static str, DateTime<Utc>);

async fn journal_hour(services: &Services, workload: &'static str, hour: DateTime<Utc>) -> azure_core::Result<(Hour, Shard)> {
    Ok(((workload, hour), services.clients.state.journal(workload, hour).await?))
}

/// A content blob after fetching and writing.
#[derive(Debug, Default)]
struct Blob {
    /// Why it is not stored whole.
    trouble: Option<Shortfall>,
    bytes: u64,
    records: u64,
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
async fn fetch_and_write(services: &Services, items: &[Item]) -> Result<Vec<Blob>, DatabaseError> {
    let (sender, receiver) = mpsc::channel(2);
    let fetches: Vec<_> = items.iter().enumerate().map(|(at, item)| fetch(services, at, item, sender.clone())).collect();
    // The channel ends when the last fetch does.
    drop(sender);
    let fetching = stream::iter(fetches).buffered(FETCHES).collect::<Vec<Blob>>().map(Ok);
    let (mut blobs, tallies) = futures::try_join!(fetching, write(services, receiver, items.len()))?;
    for (blob, tally) in blobs.iter_mut().zip(tallies) {
        blob.documents = tally.documents;
        blob.duplicates = tally.duplicates;
        blob.reduced = tally.reduced;
        let refused = tally.first_refusal.map(|error| Shortfall::Write(tally.refused, error));
        blob.trouble = blob.trouble.take().or(refused);
    }
    Ok(blobs)
}

async fn fetch(services: &Services, at: usize, item: &Item, documents: mpsc::Sender<Vec<Sourced>>) -> Blob {
    let mut blob = Blob::default();
    let _permit = services.storing.fetches.acquire().await;
    if let Err(error) = fetch_records(services, at, item, documents, &mut blob).await {
        blob.trouble = Some(Shortfall::Fetch(error));
    }
    blob
}

/// Streams a blob's records on as documents. A receiver that is gone has failed, and says so itself.
async fn fetch_records(
    services: &Services,
    at: usize,
    item: &Item,
    documents: mpsc::Sender<Vec<Sourced>>,
    blob: &mut Blob,
) -> Result<(), ActivityError> {
    let body = services.clients.activity.fetch(&item.uri).await?;
    let content_type = body.content_type().to_owned();
    let refused = |reason: &str, bytes: u64| {
        body_error("fetch content blob".to_owned(), reason, usize::try_from(bytes).unwrap_or(usize::MAX), &content_type)
    };
    let feed = Feed { content_type: item.workload, content_id: item.id.clone(), content_created: item.created.map(rfc3339) };
    let rules = services.storing.rules(services.clients.clock.now());
    let (mut splitter, mut waiting, mut waiting_bytes) = (Splitter::default(), Vec::new(), 0);
    let mut invalid = None;
    let mut stream = std::pin::pin!(body.into_stream());
    while let Some(chunk) = stream.try_next().await? {
        blob.bytes += chunk.len() as u64;
        let cut = splitter.push(&chunk, |record, traits| match document(record, traits, &feed, rules) {
            Ok(document) => {
                waiting_bytes += document.json.len();
                waiting.push(Sourced { blob: at, document });
            }
            Err(error) => invalid = Some(error),
        });
        cut.map_err(|error: BodyError| refused(&error.to_string(), blob.bytes))?;
        if let Some(error) = invalid {
            return Err(refused(&error.to_string(), blob.bytes));
        }
        if waiting_bytes > WAIT_FOR_END {
            waiting_bytes = 0;
            let _ = documents.send(std::mem::take(&mut waiting)).await;
        }
    }
    blob.records = splitter.finish().map_err(|error| refused(&error.to_string(), blob.bytes))? as u64;
    let _ = documents.send(waiting).await;
    Ok(())
}

/// What writing made of one blob's documents.
#[derive(Debug, Default)]
struct Tally {
    documents: u64,
    duplicates: u64,
    reduced: Vec<(String, Vec<String>)>,
    refused: u64,
    first_refusal: Option<DatabaseError>,
}

/// Writes what arrives, in batches by partition; the first failure ends it, and with it the fetching.
async fn write(services: &Services, mut documents: mpsc::Receiver<Vec<Sourced>>, blobs: usize) -> Result<Vec<Tally>, DatabaseError> {
    let mut tallies: Vec<Tally> = iter::repeat_with(Tally::default).take(blobs).collect();
    let (mut batches, mut writes) = (Batches::default(), FuturesUnordered::new());
    // Batches in flight are driven while documents are awaited: one that held a permit and stood still would hold back other
    // messages, and they in turn this one's fetches.
    loop {
        tokio::select! {
            Some(written) = writes.next() => count(written, &mut tallies)?,
            chunk = documents.recv(), if writes.len() < WRITES => match chunk {
                Some(chunk) => writes.extend(gather(&mut batches, chunk, &mut tallies).into_iter().map(|batch| write_batch(services, batch))),
                None => break,
            },
        }
    }
    writes.extend(iter::from_fn(|| batches.largest()).map(|batch| write_batch(services, batch)));
    while let Some(written) = writes.next().await {
        count(written, &mut tallies)?;
    }
    Ok(tallies)
}

/// Takes documents in; gives out the batches that are due.
fn gather(batches: &mut Batches, documents: Vec<Sourced>, tallies: &mut [Tally]) -> Vec<Batch> {
    let mut due = Vec::new();
    for sourced in documents {
        let blob = sourced.blob;
        match batches.take(sourced) {
            Taken::Duplicate => tallies[blob].duplicates += 1,
            Taken::Gathered => {}
            Taken::Full(batch) => due.push(batch),
        }
        if batches.bytes() > GATHERED {
            due.extend(batches.largest());
        }
    }
    due
}

type WrittenBatch = Result<(Batch, Vec<Written>), DatabaseError>;

async fn write_batch(services: &Services, batch: Batch) -> WrittenBatch {
    let _permit = services.storing.writes.acquire().await;
    let documents: Vec<&Document> = batch.documents.iter().map(|sourced| &sourced.document).collect();
    let written = services.storing.database.create(&documents).await?;
    Ok((batch, written))
}

fn count(written: WrittenBatch, tallies: &mut [Tally]) -> Result<(), DatabaseError> {
    let (batch, written) = written?;
    for (Sourced { blob, document }, written) in batch.documents.into_iter().zip(written) {
        match written {
            Written::Created => tallies[blob].documents += 1,
            Written::Duplicate => tallies[blob].duplicates += 1,
            Written::Refused(error) => {
                tallies[blob].refused += 1;
                tallies[blob].first_refusal.get_or_insert(error);
                continue;
            }
        }
        if let Some(omitted) = document.reduced {
            tallies[blob].reduced.push((document.id, omitted));
        }
    }
    Ok(())
}

/// Every blob ends in one of three ways, and each is on record before the message is acknowledged.
async fn settle(services: &Services, items: Vec<Item>, blobs: Vec<Blob>, report: &mut Report) -> Result<(), Failure> {
    let now = services.clients.clock.now();
    let (mut lines, mut delayed) = (Vec::new(), Vec::new());
    for (item, blob) in items.iter().zip(&blobs) {
        match &blob.trouble {
            None => {
                report.count_stored(item, blob);
                lines.extend(stored_lines(item, blob, now).map(|line| (item, line)));
            }
            Some(error) => match fate(item, error, &services.clients.clock) {
                Fate::Lost(reason) => {
                    report.count_lost(item);
                    lines.push((item, lost(item, error, reason, now)));
                }
                Fate::PutOff(retry_after) => {
                    warn_put_off(item, error);
                    delayed.push((vec![item.clone()], delay(item.attempt).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))));
                }
            },
        }
    }
    // First what is done: should the queue fail then, the message's next delivery has only the rest to do.
    services.clients.outbox.journal(lines).await.map_err(Failure::Storage)?;
    put_off(services, delayed, report).await
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
async fn put_off(services: &Services, groups: Vec<(Vec<Item>, Duration)>, report: &mut Report) -> Result<(), Failure> {
    let now = services.clients.clock.now();
    let mut messages = Vec::new();
    for (items, delay) in groups {
        let items = items.into_iter().map(|item| again(item, now)).collect();
        let batches = services.clients.outbox.pack(items, usize::MAX).await.map_err(Failure::Storage)?;
        messages.extend(batches.into_iter().map(|batch| (batch, delay)));
    }
    let sent = services.clients.outbox.send(&messages).await;
    report.requeued += sent.items;
    if let Err(error) = sent.journalled {
        // To fail for this would send them once more, and again at every delivery; without their lines they only count as
        // overdue sooner.
        tracing::warn!(error = %chain(&error), blobs = sent.items, "content blobs were put off, and the journal does not know of it");
    }
    sent.taken.map_err(Failure::Storage)
}

fn again(item: Item, now: DateTime<Utc>) -> Item {
    Item { attempt: item.attempt.saturating_add(1), expires: item.expires.or(Some(now + HAND_MADE)), ..item }
}

/// 30 s doubled at each attempt, half an hour at most, a fifth more or less so that blobs do not march in step.
fn delay(attempt: u32) -> Duration {
    let whole = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_DELAY);
    whole.mul_f64(0.8 + 0.4 * fastrand::f64()).min(MAX_DELAY)
}

impl Report {
    fn count_stored(&mut self, item: &Item, blob: &Blob) {
        self.stored += 1;
        self.bytes += blob.bytes;
        self.records += blob.records;
        self.documents += blob.documents;
        self.duplicates += blob.duplicates;
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
