//! Which content blobs are stored: asked for each message, so only what was appended to the journal since the last look is
//! read. What is remembered is bounded; what is not remembered is read again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use azure_core::http::{Etag, StatusCode};
use azure_storage_blob::models::{BlobClientDownloadOptions, BlobDownloadProperties, BlobType};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::{
    Event, Line, State,
    journal::{may_continue, name},
};
use crate::azure::storage::is_not_found;

/// Stored content blobs remembered, over all hours: some 7 MiB.
const MAX_IDS: usize = 250_000;
/// Bytes of an hour read at a time.
const CHUNK: usize = 1024 * 1024;

type Id = [u8; 16];

/// A workload and an hour of contentCreated.
type HourKey = (String, DateTime<Utc>);

/// Hours that were read in this process.
#[derive(Default)]
pub(super) struct Hours(Mutex<HashMap<HourKey, Known>>);

struct Known {
    hour: Arc<AsyncMutex<Hour>>,
    /// Counts up with every look at any hour.
    last_look: u64,
    ids: usize,
}

/// One hour, as far as it was read.
#[derive(Default)]
struct Hour {
    stored: HashSet<Id>,
    parts: Vec<Part>,
}

/// One blob of an hour, as far as it was read.
#[derive(Clone)]
struct Part {
    /// Bytes read, up to the end of a line.
    length: usize,
    etag: Option<Etag>,
    /// Seconds since 1970; another time is another blob of the same name.
    created_on: Option<i64>,
    /// Only an append blob can be read on from where its end was: a person may put a block blob in its place.
    is_append: bool,
    /// Full, or not to be appended to: then there may be a further part.
    may_continue: bool,
}

/// Reads what there is in a blob behind what was read.
enum Tail {
    Missing,
    /// Another blob has taken its place.
    Replaced,
    Read(Vec<u8>, Part),
}

impl State {
    /// Those of these content blobs that the journal has as stored, by their place.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn stored(&self, workload: &str, hour: DateTime<Utc>, content_ids: &[&str]) -> azure_core::Result<Vec<bool>> {
        let key = (workload.to_owned(), hour);
        let known = self.hours.look(&key);
        let mut read = known.lock().await;
        if !self.read_on(&key, &mut read).await? {
            *read = Hour::default();
            self.read_on(&key, &mut read).await?;
        }
        self.hours.note(&key, read.stored.len());
        Ok(content_ids.iter().map(|content_id| read.stored.contains(&id_of(content_id))).collect())
    }

    /// Reads what was appended. False where a blob has taken another's place, and all must be read anew.
    async fn read_on(&self, (workload, time): &HourKey, hour: &mut Hour) -> azure_core::Result<bool> {
        for at in 0.. {
            let name = name(workload, *time, u32::try_from(at).unwrap_or(u32::MAX) + 1);
            let was_known = at < hour.parts.len();
            match self.read_part(&name, at, hour).await? {
                Some(true) => {}
                Some(false) => return Ok(!was_known),
                None => return Ok(false),
            }
            // The last part that was known goes on by itself; a new one may be followed by others.
            if was_known && at + 1 == hour.parts.len() && !hour.parts[at].may_continue {
                break;
            }
        }
        Ok(true)
    }

    /// Reads a part to its end. Whether it is there; none where another has taken its place.
    async fn read_part(&self, name: &str, at: usize, hour: &mut Hour) -> azure_core::Result<Option<bool>> {
        let mut size = CHUNK;
        loop {
            let (text, part) = match self.tail(name, hour.parts.get(at), size).await? {
                Tail::Missing => return Ok(Some(false)),
                Tail::Replaced => return Ok(None),
                Tail::Read(text, part) => (text, part),
            };
            let is_end = text.len() < size;
            let lines = if is_end { text.len() } else { memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1) };
            let unreadable = hour.read(&text[..lines]);
            if unreadable > 0 {
                tracing::warn!(blob = name, lines = unreadable, "journal lines that cannot be read were passed over");
            }
            let length = hour.parts.get(at).map_or(0, |part| part.length) + lines;
            let part = Part { length, ..part };
            match hour.parts.get_mut(at) {
                Some(known) => *known = part,
                None => hour.parts.push(part),
            }
            if is_end {
                return Ok(Some(true));
            }
            // A line longer than what is read at a time.
            size = if lines == 0 { size * 2 } else { CHUNK };
        }
    }

    /// At most `size` bytes behind what was read.
    async fn tail(&self, name: &str, known: Option<&Part>, size: usize) -> azure_core::Result<Tail> {
        // One byte that was read before comes again: asked for nothing but what is not there yet, the service refuses.
        let before = known.map_or(0, |part| part.length.saturating_sub(1));
        let overlap = known.map_or(0, |part| part.length.min(1));
        let range = before as u64..(before + overlap + size) as u64;
        let options = BlobClientDownloadOptions {
            range: Some(range.into()),
            // In one request: between two, another may have appended.
            partition_size: std::num::NonZero::new(overlap + size),
            ..Default::default()
        };
        let download = match self.blob(name).download(Some(options)).await {
            Ok(download) => download,
            Err(error) if is_not_found(&error) => return Ok(Tail::Missing),
            Err(error) if error.http_status() == Some(StatusCode::RequestedRangeNotSatisfiable) => {
                return Ok(if known.is_some_and(|part| part.length > 0) { Tail::Replaced } else { Tail::Read(Vec::new(), Part::empty()) });
            }
            Err(error) => return Err(error),
        };
        let part = Part::of(&download.properties);
        let mut text = download.body.collect().await?.to_vec();
        match known {
            Some(known) if known.etag == part.etag && !part.is_append => Ok(Tail::Read(Vec::new(), part)),
            Some(known) if known.length > 0 && !known.is_followed_by(&part, &text) => Ok(Tail::Replaced),
            _ => {
                text.drain(..overlap.min(text.len()));
                Ok(Tail::Read(text, part))
            }
        }
    }
}

impl Part {
    fn empty() -> Self {
        Self { length: 0, etag: None, created_on: None, is_append: true, may_continue: false }
    }

    fn of(properties: &BlobDownloadProperties) -> Self {
        let is_append = properties.blob_type == Some(BlobType::AppendBlob);
        Self {
            length: 0,
            etag: properties.etag.clone(),
            created_on: properties.created_on.map(|time| time.unix_timestamp()),
            is_append,
            may_continue: may_continue(properties),
        }
    }

    fn is_followed_by(&self, part: &Self, text: &[u8]) -> bool {
        self.is_append && part.is_append && self.created_on == part.created_on && text.first() == Some(&b'\n')
    }
}

impl Hour {
    /// Takes lines in; returns how many could not be read.
    fn read(&mut self, text: &[u8]) -> usize {
        let mut unreadable = 0;
        for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) if line.event == Event::Stored => drop(self.stored.insert(id_of(&line.id))),
                Ok(_) => {}
                Err(_) => unreadable += 1,
            }
        }
        unreadable
    }
}

fn id_of(content_id: &str) -> Id {
    let hash = Sha256::digest(content_id);
    std::array::from_fn(|byte| hash[byte])
}

impl Hours {
    fn look(&self, key: &HourKey) -> Arc<AsyncMutex<Hour>> {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = hours.values().map(|known| known.last_look).max().unwrap_or(0) + 1;
        let known = hours.entry(key.clone()).or_insert_with(|| Known { hour: Arc::default(), last_look: 0, ids: 0 });
        known.last_look = now;
        Arc::clone(&known.hour)
    }

    /// Takes down how much an hour holds, and forgets those that were looked at longest ago where that is too much in all.
    fn note(&self, key: &HourKey, ids: usize) {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hours.get_mut(key) {
            known.ids = ids;
        }
        while hours.values().map(|known| known.ids + 100).sum::<usize>() > MAX_IDS {
            let oldest = hours.iter().filter(|(other, _)| *other != key).min_by_key(|(_, known)| known.last_look);
            let Some(oldest) = oldest.map(|(oldest, _)| oldest.clone()) else { break };
            hours.remove(&oldest);
        }
    }
}
