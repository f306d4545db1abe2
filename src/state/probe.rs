//! A trial of the state container: a blob of the journal's kind is made, read and removed. Nothing of the state is touched.

use std::io;

use super::State;

/// Below this, so that who meets one knows what it was.
const FOLDER: &str = "check";

/// What a trial leaves behind, where it could write but not remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind(pub String);

impl State {
    /// Whether the container is there.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn is_there(&self) -> azure_core::Result<bool> {
        self.container.exists().await
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
