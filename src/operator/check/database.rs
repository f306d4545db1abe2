//! The database: how its container is made, and documents written, read and removed.

use std::error::Error;

use super::{Check, answer, identity_advice, words};
use crate::{
    azure::Connection,
    config::Config,
    database::{Database, DatabaseError},
};

/// The path of the partition key.
const PARTITION_KEY: &str = "/pk";

pub(super) async fn checks(config: &Config, connection: &Connection) -> Vec<Check> {
    let config = &config.cosmos;
    let identity = connection.identity();
    if let (None, Err(error)) = (&config.key, &identity) {
        return vec![Check::wrong("managed identity", words(error), "set COSMOS_KEY, or run where the identity is")];
    }
    let cosmos = Database::new(config, identity.ok());
    let name = format!("{}/{}", config.database, config.container);
    let made = match answer("container", cosmos.container_settings(), |error| refused("container", &error)).await {
        Ok(made) => made,
        Err(check) => return vec![check, Check::untried("all else", "not tried without the container")],
    };
    let key = made.partition_key.join(", ");
    let has_key = key == PARTITION_KEY;
    let mut checks = vec![Check::well("container", name)];
    checks.push(if has_key {
        Check::well("partition key", &key)
    } else {
        let next =
            "a container's key cannot be changed: make another container with the partition key /pk, and name it in COSMOS_CONTAINER";
        Check::wrong("partition key", format!("is {key}, and must be {PARTITION_KEY}"), next)
    });
    checks.push(match (made.expires, made.default_ttl) {
        (true, None) => Check::well("time to live", "on, each document has its own"),
        (true, Some(seconds)) => Check::well("time to live", format!("on, each document has its own; {seconds} s for any other")),
        (false, _) => {
            let next = format!(
                "switch it on without a default: az cosmosdb sql container update --resource-group GROUP --account-name ACCOUNT \
                 --database-name {} --name {} --ttl -1",
                config.database, config.container
            );
            Check::wrong("time to live", "is off: documents would stay for ever", next)
        }
    });
    checks.push(if has_key {
        match answer("documents", cosmos.probe(), |error| refused("documents", &error)).await {
            Ok(true) => Check::well("documents", "two written in one batch, read, removed"),
            Ok(false) => {
                Check::well("documents", "two written in one batch, and read; they may not be removed, and expire within a minute")
            }
            Err(check) => check,
        }
    } else {
        Check::untried("documents", "none is written under another partition key")
    });
    checks
}

fn refused(what: &str, error: &DatabaseError) -> Check {
    let otherwise = match error {
        DatabaseError::Passing(_) => "try again in some minutes; else check COSMOS_ENDPOINT, and the network and firewall on the way there",
        _ => "look the status up: https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb",
    };
    let next = error.next_step().or_else(|| identity_advice(&words(error))).unwrap_or(otherwise);
    // The SDK's chain says the same over and over; its last link says what happened.
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Check::wrong(what, words(cause), next)
}
