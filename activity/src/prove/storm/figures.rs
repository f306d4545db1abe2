//! StormCounts of a storm: what was done to the parts, what the handlers said, and how invocations ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use standins::host::{Invocation, QueueSummary};

/// StormCounts, shared by all that runs.
#[derive(Debug, Default)]
pub(super) struct StormFigures(Mutex<StormCounts>);

/// The counts as they stand.
#[derive(Clone, Debug, Default)]
pub(super) struct StormCounts {
    /// By kind: how often it was done, and how many requests met it.
    pub(super) acts: BTreeMap<String, (u64, u64)>,
    /// Timer runs that ended well, and all.
    pub(super) timers: (u64, u64),
    /// Deliveries of messages that ended well, and all.
    pub(super) deliveries: (u64, u64),
    /// Messages that went to the poison queue.
    pub(super) poisoned: u64,
    /// The handlers' own sums, by name. What a killed handler did not live to say is not among them.
    pub(super) said: BTreeMap<&'static str, u64>,
    /// Why an invocation failed last, in the handler's words.
    last_failure: String,
}

impl StormFigures {
    pub(super) fn counts(&self) -> StormCounts {
        self.lock().clone()
    }

    pub(super) fn count(&self, kind: &str) {
        self.lock().acts.entry(kind.to_owned()).or_default().0 += 1;
    }

    pub(super) fn met(&self, kind: &str, requests: u64) {
        self.lock().acts.entry(kind.to_owned()).or_default().1 += requests;
    }

    pub(super) fn timer(&self, invocation: &Invocation) {
        let mut counts = self.lock();
        counts.timers.0 += u64::from(invocation.outcome.is_success());
        counts.timers.1 += 1;
    }

    pub(super) fn queue(&self, summary: &QueueSummary) {
        let mut counts = self.lock();
        counts.deliveries.0 += summary.succeeded() as u64;
        counts.deliveries.1 += summary.invocations.len() as u64;
        counts.poisoned += summary.poisoned;
    }

    pub(super) fn last_failure(&self) -> String {
        self.lock().last_failure.clone()
    }

    /// Takes in a line that a handler printed.
    pub(super) fn read(&self, line: &str) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        let mut counts = self.lock();
        if line["message"] == "invocation failed" {
            counts.last_failure = line["error"].to_string();
        }
        if line["message"] != "invocation" {
            return;
        }
        let mut add = |name, value: &Value| *counts.said.entry(name).or_default() += value.as_u64().unwrap_or(0);
        if line["function"] == "StoreEvents" {
            for name in ["requeued", "lost", "documents", "duplicates"] {
                add(name, &line[name]);
            }
        }
        for workload in line["workloads"].as_array().into_iter().flatten() {
            for name in ["queued", "messages", "overdue", "late"] {
                add(name, &workload[name]);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, StormCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
