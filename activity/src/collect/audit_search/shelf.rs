//! Where documents of history go: into files of a case, or into the collector's database.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::join;
use handler::document::Document;
use handler::services::Services;
use handler::store_events::store_documents;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::collect::documents::DocumentFiles;

/// What is known of the ids that were erased on request may be so old. Whoever erases looks again after ten minutes
/// ([`handler::state::State::read_erased`]): by then a document that is made with what is known now must be written.
const ERASED_STAYS: Duration = Duration::from_secs(60);

/// One of the two.
pub(crate) enum Shelf {
    /// Files in a case's state.
    Files(Mutex<DocumentFiles>),
    /// The collector's database.
    Database(DatabaseShelf),
}

/// The collector's database, and its word on what was erased.
pub(crate) struct DatabaseShelf {
    services: Arc<Services>,
    erased_read: Mutex<Option<Instant>>,
}

/// What was kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// That were not there.
    pub(super) documents: u64,
    /// That were there, and stay as they are.
    pub(super) duplicates: u64,
    /// That the database does not take, in whatever form.
    pub(super) refused: u64,
    /// That lack something of their record.
    pub(super) reduced: u64,
}

impl Shelf {
    /// In files.
    pub(crate) fn files(files: DocumentFiles) -> Self {
        Self::Files(Mutex::new(files))
    }

    /// In the database of these services.
    pub(crate) fn database(services: Arc<Services>) -> Self {
        Self::Database(DatabaseShelf { services, erased_read: Mutex::default() })
    }

    pub(super) fn is_database(&self) -> bool {
        matches!(self, Self::Database(_))
    }

    /// Before documents are made: reads what was erased meanwhile.
    pub(super) async fn look_first(&self) -> Result<()> {
        match self {
            // Files are held against what was erased when the case is written.
            Self::Files(_) => Ok(()),
            Self::Database(database) => database.read_erased().await,
        }
    }

    /// Keeps what arrives until the channel closes, and returns when all of it is safe. After an error nobody receives any more.
    pub(super) async fn keep(&self, mut arrivals: mpsc::Receiver<Vec<Document>>) -> Result<Kept> {
        match self {
            Self::Files(files) => {
                let files = || files.lock().unwrap_or_else(PoisonError::into_inner);
                let mut kept = Kept::default();
                while let Some(documents) = arrivals.recv().await {
                    files().keep(&documents)?;
                    kept.documents += documents.len() as u64;
                    kept.reduced += documents.iter().filter(|document| document.reduced.is_some()).count() as u64;
                }
                files().sync()?;
                Ok(kept)
            }
            Self::Database(database) => database.keep(arrivals).await,
        }
    }
}

impl DatabaseShelf {
    async fn keep(&self, mut arrivals: mpsc::Receiver<Vec<Document>>) -> Result<Kept> {
        let (sender, receiver) = mpsc::channel(1);
        let hand_on = async move {
            while let Some(documents) = arrivals.recv().await {
                self.read_erased().await?;
                if sender.send(documents).await.is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        };
        let (stored, handed_on) = join!(store_documents(&self.services.storing, receiver), hand_on);
        let stored = stored?;
        handed_on?;
        Ok(Kept {
            documents: stored.documents,
            duplicates: stored.duplicates,
            refused: stored.refused,
            reduced: stored.reduced.len() as u64,
        })
    }

    async fn read_erased(&self) -> Result<()> {
        let last = || self.erased_read.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = last().is_some_and(|at| at.elapsed() < ERASED_STAYS);
        if !is_fresh {
            let began = Instant::now();
            self.services.clients.state().read_erased().await.context(UNREAD)?;
            *last() = Some(began);
        }
        Ok(())
    }
}

/// Says what must be read before anything is stored.
pub(crate) const UNREAD: &str = "which records were erased on request cannot be read in the storage account that AzureWebJobsStorage names, and one of them could be stored again";

impl Kept {
    pub(super) fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.reduced += other.reduced;
    }
}
