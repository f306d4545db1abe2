//! Files that an administrator puts into the state container: rows of their own for the table of edges.

use azure_storage_blob::models::BlobContainerClientListBlobsOptions;
use futures::TryStreamExt;

use super::State;
use crate::azure::storage::is_not_found;

/// Most files that are read of a folder. A hundred rows fit into one.
const MAX_FILES: usize = 100;
/// Most bytes of a file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

impl State {
    /// The names and texts of the files below a folder that end as given, in the order of their names; those that are too large
    /// or too many are left out with a warning.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn own_files(&self, folder: &str, end: &str) -> azure_core::Result<Vec<(String, String)>> {
        let options = BlobContainerClientListBlobsOptions { prefix: Some(folder.to_owned()), ..Default::default() };
        let blobs: Vec<_> = match self.container.list_blobs(Some(options))?.try_collect().await {
            Ok(blobs) => blobs,
            Err(error) if is_not_found(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for blob in blobs {
            let bytes = blob.properties.and_then(|properties| properties.content_length).unwrap_or_default();
            let Some(name) = blob.name.filter(|name| name.ends_with(end)) else { continue };
            if bytes > MAX_BYTES || files.len() == MAX_FILES {
                tracing::warn!(file = name, "is left out: a file has at most {MAX_BYTES} bytes, and a folder at most {MAX_FILES} files");
            } else if let Some(stored) = self.read(&name).await? {
                files.push((name, stored.text));
            }
        }
        Ok(files)
    }
}
