//! Gaps: time ranges that could never be listed, one JSON object a line. Nothing acts on them but people.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::State;
use crate::{clock::rfc3339, workload::Workload};

/// Time whose content is lost because it could no longer be listed when its turn came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// When that was found, UTC, RFC 3339.
    pub at: String,
    event: String,
    /// The workload.
    #[serde(rename = "type")]
    pub workload: Workload,
    /// Included.
    pub from: String,
    /// Not included.
    pub to: String,
    reason: String,
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
            event: "gap".to_owned(),
            workload,
            from: rfc3339(from),
            to: rfc3339(to),
            reason: "older than the seven days that the API lists".to_owned(),
        };
        let mut line = serde_json::to_vec(&gap)?;
        line.push(b'\n');
        self.append_to_parts(name, line).await
    }

    /// All gaps that were ever written down. A line that cannot be read is passed over.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn gaps(&self) -> azure_core::Result<Vec<Gap>> {
        let mut gaps = Vec::new();
        for part in 1.. {
            let Some(stored) = self.read(&name(part)).await? else { break };
            gaps.extend(stored.text.lines().filter_map(|line| serde_json::from_str::<Gap>(line).ok()));
        }
        Ok(gaps)
    }
}

/// `gaps.ndjson`, or a blob that continues it: `gaps-2.ndjson`.
fn name(part: u32) -> String {
    if part == 1 { "gaps.ndjson".to_owned() } else { format!("gaps-{part}.ndjson") }
}
