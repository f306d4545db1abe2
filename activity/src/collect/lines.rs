//! Files of lines that are only appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;

/// Keeps a state folder for this process alone, as long as what is returned lives.
pub(crate) fn hold(state: &Path) -> Result<File> {
    fs::create_dir_all(state).with_context(|| format!("the folder {} cannot be made", state.display()))?;
    open_alone(&state.join("lock"), || format!("{} is being worked on by another process", state.display()))
}

/// Opens a file for this process alone, or begins it; `busy` says what another process is at. A line that a killed run left unfinished is
/// taken away.
pub(crate) fn open_alone(path: &Path, busy: impl FnOnce() -> String) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).read(true).open(path);
    let mut file = file.with_context(|| format!("{} cannot be written", path.display()))?;
    ensure!(flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(), busy());
    cut_unfinished_line(&mut file)?;
    Ok(file)
}

/// The entries of a file of JSON lines.
pub(crate) fn entries<T: DeserializeOwned>(mut file: &File, path: &Path) -> Result<Vec<T>> {
    let mut read = || {
        file.seek(SeekFrom::Start(0))?;
        BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_>>()
    };
    read().with_context(|| format!("{} cannot be read", path.display()))
}

/// The same of a file that another process may be writing: less a last line that is not finished.
pub(crate) fn finished_entries<T: DeserializeOwned>(mut file: &File, path: &Path) -> Result<Vec<T>> {
    let mut read = || {
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = text[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Ok(serde_json::from_slice(line)?)).collect::<Result<_>>()
    };
    read().with_context(|| format!("{} cannot be read", path.display()))
}

/// A run that was killed may have left half a line behind.
pub(crate) fn cut_unfinished_line(file: &mut File) -> Result<()> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let chunk = &mut chunk[..usize::try_from(end - start)?];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::End(0))?;
    Ok(())
}
