//! Which content blobs are stored: asked for each message, so only what was appended to the journal since the last look is
//! read. What is remembered is bounded; what is not remembered is read again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::{Event, Line, State, growing::Parts, journal::name};

/// Stored content blobs remembered, over all hours: some 7 MiB.
const MAX_IDS: usize = 250_000;

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
    parts: Parts,
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
        if !self.read_hour(&key, &mut read).await? {
            *read = Hour::default();
            self.read_hour(&key, &mut read).await?;
        }
        self.hours.note(&key, read.stored.len());
        Ok(content_ids.iter().map(|content_id| read.stored.contains(&id_of(content_id))).collect())
    }

    /// Reads what was appended to an hour. False where a blob has taken another's place, and all must be read anew.
    async fn read_hour(&self, (workload, time): &HourKey, Hour { stored, parts }: &mut Hour) -> azure_core::Result<bool> {
        self.read_on(|part| name(workload, *time, part), parts, |line| take(stored, line)).await
    }
}

/// Takes a line in. False if it cannot be read.
fn take(stored: &mut HashSet<Id>, line: &[u8]) -> bool {
    let Ok(line) = serde_json::from_slice::<Line>(line) else { return false };
    if line.event == Event::Stored {
        stored.insert(id_of(&line.id));
    }
    true
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
