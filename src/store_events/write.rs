//! Writes the documents of one message in batches by partition, while further ones arrive.

use std::{collections::VecDeque, iter, pin::pin};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{SemaphorePermit, mpsc};

use super::dedupe::{Batch, Batches, Sourced, Taken};
use crate::{
    database::{DatabaseError, Written},
    document::Document,
    services::Storing,
};

/// Documents gathered for fuller batches, in bytes; beyond this the fullest batch is written.
const MAX_GATHERED_BYTES: usize = 2 * 1024 * 1024;

/// Counts of one blob's documents.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) documents: u64,
    pub(super) duplicates: u64,
    /// Ids of reduced documents, with the fields they lack.
    pub(super) reduced: Vec<(String, Vec<String>)>,
    pub(super) refused: u64,
    pub(super) first_refusal: Option<DatabaseError>,
}

/// Writes what arrives until the channel closes, and returns a tally for each blob of the message. The first failure ends the
/// writing, and with it the fetching.
pub(super) async fn write(
    storing: &Storing,
    mut documents: mpsc::Receiver<Vec<Sourced>>,
    blobs: usize,
) -> Result<Vec<Tally>, DatabaseError> {
    let mut tallies: Vec<Tally> = iter::repeat_with(Tally::default).take(blobs).collect();
    let (mut batches, mut due, mut writes) = (Batches::default(), VecDeque::new(), FuturesUnordered::new());
    let mut permit = pin!(storing.writes.acquire());
    let mut is_open = true;
    // Batches in flight are polled while documents and permits are awaited. A batch that held a permit and was not polled
    // would block other messages, and they in turn this one's fetches.
    loop {
        tokio::select! {
            Some(written) = writes.next() => count(written, &mut tallies)?,
            Ok(granted) = &mut permit, if !due.is_empty() => {
                permit.set(storing.writes.acquire());
                writes.extend(due.pop_front().map(|batch| write_batch(storing, batch, granted)));
            }
            chunk = documents.recv(), if is_open && due.is_empty() => match chunk {
                Some(chunk) => due.extend(gather(&mut batches, chunk, &mut tallies)),
                None => {
                    is_open = false;
                    due.extend(iter::from_fn(|| batches.largest()));
                }
            },
            else => return Ok(tallies),
        }
    }
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
        if batches.bytes() > MAX_GATHERED_BYTES {
            due.extend(batches.largest());
        }
    }
    due
}

type WrittenBatch = Result<(Batch, Vec<Written>), DatabaseError>;

async fn write_batch(storing: &Storing, batch: Batch, _permit: SemaphorePermit<'_>) -> WrittenBatch {
    let documents: Vec<&Document> = batch.documents.iter().map(|sourced| &sourced.document).collect();
    let written = storing.database.create(&documents).await?;
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
