//! Where documents of history go: into files of a case, or into the collector's database.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use handler::document::Document;
use handler::services::Services;
use handler::store_events::store_documents;
use tokio::sync::mpsc;

use crate::collect::documents::DocumentFiles;

/// One of the two.
pub(crate) enum Shelf {
    /// Files in a case's state.
    Files(Mutex<DocumentFiles>),
    /// The database of the collector.
    #[expect(dead_code, reason = "the command that fills the database comes next")]
    Database(Arc<Services>),
}

/// What was kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) documents: u64,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
    pub(super) reduced: u64,
}

impl Shelf {
    /// Keeps what arrives until the channel closes, and returns when all of it is safe.
    pub(super) async fn keep(&self, mut arrivals: mpsc::Receiver<Vec<Document>>) -> Result<Kept> {
        match self {
            Self::Files(files) => {
                let mut kept = Kept::default();
                while let Some(documents) = arrivals.recv().await {
                    files.lock().unwrap_or_else(PoisonError::into_inner).keep(&documents)?;
                    kept.documents += documents.len() as u64;
                    kept.reduced += documents.iter().filter(|document| document.reduced.is_some()).count() as u64;
                }
                files.lock().unwrap_or_else(PoisonError::into_inner).sync()?;
                Ok(kept)
            }
            Self::Database(services) => {
                let stored = store_documents(&services.storing, arrivals).await?;
                Ok(Kept {
                    documents: stored.documents,
                    duplicates: stored.duplicates,
                    refused: stored.refused,
                    reduced: stored.reduced.len() as u64,
                })
            }
        }
    }
}

impl Kept {
    pub(super) fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.reduced += other.reduced;
    }
}
