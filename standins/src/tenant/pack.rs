//! Records into content blobs: how many stand in one, and when each blob became available. Where records come from is in
//! `playback` and `generate`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::{Body, NewBlob, Tenant};

/// How long before now the first blob became available: within the API's 7 days, with room for a slow start.
const SPAN: TimeDelta = TimeDelta::hours(156);
const HOUR: TimeDelta = TimeDelta::hours(1);
/// The most records in a blob.
const LARGEST: usize = 60;

/// What a source of records came to, for one content type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentTally {
    /// Content blobs.
    pub blobs: usize,
    /// Records in them, repeats too.
    pub records: usize,
    /// Different Ids among them; a record without Id counts as one of its own, by its text.
    pub ids: usize,
}

/// A content blob to be filled.
pub(super) struct Slot {
    pub(super) created: DateTime<Utc>,
    pub(super) records: usize,
}

/// Blobs for so many records of one content type, which became available one after another during [`SPAN`], some at the
/// same instant as the one before, and some in the last hour.
pub(super) fn plan(records: usize, now: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Vec<Slot> {
    let mut sizes = Vec::new();
    let mut left = records;
    while left > 0 {
        let size = rng.random_range(1..=LARGEST).min(left);
        left -= size;
        sizes.push(size);
    }

    let count = sizes.len();
    let recent = count.div_ceil(20);
    let step = (SPAN.num_milliseconds() - HOUR.num_milliseconds()) / i64::try_from(count).unwrap_or(i64::MAX).max(1);
    let mut created = now - SPAN;
    let mut place = created;
    let slot = |(i, records): (usize, usize)| {
        if i + recent >= count {
            // The newest are half a minute old, so that a first run already finds them.
            created = now - TimeDelta::seconds(rng.random_range(30..HOUR.num_seconds()));
        } else if i == 0 || !rng.random_ratio(1, 10) {
            created = place + TimeDelta::milliseconds(rng.random_range(0..=step));
        }
        place += TimeDelta::milliseconds(step);
        Slot { created: created.trunc_subsecs(3), records }
    };
    sizes.into_iter().enumerate().map(slot).collect()
}

/// Counts what blobs hold, by content type.
pub fn tally(blobs: &[NewBlob]) -> BTreeMap<String, ContentTally> {
    #[derive(Deserialize)]
    struct Identified<'a> {
        #[serde(rename = "Id", borrow)]
        id: Cow<'a, str>,
    }
    let mut ids: BTreeMap<&str, HashSet<Cow<'_, str>>> = BTreeMap::new();
    let mut tallies: BTreeMap<String, ContentTally> = BTreeMap::new();
    for blob in blobs {
        let tally = tallies.entry(blob.content_type.clone()).or_default();
        tally.blobs += 1;
        let Body::Records(records) = &blob.body else {
            continue;
        };
        tally.records += records.len();
        let ids = ids.entry(&blob.content_type).or_default();
        for text in records {
            ids.insert(serde_json::from_str(text).map_or(Cow::Borrowed(text), |Identified { id }| id));
        }
        tally.ids = ids.len();
    }
    tallies
}

/// Publishes blobs, and says what they come to.
pub(super) fn publish(tenant: &Tenant, blobs: Vec<NewBlob>) -> BTreeMap<String, ContentTally> {
    let tallies = tally(&blobs);
    for blob in blobs {
        tenant.publish(blob);
    }
    tallies
}
