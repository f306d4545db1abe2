//! Notes how each subscription stood when QueueEvents last asked, and when its start was last asked for: a blob of JSON. So state
//! alone tells a person which workloads are on, and instances do not ask more often than the API allows between them.

use std::collections::BTreeMap;

use azure_core::http::RequestContent;
use azure_storage_blob::models::BlockBlobClientUploadOptions;
use serde::{Deserialize, Serialize};

use super::State;
use crate::workload::Workload;

const BLOB: &str = "subscriptions.json";

/// The subscriptions as QueueEvents was told of them, and when.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Subscriptions {
    /// UTC, RFC 3339.
    pub at: String,
    /// Each workload that is collected.
    pub subscriptions: BTreeMap<Workload, SubscriptionNote>,
}

/// One subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionNote {
    /// True if content is made available.
    pub on: bool,
    /// When its start was last asked for: UTC, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The reason why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl State {
    /// Writes down how the subscriptions stand.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn note_subscriptions(&self, subscriptions: &Subscriptions) -> azure_core::Result<()> {
        let options = BlockBlobClientUploadOptions { blob_content_type: Some("application/json".to_owned()), ..Default::default() };
        let text = RequestContent::from(serde_json::to_vec(subscriptions)?);
        self.blob(BLOB).block_blob_client().upload(text, Some(options)).await.map(drop)
    }

    /// Reads how the subscriptions stood last; none if that was never written, or cannot be read.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn subscriptions(&self) -> azure_core::Result<Option<Subscriptions>> {
        let stored = self.read(BLOB).await?;
        Ok(stored.and_then(|stored| serde_json::from_str(&stored.text).ok()))
    }
}
