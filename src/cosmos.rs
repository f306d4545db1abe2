//! The door to the database: creates documents, in transactions where it can, and judges what it answers. What a document
//! is made of is not its matter.

use std::sync::Arc;

use azure_core::{credentials::TokenCredential, http::StatusCode};
use azure_data_cosmos::{
    AccountEndpoint, AccountReference, CosmosClient, CosmosError, RoutingStrategy, TransactionalBatch, clients::ContainerClient,
    options::BinaryEncodingOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::{config, store_events::document::Document};

/// Single creates side by side, where transactions lead nowhere.
const SINGLES: usize = 8;
/// Conflicts in one batch after which the rest is written one by one: each costs a transaction more, and a message that is
/// delivered again is nothing but conflicts.
const MOST_CONFLICTS: usize = 4;
/// HTTP status of one document's part in a transaction.
const CONFLICT: u16 = 409;

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Created,
    /// One of its id was there, and is untouched.
    Duplicate,
}

/// Why documents were not written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It passes: throttled, unreachable, too slow.
    #[error("the database is not answering")]
    Passing(#[source] Box<CosmosError>),
    /// A person has to change something.
    #[error("the database refused{}", next_step(.0))]
    Refused(#[source] Box<CosmosError>),
    /// A document that this handler made is no JSON.
    #[error("a document is no JSON")]
    Document(#[from] serde_json::Error),
}

impl From<CosmosError> for DatabaseError {
    /// The one place where the database's answer is judged.
    fn from(error: CosmosError) -> Self {
        let status = error.status();
        match u16::from(status.status_code()) {
            400 | 401 | 403 | 404 | 413 if !status.is_transient() => Self::Refused(Box::new(error)),
            _ => Self::Passing(Box::new(error)),
        }
    }
}

fn next_step(error: &CosmosError) -> &'static str {
    match u16::from(error.status().status_code()) {
        401 => ": check COSMOS_KEY",
        403 => ": the key is read-only, or the identity lacks the role Cosmos DB Built-in Data Contributor",
        404 => ": the database or container that COSMOS_DATABASE and COSMOS_CONTAINER name does not exist",
        413 => ": a document is too large",
        _ => "",
    }
}

/// The container that documents go to. The connection is made at the first write, so that a start waits for nothing.
pub struct Cosmos {
    config: config::Cosmos,
    identity: Option<Arc<dyn TokenCredential>>,
    container: OnceCell<ContainerClient>,
}

impl Cosmos {
    /// Of the account that the settings name, opened with its key or else the identity.
    #[must_use]
    pub fn new(config: &config::Cosmos, identity: Option<Arc<dyn TokenCredential>>) -> Self {
        Self { config: config.clone(), identity, container: OnceCell::new() }
    }

    /// Creates documents of one partition in as few transactions as conflicts allow. One of a document that is there is
    /// rolled back whole: what stands before the conflict then goes by itself, the conflict is a counted duplicate, and what
    /// stands behind is tried anew; where conflicts are many, the rest goes one by one. Answers in the order given.
    ///
    /// # Errors
    /// Some of the documents may have been created; creating them again is harmless.
    pub async fn create(&self, documents: &[&Document]) -> Result<Vec<Written>, DatabaseError> {
        let container = self.container().await?;
        let (mut written, mut rest) = (Vec::with_capacity(documents.len()), documents);
        for _ in 0..MOST_CONFLICTS {
            match transact(container, rest).await? {
                Transaction::Committed => {
                    written.resize(documents.len(), Written::Created);
                    return Ok(written);
                }
                Transaction::Conflict(at) => {
                    written.extend(create_again(container, &rest[..at]).await?);
                    written.push(Written::Duplicate);
                    rest = &rest[at + 1..];
                }
                Transaction::RolledBack => break,
            }
        }
        written.extend(create_singly(container, rest).await?);
        Ok(written)
    }

    async fn container(&self) -> Result<&ContainerClient, DatabaseError> {
        self.container.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<ContainerClient, DatabaseError> {
        let endpoint = AccountEndpoint::from(self.config.endpoint.clone());
        let account = match (&self.config.key, &self.identity) {
            (Some(key), _) => AccountReference::with_authentication_key(endpoint, key.clone()),
            (None, Some(identity)) => AccountReference::with_credential(endpoint, Arc::clone(identity)),
            (None, None) => return Err(DatabaseError::from(no_credential())),
        };
        // No region is preferred: the account's own order holds, and its write region is where creates go.
        // Documents are JSON text already; as text they go out as they are.
        let as_text = BinaryEncodingOptions::new().with_enabled(false);
        let client = CosmosClient::builder()
            .with_binary_encoding_options(as_text)
            .build(account, RoutingStrategy::PreferredRegions(Vec::new()))
            .await?;
        Ok(client.database_client(self.config.database.clone()).container_client(self.config.container.clone(), None).await?)
    }
}

/// What became of a transaction.
enum Transaction {
    Committed,
    /// Rolled back, because one of this document's id is there.
    Conflict(usize),
    /// Rolled back, or never tried, for what only single creates can tell.
    RolledBack,
}

async fn transact(container: &ContainerClient, documents: &[&Document]) -> Result<Transaction, DatabaseError> {
    let [first, _, ..] = documents else { return Ok(Transaction::RolledBack) };
    let mut batch = TransactionalBatch::new(first.pk.clone());
    for document in documents {
        batch = batch.create_item(serde_json::from_str::<&RawValue>(&document.json)?)?;
    }
    let response = match container.execute_transactional_batch(batch, None).await {
        Ok(response) => response.into_model()?,
        Err(error) if error.status().is_conflict() || error.status().status_code() == StatusCode::PayloadTooLarge => {
            return Ok(Transaction::RolledBack);
        }
        Err(error) => return Err(error.into()),
    };
    if response.results().iter().all(|result| result.is_success()) {
        return Ok(Transaction::Committed);
    }
    let conflict = response.results().iter().position(|result| result.status_code() == CONFLICT);
    Ok(conflict.filter(|at| *at < documents.len()).map_or(Transaction::RolledBack, Transaction::Conflict))
}

/// Documents that were rolled back for another's sake.
async fn create_again(container: &ContainerClient, documents: &[&Document]) -> Result<Vec<Written>, DatabaseError> {
    match transact(container, documents).await? {
        Transaction::Committed => Ok(vec![Written::Created; documents.len()]),
        Transaction::Conflict(_) | Transaction::RolledBack => create_singly(container, documents).await,
    }
}

async fn create_singly(container: &ContainerClient, documents: &[&Document]) -> Result<Vec<Written>, DatabaseError> {
    let creates: Vec<_> = documents.iter().map(|document| create_one(container, document)).collect();
    stream::iter(creates).buffered(SINGLES).try_collect().await
}

async fn create_one(container: &ContainerClient, document: &Document) -> Result<Written, DatabaseError> {
    let body: &RawValue = serde_json::from_str(&document.json)?;
    match container.create_item(document.pk.clone(), &document.id, body, None).await {
        Ok(_) => Ok(Written::Created),
        Err(error) if error.status().is_conflict() => Ok(Written::Duplicate),
        Err(error) => Err(error.into()),
    }
}

fn no_credential() -> CosmosError {
    CosmosError::builder().with_message("neither COSMOS_KEY nor a managed identity is there").build()
}
