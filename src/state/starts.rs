//! When the start of each subscription was last asked for, kept in the container's metadata, so that instances do not ask
//! more often than the API allows between them. Whether a subscription is on, only the service knows.

use std::collections::HashMap;

use azure_storage_blob::models::BlobContainerClientGetPropertiesResultHeaders;
use chrono::{DateTime, Utc};

use super::State;
use crate::{
    activity::{Workload, parse_utc},
    clock::rfc3339,
};

impl State {
    /// When the start of a workload's subscription was last asked for; none where it never was.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn last_start(&self, workload: Workload) -> azure_core::Result<Option<DateTime<Utc>>> {
        let metadata = self.metadata().await?;
        let name = name(workload);
        Ok(metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(&name)).and_then(|(_, text)| parse_utc(text)))
    }

    /// Remembers that it is asked for now.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn note_start(&self, workload: Workload, now: DateTime<Utc>) -> azure_core::Result<()> {
        let mut metadata = self.metadata().await?;
        let name = name(workload);
        metadata.retain(|key, _| !key.eq_ignore_ascii_case(&name));
        metadata.insert(name, rfc3339(now));
        self.container.set_metadata(&metadata, None).await.map(drop)
    }

    async fn metadata(&self) -> azure_core::Result<HashMap<String, String>> {
        self.container.get_properties(None).await?.metadata()
    }
}

/// Such as `started_audit_exchange`: metadata names are identifiers.
fn name(workload: Workload) -> String {
    format!("started_{}", workload.as_str().replace('.', "_").to_ascii_lowercase())
}
