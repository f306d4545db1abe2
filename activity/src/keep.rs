//! The file with which a stack that is kept up tells `graph` and `query` where it is and what opens it.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::paths::keep_file;

/// The setting that opens the storage account in which the Functions host keeps its queue.
pub(crate) const STORAGE: &str = "AzureWebJobsStorage";

/// What is kept up: the database and, where it is an emulator too, the storage account.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Kept {
    /// Address of the database.
    pub endpoint: String,
    /// What opens it, for this run alone.
    pub key: String,
    /// The database's name.
    pub database: String,
    /// The container's name.
    pub container: String,
    /// Connection string of the storage account with queue, checkpoints and journal.
    pub storage: Option<String>,
    /// The process that keeps it.
    pub process: u32,
}

/// The file, there until this is dropped. Its owner alone may read it.
#[derive(Debug)]
pub struct KeepFile {
    path: PathBuf,
    kept: Kept,
}

impl KeepFile {
    /// Writes it; of two stacks that are kept up, the later one is named.
    ///
    /// # Errors
    ///
    /// The folder cannot be written to.
    pub fn write(kept: Kept) -> Result<Self> {
        Self::write_at(keep_file(), kept)
    }

    fn write_at(path: PathBuf, kept: Kept) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        // Mode 0600 from its first byte on, and never half written.
        let mut file = NamedTempFile::new_in(folder).with_context(|| format!("write into {}", folder.display()))?;
        serde_json::to_writer_pretty(&mut file, &kept)?;
        file.write_all(b"\n")?;
        file.persist(&path).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path, kept })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for KeepFile {
    fn drop(&mut self) {
        // A stack that came later has put its own in place.
        if read_at(&self.path).is_ok_and(|kept| kept.as_ref() == Some(&self.kept)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is kept up on this machine; `None`: nothing.
///
/// # Errors
///
/// The file is there and cannot be read.
pub fn read() -> Result<Option<Kept>> {
    read_at(&keep_file())
}

fn read_at(path: &Path) -> Result<Option<Kept>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is not what --keep writes", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn kept(process: u32) -> Kept {
        let text = |text: &str| text.to_owned();
        Kept { endpoint: text("e"), key: text("k"), database: text("d"), container: text("c"), storage: None, process }
    }

    #[test]
    fn is_for_its_owner_alone_and_gone_at_the_end() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("activity/keep.json");
        assert_eq!(read_at(&path)?, None);
        let first = KeepFile::write_at(path.clone(), kept(1))?;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        let second = KeepFile::write_at(path.clone(), kept(2))?;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        drop(first);
        assert_eq!(read_at(&path)?, Some(kept(2)), "the first took the second's file away");
        drop(second);
        assert!(!path.exists());
        Ok(())
    }
}
