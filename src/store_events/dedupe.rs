//! Duplicates inside one message, and the batches that are left: pure. What is a duplicate of something stored before,
//! only the database knows.

use std::collections::{HashMap, HashSet};

use crate::document::{Digest, Document, MAX_BYTES};

/// Cosmos's limits of a transactional batch. <https://learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch#limitations>
const MAX_OPERATIONS: usize = 100;
/// Bytes that the request adds around each document.
const AROUND: usize = 64;

/// A document and the place of its blob in the message.
#[derive(Debug)]
pub(super) struct Sourced {
    pub(super) blob: usize,
    pub(super) document: Document,
    /// A document of its id was in flight when it was to be written.
    pub(super) is_put_back: bool,
}

/// Documents of one partition, few enough for one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) documents: Vec<Sourced>,
    bytes: usize,
}

/// Gathers documents by partition key until a batch is full.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// Ids of what is gathered or given out.
    unwritten: HashSet<Digest>,
    open: HashMap<String, Batch>,
    bytes: usize,
}

/// The result of handing in a document.
#[derive(Debug)]
pub(super) enum Taken {
    /// One with the same id came before it in this message.
    Duplicate,
    /// It is gathered.
    Gathered,
    /// It is gathered, and this batch had no room for it and is to be written.
    Full(Batch),
}

impl Batches {
    /// The first document of an id is gathered; any further one is a duplicate until the first is written. After that, the
    /// process or the database knows.
    pub(super) fn take(&mut self, sourced: Sourced) -> Taken {
        if !self.unwritten.insert(sourced.document.digest) {
            return Taken::Duplicate;
        }
        self.gather(sourced)
    }

    /// Gathers a document once more that was given out.
    pub(super) fn put_back(&mut self, sourced: Sourced) -> Taken {
        self.gather(Sourced { is_put_back: true, ..sourced })
    }

    /// Forgets an id whose document is written.
    pub(super) fn forget(&mut self, digest: &Digest) {
        self.unwritten.remove(digest);
    }

    fn gather(&mut self, sourced: Sourced) -> Taken {
        let length = sourced.document.json.len() + AROUND;
        let batch = self.open.entry(sourced.document.pk.clone()).or_default();
        let no_room = batch.documents.len() == MAX_OPERATIONS || batch.bytes + length > MAX_BYTES + AROUND;
        let full = no_room.then(|| std::mem::take(batch));
        batch.bytes += length;
        batch.documents.push(sourced);
        self.bytes += length;
        match full {
            Some(full) if !full.documents.is_empty() => {
                self.bytes -= full.bytes;
                Taken::Full(full)
            }
            _ => Taken::Gathered,
        }
    }

    /// Bytes gathered and not yet given out.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives out the batch that holds most.
    pub(super) fn largest(&mut self) -> Option<Batch> {
        let pk = self.open.iter().max_by_key(|(_, batch)| batch.bytes).map(|(pk, _)| pk.clone())?;
        let batch = self.open.remove(&pk)?;
        self.bytes -= batch.bytes;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sourced(number: usize, pk: &str, length: usize) -> Sourced {
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        let document =
            Document { id: number.to_string(), pk: pk.to_owned(), json: "x".repeat(length), digest, reduced: None, is_left_out: false };
        Sourced { blob: 0, document, is_put_back: false }
    }

    fn all(documents: impl IntoIterator<Item = Sourced>) -> (Vec<Batch>, usize) {
        let (mut batches, mut full, mut duplicates) = (Batches::default(), Vec::new(), 0);
        for document in documents {
            match batches.take(document) {
                Taken::Duplicate => duplicates += 1,
                Taken::Gathered => {}
                Taken::Full(batch) => full.push(batch),
            }
        }
        full.extend(std::iter::from_fn(|| batches.largest()));
        assert_eq!(batches.bytes(), 0);
        (full, duplicates)
    }

    #[test]
    fn the_first_of_an_id_stays_and_every_later_one_is_counted() {
        let (batches, duplicates) = all([1, 2, 1, 1].map(|number| sourced(number, "p", 10)));
        assert_eq!((batches[0].documents.len(), duplicates), (2, 2));
    }

    #[test]
    fn a_batch_is_of_one_partition_and_keeps_both_limits() {
        let (batches, _) = all((0..250).map(|number| sourced(number, if number % 2 == 0 { "even" } else { "odd" }, 10)));
        let mut sizes: Vec<_> = batches.iter().map(|batch| batch.documents.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [25, 25, 100, 100]);
        assert!(batches.iter().all(|batch| batch.documents.iter().all(|one| one.document.pk == batch.documents[0].document.pk)));

        let (batches, _) = all((0..5).map(|number| sourced(number, "p", 900_000)));
        assert_eq!(batches.iter().map(|batch| batch.documents.len()).sum::<usize>(), 5);
        assert!(batches.iter().all(|batch| batch.documents.len() <= 2));
        let (batches, _) = all((0..2).map(|number| sourced(number, "p", MAX_BYTES)));
        assert_eq!(batches.len(), 2);
    }
}
