//! A trial of the state container: a blob of the journal's kind is made, read and removed. Nothing of the state is touched.

use std::io;

use azure_storage_blob::models::BlobContainerClientListBlobsOptions;
use futures::TryStreamExt;

use super::State;
use crate::azure::storage::is_not_found;

/// Below this, so that who meets one knows what it was.
const FOLDER: &str = "check";

/// The blob that a trial leaves behind, if it could write but not remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind(pub String);

impl State {
    /// True if the container is there. It is told by a listing, which a signature for this container alone may ask for; the
    /// container's properties it may not.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn is_there(&self) -> azure_core::Result<bool> {
        let one = BlobContainerClientListBlobsOptions { maxresults: Some(1), ..Default::default() };
        match self.container.list_blobs(Some(one))?.try_next().await {
            Err(error) if is_not_found(&error) => Ok(false),
            listed => listed.map(|_| true),
        }
    }

    /// Appends to a blob of its own, as the journal is written, reads it and removes it.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn probe(&self) -> azure_core::Result<Option<LeftBehind>> {
        let name = format!("{FOLDER}/{:016x}.txt", fastrand::u64(..));
        let text = "written by `handler check`; it may be removed\n";
        self.append_block(&name, text.into()).await?;
        let read = self.read(&name).await?;
        let removed = self.blob(&name).delete(None).await;
        if read.is_none_or(|read| read.text != text) {
            return Err(io::Error::other("what was written could not be read again").into());
        }
        Ok(removed.err().map(|_| LeftBehind(name)))
    }
}
