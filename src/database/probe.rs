//! A trial of the database: how the container is made, and a document that is written, read and removed. What is right is
//! judged by the caller.

use azure_data_cosmos_driver::models::CosmosOperation;
use serde::{Deserialize, Serialize};

use super::{Cosmos, DatabaseError};

/// A partition that no record has, and nobody reads.
const PARTITION: &str = "check";
/// How long what could not be removed stays, in seconds.
const LIFE: u32 = 60;

/// How the container is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Paths of the partition key.
    pub partition_key: Vec<String>,
    /// Whether documents may expire.
    pub expires: bool,
    /// After how many seconds, where a document does not say.
    pub default_ttl: Option<u32>,
}

/// What is read of the container's properties.
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

#[derive(Serialize)]
struct Probe<'a> {
    id: &'a str,
    pk: &'a str,
    ttl: u32,
    note: &'a str,
}

impl Cosmos {
    /// Reads how the container is made.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn made(&self) -> Result<Made, DatabaseError> {
        let connection = self.connection().await?;
        let read = connection.execute(CosmosOperation::read_container(connection.container.clone())).await?;
        let properties: Properties = read.into_body().into_single()?;
        Ok(Made {
            partition_key: properties.partition_key.paths,
            expires: properties.default_ttl.is_some(),
            default_ttl: properties.default_ttl.and_then(|seconds| u32::try_from(seconds).ok()),
        })
    }

    /// Writes a document of its own, reads it and removes it. Should that fail, it expires within a minute.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn probe(&self) -> Result<(), DatabaseError> {
        let connection = self.connection().await?;
        let id = format!("check-{:016x}", fastrand::u64(..));
        let probe = Probe { id: &id, pk: PARTITION, ttl: LIFE, note: "written by `handler check`" };
        // Numbers and text always serialise.
        let body = serde_json::to_vec(&probe).unwrap_or_default();
        connection.execute(CosmosOperation::create_item(connection.item(PARTITION, &id)).with_body(body)).await?;
        connection.execute(CosmosOperation::read_item(connection.item(PARTITION, &id))).await?;
        connection.execute(CosmosOperation::delete_item(connection.item(PARTITION, &id))).await?;
        Ok(())
    }
}
