//! Ids of documents that this process has stored, or is storing now: a repeat of one of them need not ask the database.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Duration, Instant};

use crate::document::Digest;

/// Sets of ids that are remembered; with eight ids of eight bytes in each, 4 MiB for 524,288 ids.
const SETS: usize = 1 << 16;
/// After this time all is forgotten, and the database is asked again: a person may have deleted documents meanwhile.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Ids that are known. The database knows all others: forgetting one costs a request, no document.
#[derive(Debug)]
pub struct Ids(Mutex<Known>);

#[derive(Debug)]
struct Known {
    /// Empty until the first is remembered. Half of a digest names the set, the other half stands in it, the latest first; 0
    /// is an empty place.
    stored: Vec<[u64; 8]>,
    since: Instant,
    in_flight: HashSet<Digest>,
}

/// The knowledge of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdState {
    /// Nothing.
    Unknown,
    /// A document of this id is on its way to the database.
    InFlight,
    /// A document of this id is stored.
    Stored,
}

impl Default for Ids {
    fn default() -> Self {
        Self(Mutex::new(Known { stored: Vec::new(), since: Instant::now(), in_flight: HashSet::new() }))
    }
}

impl Ids {
    /// True if a document of this id is known to be stored.
    #[must_use]
    pub fn is_stored(&self, digest: &Digest) -> bool {
        self.known().is_stored(digest)
    }

    /// Marks an id as in flight if nothing is known of it, and says what was known.
    pub fn claim<'a>(&'a self, digest: Digest, claims: &mut Claims<'a>) -> IdState {
        let mut known = self.known();
        if known.is_stored(&digest) {
            return IdState::Stored;
        }
        if !known.in_flight.insert(digest) {
            return IdState::InFlight;
        }
        claims.0.push((self, digest));
        IdState::Unknown
    }

    /// Remembers ids of documents that were just stored.
    pub(super) fn remember<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) {
        let mut known = self.known();
        known.renew();
        digests.into_iter().for_each(|digest| known.remember(digest));
    }

    /// Where the database refuses, its container may have been made anew, without the documents.
    pub(super) fn forget(&self) {
        self.known().stored = Vec::new();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_stored(&self, digest: &Digest) -> bool {
        let (set, id) = place(digest);
        self.stored.get(set).is_some_and(|ids| ids.contains(&id)) && self.since.elapsed() < MAX_AGE
    }

    /// Begins anew where nothing is remembered, or for too long.
    fn renew(&mut self) {
        if self.stored.is_empty() || self.since.elapsed() >= MAX_AGE {
            self.stored = vec![[0; 8]; SETS];
            self.since = Instant::now();
        }
    }

    fn remember(&mut self, digest: &Digest) {
        let (set, id) = place(digest);
        let ids = &mut self.stored[set];
        if !ids.contains(&id) {
            ids.rotate_right(1);
            ids[0] = id;
        }
    }
}

fn place(digest: &Digest) -> (usize, u64) {
    let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| digest[at + byte]));
    (half(0) as usize % SETS, half(8).max(1))
}

/// Ids in flight, until this is dropped.
#[derive(Debug, Default)]
pub struct Claims<'a>(Vec<(&'a Ids, Digest)>);

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for (ids, digest) in self.0.drain(..) {
            ids.known().in_flight.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads numbers as a hash does: each half by SplitMix64's last steps.
    fn digest(number: usize) -> Digest {
        let mix = |number: u64| {
            let once = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            twice ^ (twice >> 31)
        };
        let low = mix((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (u128::from(mix(low ^ 0x5851_f42d_4c95_7f2d)) << 64 | u128::from(low)).to_le_bytes()
    }

    #[test]
    fn an_id_is_stored_only_once_it_was_remembered_and_until_it_is_forgotten() {
        let ids = Ids::default();
        assert!(!ids.is_stored(&digest(1)));
        ids.remember([&digest(1)]);
        assert!(ids.is_stored(&digest(1)) && !ids.is_stored(&digest(2)));
        ids.forget();
        assert!(!ids.is_stored(&digest(1)));
    }

    #[test]
    fn an_id_is_claimed_by_one_until_that_one_is_done() {
        let ids = Ids::default();
        let (mut one, mut other) = (Claims::default(), Claims::default());
        assert_eq!(ids.claim(digest(1), &mut one), IdState::Unknown);
        assert_eq!(ids.claim(digest(1), &mut other), IdState::InFlight);
        drop(one);
        assert_eq!(ids.claim(digest(1), &mut other), IdState::Unknown);
        ids.remember([&digest(1)]);
        drop(other);
        assert_eq!(ids.claim(digest(1), &mut Claims::default()), IdState::Stored);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest_stay() {
        let ids = Ids::default();
        let many = 3 * SETS * 8;
        (0..many).for_each(|number| ids.remember([&digest(number)]));
        assert_eq!(ids.known().stored.len(), SETS);
        let known = |from: usize, to: usize| (from..to).filter(|number| ids.is_stored(&digest(*number))).count();
        assert!(known(many - 100_000, many) > 99_900);
        // Of the first third most are gone, and none is taken for another.
        assert!(known(0, 100_000) < 10_000);
        assert_eq!(known(many, many + 100_000), 0);
    }
}
