//! A trial of the database: how the container is made, and a document that is written, read and removed. What is right is
//! judged by the caller.

use azure_data_cosmos::models::TimeToLive;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

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
        let properties = self.container().await?.read(None).await?.into_model()?;
        Ok(Made {
            partition_key: properties.partition_key.paths().iter().map(ToString::to_string).collect(),
            expires: !properties.default_ttl.is_forever(),
            default_ttl: match properties.default_ttl {
                TimeToLive::Seconds(seconds) => Some(seconds),
                _ => None,
            },
        })
    }

    /// Writes a document of its own, reads it and removes it. Should that fail, it expires within a minute.
    ///
    /// # Errors
    /// The database refused or could not be reached.
    pub async fn probe(&self) -> Result<(), DatabaseError> {
        let container = self.container().await?;
        let id = format!("check-{:016x}", fastrand::u64(..));
        let body = to_raw_value(&Probe { id: &id, pk: PARTITION, ttl: LIFE, note: "written by `handler check`" })?;
        let body: &RawValue = &body;
        container.create_item(PARTITION, &id, body, None).await?;
        container.read_item(PARTITION, &id, None).await?;
        container.delete_item(PARTITION, &id, None).await?;
        Ok(())
    }
}
