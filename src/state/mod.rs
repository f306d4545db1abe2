//! The state between runs, in one blob container: checkpoints, the journal, gaps, what was erased, and how the
//! subscriptions stood.
//! Each has its file; here is only the container they share.

pub mod checkpoint;
mod erased;
mod gaps;
mod growing;
mod journal;
mod own_files;
mod probe;
mod rules;
mod stored;
mod subscriptions;
mod sums;

use std::{collections::HashSet, num::NonZero, sync::Mutex};

use azure_core::Error;
use azure_storage_blob::{BlobClient, BlobContainerClient, models::BlobClientDownloadOptions};

pub use self::{
    checkpoint::{Checkpoint, CheckpointError, Sweeps},
    erased::{Erasure, ErasureEvent},
    gaps::Gap,
    journal::{Event, Line, Shard, Standing, hour_of},
    probe::LeftBehind,
    rules::OwnRules,
    subscriptions::{SubscriptionNote, Subscriptions},
    sums::{Figures, HourSums, Sums, Waiting},
};
use crate::{
    azure::{
        Connection,
        storage::{is_conflict, is_not_found},
    },
    config::Config,
};

/// More than any of the blobs here has.
const MAX_BLOB_BYTES: usize = 1 << 30;

/// The state container.
pub struct State {
    container: BlobContainerClient,
    /// Blobs that a person uploaded in place of append blobs, of which the log was told.
    uploaded: Mutex<HashSet<String>>,
    /// The part of the journal that was read for messages.
    hours: stored::Hours,
    /// Ids that were erased on request.
    erased: erased::ErasedIds,
}

impl State {
    /// # Errors
    /// The settings do not make a client.
    pub fn new(config: &Config, connection: &Connection) -> azure_core::Result<Self> {
        Ok(Self {
            container: connection.container(&config.storage, &config.state_container)?,
            uploaded: Mutex::default(),
            hours: stored::Hours::default(),
            erased: erased::ErasedIds::default(),
        })
    }

    /// Makes the container if it is missing.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn ensure(&self) -> azure_core::Result<()> {
        match self.container.create(None).await {
            Err(error) if !is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn blob(&self, name: &str) -> BlobClient {
        self.container.blob_client(name)
    }

    /// The whole of a blob as text, with its ETag and metadata; none where there is no such blob.
    async fn read(&self, name: &str) -> azure_core::Result<Option<Stored>> {
        // In one request: between two, another may have appended.
        let whole = BlobClientDownloadOptions { partition_size: NonZero::new(MAX_BLOB_BYTES), ..Default::default() };
        let download = match self.blob(name).download(Some(whole)).await {
            Ok(download) => download,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let may_continue = journal::may_continue(&download.properties);
        let body = download.body.collect().await?;
        let etag = download
            .properties
            .etag
            .ok_or_else(|| Error::with_message(azure_core::error::ErrorKind::Other, format!("{name} came without an ETag")))?;
        Ok(Some(Stored { may_continue, text: String::from_utf8_lossy(&body).into_owned(), etag, metadata: download.properties.metadata }))
    }
}

struct Stored {
    text: String,
    /// Of the journal's blobs: whether there may be a further one.
    may_continue: bool,
    etag: azure_core::http::Etag,
    metadata: std::collections::HashMap<String, String>,
}
