//! What StoreEvents does, for who has other content or stores elsewhere than in the database: a content blob's documents, fetched,
//! retried and made; documents of records that came by another way; documents written to the database.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::TimeDelta;
use futures::future::join;
use tokio::sync::mpsc;

use super::{
    dedupe::Sourced,
    fetch::fetch,
    into_inner,
    write::{Tally, write},
};
use crate::{
    batch::Item,
    database::DatabaseError,
    document::{
        Document, Feed, LifeFrom, Rules, Table, document_of_text, judged,
        records::{BodyError, Splitter},
    },
    error_text::chain,
    findings::{Found, RuleSet},
    management_api::Remedy,
    services::{Clients, Services, Storing},
};

/// The end of fetching a content blob.
#[derive(Debug)]
pub enum Delivery {
    /// All its records were handed out.
    Whole {
        /// The number of them.
        records: u64,
    },
    /// It can be had later; what was handed out comes again then.
    Later {
        /// The reason.
        why: String,
        /// The time that the service asks to wait.
        wait: Option<Duration>,
    },
    /// The service says that it cannot be had.
    Refused {
        /// The reason.
        why: String,
        /// The AF code or HTTP status.
        code: Option<String>,
    },
}

/// Fetches a content blob and hands out its documents while it arrives. A receiver that is gone ends nothing.
pub async fn deliver(clients: &Clients, storing: &Storing, item: &Item, documents: mpsc::Sender<Vec<Document>>) -> Delivery {
    let (sender, mut receiver) = mpsc::channel::<Vec<Sourced>>(2);
    let hand_out = async {
        while let Some(sourced) = receiver.recv().await {
            let _ = documents.send(sourced.into_iter().map(|sourced| sourced.document).collect()).await;
        }
    };
    let (blob, ()) = join(fetch(clients, storing, 0, item, sender), hand_out).await;
    let Some(error) = blob.trouble else { return Delivery::Whole { records: blob.records } };
    match error.remedy() {
        Remedy::Lasting(reason) => Delivery::Refused { why: reason.to_owned(), code: error.code() },
        Remedy::Passing(wait) => Delivery::Later { why: chain(&error), wait },
        // What a person has to mend, and what is not believed at the first word.
        _ => Delivery::Later { why: chain(&error), wait: None },
    }
}

/// Makes documents of records that did not come by the feed, by the same rules: edges, findings, redaction, what is left out.
pub struct DocumentMaker {
    services: Arc<Services>,
    rule_set: Option<Arc<RuleSet>>,
    table: Option<Arc<Table>>,
    /// Where the life of a document counts from the moment of writing: how long it is.
    keep: Option<TimeDelta>,
}

impl DocumentMaker {
    /// With the administrator's own rules and rows. `keep` is the time that documents live from now; none: as the feed's, by their event.
    pub async fn new(services: Arc<Services>, keep: Option<TimeDelta>) -> Self {
        let (clients, storing) = (&services.clients, &services.storing);
        let rule_set = storing.rule_set(&clients.state, clients.clock.now()).await;
        let table = storing.own_table();
        Self { rule_set, table, keep, services }
    }

    /// Makes the documents of records, which stand in the text of a JSON array, in their order. What is no JSON has a document too.
    ///
    /// # Errors
    /// The text is no array.
    pub fn make(&self, records: &[u8], feed: &Feed) -> Result<MadeDocuments, BodyError> {
        let Services { clients, storing, .. } = &*self.services;
        let rules = storing.rules(clients.clock.now(), self.table.as_deref());
        let rules = match self.keep {
            Some(keep) => Rules { retention: keep, life_from: LifeFrom::Writing, ..rules },
            None => rules,
        };
        let erased = clients.state.erased();
        let (mut found, mut splitter, mut made) = (Found::new(self.rule_set.as_deref()), Splitter::default(), MadeDocuments::default());
        splitter.push(records, |record| {
            let bytes = record.bytes;
            let document = judged(record, feed, rules, |_| false, |fields| found.judge(fields));
            let document = document.or_else(|_| document_of_text(bytes, feed, rules).map(Some));
            match document {
                Ok(Some(document)) if document.is_left_out => made.left_out += 1,
                Ok(Some(document)) if erased.contains(&document.digest) => made.erased += 1,
                Ok(Some(document)) => made.documents.push(document),
                // Neither can occur: nothing is said to be stored, and a text has a document.
                Ok(None) | Err(_) => {}
            }
        })?;
        splitter.finish()?;
        Ok(made)
    }
}

/// Documents, and how many records have none.
#[derive(Debug, Default)]
pub struct MadeDocuments {
    /// In the order of their records.
    pub documents: Vec<Document>,
    /// Records that `LEAVE_OUT` names.
    pub left_out: u64,
    /// Records that were erased on request.
    pub erased: u64,
}

/// The result of writing documents to the database.
#[derive(Debug, Default)]
pub struct StoredDocuments {
    /// Created.
    pub documents: u64,
    /// There already, and untouched.
    pub duplicates: u64,
    /// Refused by the database, whatever was left out of them.
    pub refused: u64,
    /// Ids of documents that lack something of their record, with the names of what they lack.
    pub reduced: Vec<(String, Vec<String>)>,
}

/// Writes what arrives until the channel closes, in batches by partition.
///
/// # Errors
/// The database is not there, or refuses all. What was written stays.
pub async fn store_documents(storing: &Storing, mut documents: mpsc::Receiver<Vec<Document>>) -> Result<StoredDocuments, DatabaseError> {
    let tallies = Mutex::new(vec![Tally::default()]);
    let (sender, receiver) = mpsc::channel(2);
    let hand_on = async move {
        while let Some(documents) = documents.recv().await {
            let sourced = documents.into_iter().map(|document| Sourced { blob: 0, document, is_put_back: false }).collect();
            if sender.send(sourced).await.is_err() {
                break;
            }
        }
    };
    let (written, ()) = join(write(storing, receiver, &tallies), hand_on).await;
    written?;
    let tally = into_inner(tallies).pop().unwrap_or_default();
    Ok(StoredDocuments {
        documents: tally.documents,
        duplicates: tally.duplicates + tally.shared,
        refused: tally.refused,
        reduced: tally.reduced,
    })
}
