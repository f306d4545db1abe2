//! Writes the documents of one message in batches by partition, while further ones arrive.

use std::{collections::VecDeque, iter, pin::pin, sync::Mutex};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{SemaphorePermit, mpsc};

use super::{
    dedupe::{Batch, Batches, Sourced, Taken},
    lock,
};
use crate::{
    database::{DatabaseError, Written},
    document::Document,
    error_text::chain,
    services::Storing,
};

/// Documents gathered for fuller batches, in bytes; beyond this the fullest batch is written.
const MAX_GATHERED_BYTES: usize = 2 * 1024 * 1024;

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
            Some(written) = writes.next() => count(written, &mut lock(tallies))?,
            Ok(granted) = &mut permit, if !due.is_empty() => {
                permit.set(storing.writes.acquire());
                writes.extend(due.pop_front().map(|batch| write_batch(storing, batch, granted)));
            }
            chunk = documents.recv(), if is_open && due.is_empty() => match chunk {
                Some(chunk) => due.extend(gather(&mut batches, chunk, &mut lock(tallies))),
                None => {
                    is_open = false;
                    due.extend(iter::from_fn(|| batches.largest()));
                }
            },
            else => return Ok(()),
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

type WrittenBatch = Result<(Batch, Vec<Written>), DatabaseError>;

async fn write_batch(storing: &Storing, mut batch: Batch, _permit: SemaphorePermit<'_>) -> WrittenBatch {
    let documents: Vec<&Document> = batch.documents.iter().map(|sourced| &sourced.document).collect();
    let mut written = storing.database.create(&documents).await?;
    for (sourced, written) in batch.documents.iter_mut().zip(&mut written) {
        if matches!(written, Written::Refused(_)) {
            write_stub(storing, &mut sourced.document, written).await?;
        }
    }
    Ok((batch, written))
}

/// Writes one that says so in place of a document that the database refuses; if that is refused too, one that says nothing else.
async fn write_stub(storing: &Storing, document: &mut Document, written: &mut Written) -> Result<(), DatabaseError> {
    for stub in [document.stub(), document.bare_stub()] {
        let Written::Refused(error) = &*written else { break };
        tracing::warn!(record = document.id, error = %chain(error), "the database refuses a document; one without its fields takes its place");
        if let Some(of_stub) = storing.database.create(&[&stub]).await?.pop() {
            *written = of_stub;
            *document = stub;
        }
    }
    Ok(())
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
