//! The handler's own account of itself: its lines on stdout, one JSON object an invocation, added up. Whether they are true
//! is looked into elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::screen::Screen;
use standins::host::{Invocation, LineSink};

/// An invocation's line is printed before its answer is sent, yet may be read after it: on a busy machine, long after.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the functions did, of one workload or all. A tick is one run of the timer and what it put on the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Pages of listings.
    pub pages: u64,
    /// Content blobs on them.
    pub listed: u64,
    /// Content blobs put on the queue by the timer.
    pub queued: u64,
    /// Content blobs fetched and stored.
    pub fetched: u64,
    /// Records in them.
    pub records: u64,
    /// Documents created.
    pub documents: u64,
    /// Records that were documents already.
    pub duplicates: u64,
    /// Content blobs that could not be had.
    pub lost: u64,
}

impl AddAssign for LogFigures {
    fn add_assign(&mut self, other: Self) {
        self.pages += other.pages;
        self.listed += other.listed;
        self.queued += other.queued;
        self.fetched += other.fetched;
        self.records += other.records;
        self.documents += other.documents;
        self.duplicates += other.duplicates;
        self.lost += other.lost;
    }
}

/// What was said since the last look.
#[derive(Clone, Debug, Default)]
pub struct LogTotals {
    /// By workload.
    pub workloads: BTreeMap<String, LogFigures>,
    /// Bytes of content fetched, decompressed.
    pub bytes: u64,
    /// Content blobs put back on the queue for later.
    pub requeued: u64,
    /// Records stored without a part of them.
    pub reduced: u64,
    /// Why invocations failed.
    pub failures: Vec<String>,
}

impl LogTotals {
    /// Of all workloads together.
    pub fn total(&self) -> LogFigures {
        let mut total = LogFigures::default();
        self.workloads.values().for_each(|figures| total += *figures);
        total
    }

    /// Without what was listed: of a tick that found nothing new, these are content blobs counted before.
    #[must_use]
    pub fn without_listed(mut self) -> Self {
        self.workloads.values_mut().for_each(|figures| figures.listed = 0);
        self
    }

    /// Adds what was said later.
    pub fn add(&mut self, later: Self) {
        for (workload, figures) in later.workloads {
            *self.workloads.entry(workload).or_default() += figures;
        }
        self.bytes += later.bytes;
        self.requeued += later.requeued;
        self.reduced += later.reduced;
        self.failures.extend(later.failures);
    }
}

/// Reads along.
#[derive(Debug, Default)]
pub struct Log(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sums: LogTotals,
    /// Invocations whose line was read.
    told: HashSet<String>,
}

impl Log {
    /// Reads along with a host, and shows warnings and errors as they come.
    pub fn sink(self: &Arc<Self>, screen: &Screen) -> LineSink {
        let (log, screen) = (self.clone(), screen.clone());
        Arc::new(move |line| {
            if let Some(words) = log.read(line) {
                screen.part("handler", words);
            }
        })
    }

    /// Takes in a line. What a person should read of it at once is returned: warnings, errors, and what is no JSON.
    pub fn read(&self, line: &str) -> Option<String> {
        let Ok(entry) = serde_json::from_str::<Entry>(line) else {
            return (!line.trim().is_empty()).then(|| line.to_owned());
        };
        let mut state = self.state();
        match (entry.message.as_str(), entry.function.as_deref()) {
            ("invocation", Some("QueueEvents")) => state.queue_events(line),
            ("invocation", Some("StoreEvents")) => state.store_events(line),
            ("invocation failed", _) => state.sums.failures.extend(entry.error.clone()),
            _ => {}
        }
        if entry.message == "invocation" {
            state.told.extend(entry.invocation);
            return None;
        }
        matches!(entry.level.as_str(), "WARN" | "ERROR").then(|| in_words(line, &entry))
    }

    /// What was said so far.
    pub fn sums(&self) -> LogTotals {
        self.state().sums.clone()
    }

    /// What was said so far; the next sums start from nothing.
    pub fn take(&self) -> LogTotals {
        std::mem::take(&mut self.state().sums)
    }

    /// Waits for the lines of invocations that have ended. Says which never came: those whose handler was killed.
    pub async fn untold<'a>(&self, invocations: &'a [Invocation]) -> Vec<&'a Invocation> {
        let begin = Instant::now();
        loop {
            let untold: Vec<_> = {
                let state = self.state();
                invocations.iter().filter(|invocation| !state.told.contains(&invocation.id.to_string())).collect()
            };
            if untold.is_empty() || begin.elapsed() > PATIENCE {
                return untold;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every line has, or may have.
#[derive(Deserialize)]
struct Entry {
    level: String,
    message: String,
    function: Option<String>,
    invocation: Option<String>,
    error: Option<String>,
}

/// A line of QueueEvents.
#[derive(Deserialize)]
struct QueueEvents {
    workloads: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    workload: String,
    pages: u64,
    listed: u64,
    queued: u64,
}

/// A line of StoreEvents.
#[derive(Deserialize)]
struct StoreEvents {
    requeued: u64,
    reduced: u64,
    bytes: u64,
    workloads: BTreeMap<String, Stored>,
}

#[derive(Deserialize)]
struct Stored {
    stored: u64,
    lost: u64,
    records: u64,
    documents: u64,
    duplicates: u64,
}

impl State {
    fn queue_events(&mut self, line: &str) {
        let Ok(said) = serde_json::from_str::<QueueEvents>(line) else { return };
        for Listed { workload, pages, listed, queued } in said.workloads {
            *self.sums.workloads.entry(workload).or_default() += LogFigures { pages, listed, queued, ..LogFigures::default() };
        }
    }

    fn store_events(&mut self, line: &str) {
        let Ok(said) = serde_json::from_str::<StoreEvents>(line) else { return };
        self.sums.bytes += said.bytes;
        self.sums.requeued += said.requeued;
        self.sums.reduced += said.reduced;
        for (workload, Stored { stored: fetched, lost, records, documents, duplicates }) in said.workloads {
            *self.sums.workloads.entry(workload).or_default() +=
                LogFigures { fetched, lost, records, documents, duplicates, ..LogFigures::default() };
        }
    }
}

/// A warning or an error without its JSON.
fn in_words(line: &str, entry: &Entry) -> String {
    let mut words = format!("{}: {}", entry.level.to_lowercase(), entry.message);
    let fields: BTreeMap<String, Value> = serde_json::from_str(line).unwrap_or_default();
    for name in ["function", "workload", "content_id", "record", "reason", "error"] {
        if let Some(value) = fields.get(name) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words += &format!(", {name} {value}");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_what_the_functions_say() {
        let log = Log::default();
        let queued = r#"{"level":"INFO","message":"invocation","function":"QueueEvents","invocation":"a","succeeded":true,
            "workloads":[{"workload":"DLP.All","outcome":"complete","windows":8,"pages":9,"listed":5,"queued":4}]}"#;
        let stored = r#"{"level":"INFO","message":"invocation","function":"StoreEvents","invocation":"b","succeeded":true,"blobs":4,
            "stored":3,"requeued":0,"lost":1,"bytes":900,"records":7,"documents":6,"duplicates":1,"reduced":0,
            "workloads":{"DLP.All":{"stored":3,"lost":1,"records":7,"documents":6,"duplicates":1}}}"#;
        assert_eq!((log.read(queued), log.read(stored)), (None, None));
        let figures = LogFigures { pages: 9, listed: 5, queued: 4, fetched: 3, records: 7, documents: 6, duplicates: 1, lost: 1 };
        assert_eq!(log.take().workloads["DLP.All"], figures);
        assert_eq!(log.sums().total(), LogFigures::default());
    }

    #[test]
    fn shows_trouble_and_what_is_no_json() {
        let log = Log::default();
        let failed = r#"{"level":"ERROR","message":"invocation failed","function":"StoreEvents","error":"no document was written"}"#;
        assert_eq!(log.read(failed).as_deref(), Some("error: invocation failed, function StoreEvents, error no document was written"));
        assert_eq!(log.read("thread panicked").as_deref(), Some("thread panicked"));
        assert_eq!(log.read(r#"{"level":"INFO","message":"subscription started"}"#), None);
        assert_eq!(log.sums().failures, ["no document was written"]);
    }
}
