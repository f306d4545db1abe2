//! Documents that were collected, in `.state` of a case folder: a file for each partition, only appended to. The first that came of
//! each id is the one that counts, whichever way it came.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use handler::document::Document as Made;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::lines::cut_unfinished_line;
use crate::case::document::Document;

const DOCUMENTS: &str = "documents";

/// The files.
#[derive(Debug)]
pub(crate) struct DocumentFiles {
    folder: PathBuf,
    /// Files that were appended to and are not known to be on the disk.
    unsynced: BTreeSet<PathBuf>,
}

impl DocumentFiles {
    /// Opens those of a state folder. A line that a killed run left unfinished is taken away.
    pub(crate) fn open(state: &Path) -> Result<Self> {
        let folder = state.join(DOCUMENTS);
        fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        for entry in fs::read_dir(&folder)? {
            cut_unfinished_line(&mut OpenOptions::new().read(true).write(true).open(entry?.path())?)?;
        }
        Ok(Self { folder, unsynced: BTreeSet::new() })
    }

    /// Keeps documents that arrived, each in the file of its partition.
    pub(crate) fn keep(&mut self, documents: &[Made]) -> Result<()> {
        let mut by_partition: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for document in documents {
            let lines = by_partition.entry(&document.pk).or_default();
            // A service may break the lines of its JSON; between its values any space will do.
            lines.extend(document.json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
            lines.push(b'\n');
        }
        for (partition, lines) in by_partition {
            let path = self.folder.join(format!("{partition}.ndjson"));
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(&lines));
            written.with_context(|| format!("{} cannot be written", path.display()))?;
            self.unsynced.insert(path);
        }
        Ok(())
    }

    /// Waits until all that was kept is on the disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.unsynced) {
            File::open(&path)?.sync_data().with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }

    /// The files, sorted by partition: a document a line, in the order in which they came, some of them several times.
    pub(crate) fn partitions(&self) -> Result<Vec<PathBuf>> {
        let mut partitions: Vec<_> = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        partitions.sort_by_key(|path| path.file_stem().map(ToOwned::to_owned));
        Ok(partitions)
    }

    /// Hands out each document once, the first that came of each id, sorted by partition and id.
    pub(crate) fn each(&self, mut take: impl FnMut(&Document) -> Result<()>) -> Result<()> {
        for path in self.partitions()? {
            let mut file = File::open(&path)?;
            for (offset, length) in places(&file)? {
                file.seek(SeekFrom::Start(offset))?;
                let mut line = vec![0; length];
                file.read_exact(&mut line)?;
                let mut fields: Map<String, Value> =
                    serde_json::from_slice(&line).with_context(|| format!("{} is damaged", path.display()))?;
                // It counts from when it was written, which for files means nothing.
                fields.remove("ttl");
                take(&Document::new(fields))?;
            }
        }
        Ok(())
    }
}

/// Where the first document of each id stands, and how long it is, sorted by id.
fn places(file: &File) -> Result<Vec<(u64, usize)>> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    let (mut reader, mut line, mut offset) = (BufReader::new(file), Vec::new(), 0);
    let mut places = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        let Id { id } = serde_json::from_slice(&line)?;
        places.push((id.into_boxed_str(), offset, length));
        offset += length as u64;
    }
    // Of one id the first in the file comes first.
    places.sort_unstable();
    places.dedup_by(|later, first| later.0 == first.0);
    Ok(places.into_iter().map(|(_, offset, length)| (offset, length)).collect())
}
