//! Writes the documents of one message in batches by partition, while further ones arrive.

use std::{collections::VecDeque, iter, pin::pin, sync::Mutex};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{SemaphorePermit, mpsc};

use super::{
    dedupe::{Batch, Batches, Sourced, Taken},
    lock,
};
use crate::{
    database::{Claims, Database, DatabaseError, IdState, Written},
    document::Document,
    error_text::chain,
    services::Storing,
};

/// Documents gathered for fuller batches, in bytes; beyond this the fullest batch is written.
const MAX_GATHERED_BYTES: usize = 1536 * 1024;

/// Counts of one blob's documents.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) documents: u64,
    pub(super) duplicates: u64,
    /// Records that another blob of the message holds as well, or this one twice.
    pub(super) shared: u64,
    /// Ids of reduced documents, with the fields they lack.
    pub(super) reduced: Vec<(String, Vec<String>)>,
    pub(super) refused: u64,
    pub(super) first_refusal: Option<DatabaseError>,
}

/// Writes what arrives until the channel closes, and counts it in the tally of its blob. The first failure ends the writing, and
/// with it the fetching.
pub(super) async fn write(
    storing: &Storing,
    mut documents: mpsc::Receiver<Vec<Sourced>>,
    tallies: &Mutex<Vec<Tally>>,
) -> Result<(), DatabaseError> {
    let (mut batches, mut due, mut writes) = (Batches::default(), VecDeque::new(), FuturesUnordered::new());
    let mut permit = pin!(storing.writes.acquire());
    let mut is_open = true;
    // Batches in flight are polled while documents and permits are awaited. A batch that held a permit and was not polled
    // would block other messages, and they in turn this one's fetches.
    loop {
        tokio::select! {
            Some(written) = writes.next() => due.extend(count(written?, &mut batches, &mut lock(tallies))),
            Ok(granted) = &mut permit, if !due.is_empty() => {
                permit.set(storing.writes.acquire());
                writes.extend(due.pop_front().map(|batch| write_batch(&storing.database, batch, granted)));
            }
            chunk = documents.recv(), if is_open && due.is_empty() => match chunk {
                Some(chunk) => due.extend(gather(&mut batches, chunk, &mut lock(tallies))),
                None => is_open = false,
            },
            else => {
                due.extend(iter::from_fn(|| batches.largest()));
                if due.is_empty() {
                    return Ok(());
                }
            }
        }
    }
}

/// Takes documents in; gives out the batches that are due.
fn gather(batches: &mut Batches, documents: Vec<Sourced>, tallies: &mut [Tally]) -> Vec<Batch> {
    let mut due = Vec::new();
    for sourced in documents {
        let blob = sourced.blob;
        match batches.take(sourced) {
            Taken::Duplicate => tallies[blob].shared += 1,
            Taken::Gathered => {}
            Taken::Full(batch) => due.push(batch),
        }
        if batches.bytes() > MAX_GATHERED_BYTES {
            due.extend(batches.largest());
        }
    }
    due
}

/// A batch after writing.
struct WrittenBatch {
    documents: Vec<(Sourced, Written)>,
    /// Documents whose ids were in flight with another message. They are tried again once: until then that one has most
    /// likely stored them, and no request is needed.
    put_back: Vec<Sourced>,
}

async fn write_batch(database: &Database, batch: Batch, _permit: SemaphorePermit<'_>) -> Result<WrittenBatch, DatabaseError> {
    let (mut claims, mut new) = (Claims::default(), Vec::with_capacity(batch.documents.len()));
    let mut written = WrittenBatch { documents: Vec::with_capacity(batch.documents.len()), put_back: Vec::new() };
    for sourced in batch.documents {
        match database.ids().claim(sourced.document.digest, &mut claims) {
            IdState::Stored if sourced.document.reduced.is_none() => written.documents.push((sourced, Written::Duplicate)),
            IdState::InFlight if !sourced.is_put_back => written.put_back.push(sourced),
            _ => new.push(sourced),
        }
    }
    if !new.is_empty() {
        let documents: Vec<&Document> = new.iter().map(|sourced| &sourced.document).collect();
        let results = database.create(&documents).await?;
        for (mut sourced, mut result) in new.into_iter().zip(results) {
            write_stub(database, &mut sourced.document, &mut result).await?;
            written.documents.push((sourced, result));
        }
    }
    Ok(written)
}

/// If the database refuses a document, writes one that says so in its place; if that is refused too, one that says nothing else.
async fn write_stub(database: &Database, document: &mut Document, written: &mut Written) -> Result<(), DatabaseError> {
    for stub_of in [Document::stub, Document::bare_stub] {
        let Written::Refused(error) = &*written else { break };
        tracing::warn!(record = document.id, error = %chain(error), "the database refuses a document; one without its fields takes its place");
        let stub = stub_of(document);
        if let Some(of_stub) = database.create(&[&stub]).await?.pop() {
            *written = of_stub;
            *document = stub;
        }
    }
    Ok(())
}

/// Counts what is written, and gathers again what was put back; gives out the batches that are due.
fn count(written: WrittenBatch, batches: &mut Batches, tallies: &mut [Tally]) -> Vec<Batch> {
    for (Sourced { blob, document, .. }, written) in written.documents {
        batches.forget(&document.digest);
        let tally = &mut tallies[blob];
        match written {
            Written::Created => tally.documents += 1,
            Written::Duplicate => tally.duplicates += 1,
            Written::Refused(error) => {
                tally.refused += 1;
                tally.first_refusal.get_or_insert(error);
                continue;
            }
        }
        if let Some(omitted) = document.reduced {
            tally.reduced.push((document.id, omitted));
        }
    }
    let put_back = written.put_back.into_iter().map(|sourced| batches.put_back(sourced));
    put_back.filter_map(|taken| if let Taken::Full(batch) = taken { Some(batch) } else { None }).collect()
}
