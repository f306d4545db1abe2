//! Ids whose documents were erased on request, so that a record which comes again is not stored again: `erased.ndjson`, an append
//! blob of their SHA-256. And `erasures.ndjson`, the record of who erased how many and when, without the name of whom they concerned.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{State, growing::Parts};
use crate::document::Digest;

/// Bytes of one append; the service takes 4 MiB at least.
const BLOCK: usize = 3 * 1024 * 1024;

/// What was read of `erased.ndjson`, and what is known of it.
#[derive(Default)]
pub(super) struct ErasedIds {
    read: Mutex<Read>,
    /// As of the last reading that came to its end.
    known: RwLock<Arc<HashSet<Digest>>>,
}

#[derive(Default)]
struct Read {
    digests: Arc<HashSet<Digest>>,
    parts: Parts,
}

/// A line of `erased.ndjson`.
#[derive(Serialize)]
struct ErasedLine<'a> {
    sha256: &'a str,
}

/// A line of `erasures.ndjson`. It names nobody: whoever may read the state would learn that this person asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// When, UTC, RFC 3339.
    pub at: String,
    /// `begun` before the first document is removed, `done` after the last.
    pub event: ErasureEvent,
    /// Tells erasures apart; the same in both lines.
    pub erasure: String,
    /// Documents: to be removed, or removed.
    pub documents: u64,
    /// By whom, as they say themselves.
    pub by: String,
    /// For example the number of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasureEvent {
    /// Before the first document is removed.
    Begun,
    /// After the last.
    Done,
}

impl State {
    /// Reads what was added to `erased.ndjson` since the last reading in this process. It costs one request, also where there is
    /// no such blob.
    ///
    /// Each invocation reads it before it fetches. That is early enough for what comes again later, and not for what is on its way
    /// at this moment: an invocation that has read it can store for ten minutes more, after which the host has ended it. Asking
    /// again before each write would make that time shorter and not end it, since a write can lie with the service, too. So whoever
    /// erases looks again after that time, which finds all that came meanwhile, and `activity person` says so. An answer "there is
    /// no such blob" is not remembered: it saves a request that waits beside others, and would add its time to those ten minutes.
    ///
    /// # Errors
    /// Storage refused or could not be reached. Nothing may be stored then: it could be what was erased.
    pub async fn read_erased(&self) -> azure_core::Result<()> {
        let mut read = self.erased.read.lock().await;
        let Read { digests, parts } = &mut *read;
        if !self.read_on(name, parts, |line| take(digests, line)).await? {
            *read = Read::default();
            let Read { digests, parts } = &mut *read;
            self.read_on(name, parts, |line| take(digests, line)).await?;
        }
        *self.erased.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&read.digests);
        Ok(())
    }

    /// The digests of ids that were erased, as of the last [`State::read_erased`] in this process.
    #[must_use]
    pub fn erased(&self) -> Arc<HashSet<Digest>> {
        Arc::clone(&self.erased.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds the ids of documents that are to be erased. Only then may they be removed: the other way round, a collector could store
    /// them again in between.
    ///
    /// # Errors
    /// Storage refused or could not be reached; some of them may be added.
    pub async fn append_erased<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> azure_core::Result<()> {
        let mut block = Vec::new();
        for id in ids {
            serde_json::to_writer(&mut block, &ErasedLine { sha256: &format!("{:x}", Sha256::digest(id)) })?;
            block.push(b'\n');
            if block.len() >= BLOCK {
                self.append_to_parts(name, std::mem::take(&mut block)).await?;
            }
        }
        if block.is_empty() { Ok(()) } else { self.append_to_parts(name, block).await }
    }

    /// Puts an erasure on record.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn append_erasure(&self, erasure: &Erasure) -> azure_core::Result<()> {
        let mut line = serde_json::to_vec(erasure)?;
        line.push(b'\n');
        self.append_to_parts(|part| part_name("erasures", part), line).await
    }
}

/// Takes a line in. False if it cannot be read. It says its digest in 64 hexadecimal digits, whatever stands around them: a person may
/// have added it.
fn take(digests: &mut Arc<HashSet<Digest>>, line: &[u8]) -> bool {
    let Some(digest) = digest(line) else { return false };
    if !digests.contains(&digest) {
        Arc::make_mut(digests).insert(digest);
    }
    true
}

/// The first half of a SHA-256, as documents have it: it stands for the whole.
fn digest(line: &[u8]) -> Option<Digest> {
    let digits = line.split(|byte| !byte.is_ascii_hexdigit()).find(|digits| digits.len() == 64)?;
    let mut digest = Digest::default();
    for (byte, digits) in digest.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn name(part: u32) -> String {
    part_name("erased", part)
}

/// `erased.ndjson`, or a blob that continues it: `erased-2.ndjson`.
fn part_name(name: &str, part: u32) -> String {
    if part == 1 { format!("{name}.ndjson") } else { format!("{name}-{part}.ndjson") }
}

#[cfg(test)]
mod tests {
    use super::{super::growing::lines, *};

    fn unreadable(digests: &mut Arc<HashSet<Digest>>, text: &[u8]) -> usize {
        lines(text).filter(|line| !take(digests, line)).count()
    }

    #[test]
    fn a_digest_is_read_from_a_line_of_ours_and_from_one_that_a_person_wrote() {
        let whole = format!("{:x}", Sha256::digest("record-1"));
        let lines = [
            format!(r#"{{"sha256":"{whole}"}}"#),
            whole.to_uppercase(),
            format!(r#"  "{whole}",  "#),
            format!(r#"{{"at":"2026-11-20T10:00:00.000Z","id":"{whole}"}}"#),
        ];
        for line in lines {
            let mut digests = Arc::default();
            assert_eq!(unreadable(&mut digests, format!("{line}\r\n\n").as_bytes()), 0, "{line}");
            let expected: Digest = Sha256::digest("record-1")[..16].try_into().unwrap();
            assert_eq!(*digests, HashSet::from([expected]), "{line}");
        }
    }

    #[test]
    fn what_is_no_digest_is_counted_and_erases_nothing() {
        let mut digests = Arc::default();
        assert_eq!(unreadable(&mut digests, b"record-1\n{\"sha256\":\"abc\"}\n\n"), 2);
        assert!(digests.is_empty());
    }
}
