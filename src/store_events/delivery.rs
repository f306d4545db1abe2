//! A content blob's documents for who stores them elsewhere than in the database: fetched, retried, and made as in StoreEvents.

use std::time::Duration;

use futures::future::join;
use tokio::sync::mpsc;

use super::{dedupe::Sourced, fetch::fetch};
use crate::{
    batch::Item,
    document::Document,
    error_text::chain,
    management_api::Remedy,
    services::{Clients, Storing},
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
