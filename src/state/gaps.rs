//! Gaps: time ranges that could never be listed, one JSON object a line. Nothing reads them but people and alerts.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::State;
use crate::{activity::Workload, clock::rfc3339};

const BLOB: &str = "gaps.ndjson";

#[derive(Serialize)]
struct Gap {
    at: String,
    event: &'static str,
    #[serde(rename = "type")]
    workload: Workload,
    from: String,
    to: String,
    reason: &'static str,
}

impl State {
    /// Writes down that content of a time range is lost because it can no longer be listed.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn append_gap(
        &self,
        workload: Workload,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> azure_core::Result<()> {
        let gap = Gap {
            at: rfc3339(now),
            event: "gap",
            workload,
            from: rfc3339(from),
            to: rfc3339(to),
            reason: "older than the seven days that the API lists",
        };
        let mut line = serde_json::to_vec(&gap)?;
        line.push(b'\n');
        self.append_block(BLOB, line).await
    }
}
