//! Asks a Cosmos DB a question in SQL and prints the documents of the answer: what `curl` cannot do, because each request is
//! signed.

use std::io::{Write as _, stdout};

use anyhow::{Context as _, Result, anyhow};
use azure_core::credentials::Secret;
use azure_data_cosmos::{FeedScope, Query};
use clap::Args;
use futures::TryStreamExt as _;
use serde_json::Value;

use crate::cosmos::COSMOS_KEY;
use crate::database::{Credential, connect};

/// What Cosmos DB adds to each document.
pub(crate) const SYSTEM_PROPERTIES: [&str; 5] = ["_rid", "_self", "_etag", "_attachments", "_ts"];

/// A question, and whom to ask.
#[derive(Args, Clone, Debug)]
pub struct QueryOptions {
    /// SQL, such as "select * from c where c.UserId = 'alice@contoso.example'"
    pub sql: String,
    /// Address of the database, such as http://127.0.0.1:8081/
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// Account key; that of Microsoft's emulators if not given
    #[arg(long, default_value = COSMOS_KEY, hide_default_value = true)]
    pub key: String,
    /// Database
    #[arg(long, default_value = "office365")]
    pub database: String,
    /// Container
    #[arg(long, default_value = "activity")]
    pub container: String,
}

/// Prints each result as one line of JSON, without the database's own properties, and returns how many there were.
///
/// # Errors
///
/// The database does not answer, or refuses the key or the question.
pub async fn query(options: &QueryOptions) -> Result<usize> {
    let key = Credential::Key(Secret::new(options.key.clone()));
    let container = connect(&options.endpoint, key, &options.database, &options.container).await;
    let container = container.map_err(|error| anyhow!("{error}: is a stack kept up (--keep), and is this the address that it shows?"))?;
    let results = container.query_items::<Value>(Query::from(options.sql.as_str()), FeedScope::full_container(), None);
    let mut results = results.await.context("the question is refused")?;
    let mut count = 0;
    while let Some(mut result) = results.try_next().await.context("the question is refused")? {
        if let Some(document) = result.as_object_mut() {
            document.retain(|name, _| !SYSTEM_PROPERTIES.contains(&name.as_str()));
        }
        count += 1;
        if writeln!(stdout(), "{result}").is_err() {
            break; // the reader has gone
        }
    }
    Ok(count)
}
