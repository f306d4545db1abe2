//! Counts how often something was seen, and when first and last, in bounded memory: what was seen is spread over files by
//! its hash, and each file is counted by itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Files: a million documents have some millions of edges, of which each file then holds a few megabytes.
const FILES: usize = 64;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Tally {
    files: Vec<BufWriter<File>>,
}

/// How often, and when. Times are those of documents: as text they are in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) records: u64,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

impl Tally {
    /// Nothing was seen yet. The files go with the program, however it ends.
    pub(super) fn new() -> io::Result<Self> {
        let file = |_| Ok(BufWriter::with_capacity(4096, tempfile::tempfile()?));
        Ok(Self { files: (0..FILES).map(file).collect::<io::Result<_>>()? })
    }

    /// Something was seen once. What begins with the same part is counted together.
    pub(super) fn add(&mut self, key: &[&str], time: &str) -> io::Result<()> {
        let hash = Sha256::digest(key.first().copied().unwrap_or_default());
        let file = &mut self.files[usize::from(hash[0]) % FILES];
        serde_json::to_writer(&mut *file, &(key, time))?;
        file.write_all(b"\n")
    }

    /// Hands out all that was seen, one file after another, each in order. The same input gives the same order.
    pub(super) fn each(self, mut take: impl FnMut(Vec<String>, Seen) -> io::Result<()>) -> io::Result<()> {
        for file in self.files {
            let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            let mut counted: BTreeMap<Vec<String>, Seen> = BTreeMap::new();
            for line in BufReader::new(file).lines() {
                let (key, time): (Vec<String>, String) = serde_json::from_str(&line?)?;
                counted.entry(key).or_default().add(time);
            }
            for (key, seen) in counted {
                take(key, seen)?;
            }
        }
        Ok(())
    }
}

impl Seen {
    fn add(&mut self, time: String) {
        self.records += 1;
        if time.is_empty() {
            return;
        }
        if self.first.as_ref().is_none_or(|first| time < *first) {
            self.first = Some(time.clone());
        }
        if self.last.as_ref().is_none_or(|last| time > *last) {
            self.last = Some(time);
        }
    }

    /// As properties of a node or an edge.
    pub(super) fn properties(&self) -> Vec<(&'static str, Value)> {
        let times = [("firstseen", &self.first), ("lastseen", &self.last)];
        let times = times.into_iter().filter_map(|(name, time)| Some((name, Value::from(time.clone()?))));
        std::iter::once(("records", Value::from(self.records))).chain(times).collect()
    }
}
