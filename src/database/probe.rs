//! A trial of the database: how the container is made, and documents that are written, read and removed. What is right is
//! judged by the caller.

use azure_data_cosmos_driver::{CosmosError, models::CosmosOperation};
use serde::{Deserialize, Serialize};

use super::{Database, DatabaseError, OperationResult};

/// A partition that no record has, and nobody reads.
const PARTITION: &str = "check";
/// Seconds that a document stays which could not be removed.
const LIFE: u32 = 60;

/// The container's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSettings {
    /// Paths of the partition key.
    pub partition_key: Vec<String>,
    /// True if documents may expire.
    pub expires: bool,
    /// After how many seconds, where a document does not say.
    pub default_ttl: Option<u32>,
}

/// The part of the container's properties that is read.
/// <https://learn.microsoft.com/rest/api/cosmos-db/get-a-collection>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    partition_key: PartitionKeyPaths,
    /// Absent: no document expires; -1: only documents that say so.
    default_ttl: Option<i64>,
}

#[derive(Deserialize)]
struct PartitionKeyPaths {
    paths: Vec<String>,
}

/// One operation of a batch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    operation_type: &'static str,
    resource_body: Probe<'a>,
}

#[derive(Serialize)]
struct Probe<'a> {
    id: &'a str,
    pk: &'a str,
    ttl: u32,
    note: &'a str,
}

impl Database {
    /// Reads how the container is made.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn container_settings(&self) -> Result<ContainerSettings, DatabaseError> {
        let connection = self.connection().await?;
        let read = connection.execute(CosmosOperation::read_container(connection.container.clone())).await?;
        let properties: Properties = read.into_body().into_single()?;
        Ok(ContainerSettings {
            partition_key: properties.partition_key.paths,
            expires: properties.default_ttl.is_some(),
            default_ttl: properties.default_ttl.and_then(|seconds| u32::try_from(seconds).ok()),
        })
    }

    /// Writes two documents of its own in one batch, as the collector does, and reads one. Whether they could be removed: what
    /// could not expires within a minute, and the collector itself never removes anything.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn probe(&self) -> Result<bool, DatabaseError> {
        let connection = self.connection().await?;
        let ids = [0, 1].map(|_| format!("check-{:016x}", fastrand::u64(..)));
        let creates = ids.each_ref().map(|id| Create {
            operation_type: "Create",
            resource_body: Probe { id, pk: PARTITION, ttl: LIFE, note: "written by `handler check`" },
        });
        // Numbers and text always serialise.
        let body = serde_json::to_vec(&creates).unwrap_or_default();
        let batch = CosmosOperation::batch(connection.container.clone(), PARTITION.to_owned().into()).with_body(body);
        let results: Vec<OperationResult> = connection.execute(batch).await?.into_body().into_single()?;
        if let Some(refused) = results.iter().find(|result| !(200..300).contains(&result.status_code)) {
            let message = format!("a batch of two documents was answered with {}", refused.status_code);
            return Err(CosmosError::builder().with_message(message).build().into());
        }
        connection.execute(CosmosOperation::read_item(connection.item(PARTITION, &ids[0]))).await?;
        let mut removed = true;
        for id in &ids {
            removed &= connection.execute(CosmosOperation::delete_item(connection.item(PARTITION, id))).await.is_ok();
        }
        Ok(removed)
    }
}
