//! The door to the database: creates documents, in transactions where it can, and judges what it answers. What a document
//! is made of is not its matter.

mod probe;

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_data_cosmos::{
    AccountEndpoint, AccountReference, CosmosClient, CosmosError, RoutingStrategy, TransactionalBatch, clients::ContainerClient,
    options::BinaryEncodingOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

pub use self::probe::Made;
use crate::{config, document::Document};

/// Sub-statuses that change what a status means; the first is the SDK's own. Where regions fail over (403/3, 403/1008,
/// 404/1002), the SDK itself makes a 503 of it once it gives up.
/// <https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb>
const TOKEN_ACQUISITION_FAILED: u16 = 20402;
const PARTITION_KEY_MISMATCH: u16 = 1001;
const PARTITION_FULL: u16 = 1014;

/// Single creates side by side, once a batch was refused for a conflict.
const SINGLES: usize = 8;

/// What became of a document.
#[derive(Debug)]
pub enum Written {
    /// It is new.
    Created,
    /// One of its id was there, and is untouched.
    Duplicate,
    /// The database does not take it, for a reason that is this document's alone.
    Refused(DatabaseError),
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
    /// It does not take this document.
    #[error("the database refused a document")]
    Unfit(#[source] Box<CosmosError>),
    /// A document that this handler made is no JSON.
    #[error("a document is no JSON")]
    Document(#[from] serde_json::Error),
}

impl From<CosmosError> for DatabaseError {
    /// The one place where the database's answer is judged.
    fn from(error: CosmosError) -> Self {
        match statuses(&error) {
            // No token at the moment.
            (401, Some(TOKEN_ACQUISITION_FAILED)) => Self::Passing(Box::new(error)),
            (400, Some(PARTITION_KEY_MISMATCH)) | (401 | 403 | 404, _) => Self::Refused(Box::new(error)),
            (400 | 413, _) => Self::Unfit(Box::new(error)),
            _ => Self::Passing(Box::new(error)),
        }
    }
}

impl DatabaseError {
    /// What to do, where that is known.
    #[must_use]
    pub fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::Refused(error) => Some(next_step(error).trim_start_matches(": ")).filter(|step| !step.is_empty()),
            Self::Passing(_) | Self::Unfit(_) | Self::Document(_) => None,
        }
    }

    /// The HTTP status behind it: what a journal line names.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Passing(error) | Self::Refused(error) | Self::Unfit(error) => Some(u16::from(error.status().status_code()).to_string()),
            Self::Document(_) => None,
        }
    }
}

fn next_step(error: &CosmosError) -> &'static str {
    match statuses(error) {
        (401, _) => ": check COSMOS_KEY",
        (403, Some(PARTITION_FULL)) => ": a day's logical partition is full; raise PARTITIONS_PER_DAY",
        (403, _) => ": the key is read-only, or the identity lacks the role Cosmos DB Built-in Data Contributor",
        (404, _) => ": the database or container that COSMOS_DATABASE and COSMOS_CONTAINER name does not exist",
        (400, _) => ": the container's partition key path must be /pk",
        _ => "",
    }
}

fn statuses(error: &CosmosError) -> (u16, Option<u16>) {
    (u16::from(error.status().status_code()), error.status().sub_status().map(|sub_status| sub_status.value()))
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

    /// Creates documents of one partition, all in one transaction; where that founders on a single one, one by one, so that
    /// each conflict is a counted duplicate and costs next to nothing, and what is refused holds back no other. Answers in
    /// the order given.
    ///
    /// # Errors
    /// Some of the documents may have been created; creating them again is harmless.
    pub async fn create(&self, documents: &[&Document]) -> Result<Vec<Written>, DatabaseError> {
        let container = self.container().await?;
        if let [document] = documents {
            return Ok(vec![create_one(container, document).await?]);
        }
        if create_all(container, documents).await? {
            return Ok(documents.iter().map(|_| Written::Created).collect());
        }
        let creates: Vec<_> = documents.iter().map(|document| create_one(container, document)).collect();
        stream::iter(creates).buffered(SINGLES).try_collect().await
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
        // Documents are JSON text already; as text they go out as they are.
        let as_text = BinaryEncodingOptions::new().with_enabled(false);
        // No region is preferred: the account's own order holds, and its write region is where creates go.
        let client = CosmosClient::builder()
            .with_binary_encoding_options(as_text)
            .build(account, RoutingStrategy::PreferredRegions(Vec::new()))
            .await?;
        Ok(client.database_client(self.config.database.clone()).container_client(self.config.container.clone(), None).await?)
    }
}

/// True if the transaction was committed, false if something about a single document rolled it back.
async fn create_all(container: &ContainerClient, documents: &[&Document]) -> Result<bool, DatabaseError> {
    let mut batch = TransactionalBatch::new(documents[0].pk.clone());
    for document in documents {
        batch = batch.create_item(serde_json::from_str::<&RawValue>(&document.json)?)?;
    }
    match container.execute_transactional_batch(batch, None).await {
        Ok(response) => {
            // Anything about a single document, a conflict above all: written alone, each tells its own.
            Ok(response.into_model()?.results().iter().all(|result| result.is_success()))
        }
        Err(error) if error.status().is_conflict() => Ok(false),
        Err(error) => match error.into() {
            DatabaseError::Unfit(_) => Ok(false),
            error => Err(error),
        },
    }
}

async fn create_one(container: &ContainerClient, document: &Document) -> Result<Written, DatabaseError> {
    let body: &RawValue = serde_json::from_str(&document.json)?;
    match container.create_item(document.pk.clone(), &document.id, body, None).await {
        Ok(_) => Ok(Written::Created),
        Err(error) if error.status().is_conflict() => Ok(Written::Duplicate),
        Err(error) => match error.into() {
            error @ DatabaseError::Unfit(_) => Ok(Written::Refused(error)),
            error => Err(error),
        },
    }
}

fn no_credential() -> CosmosError {
    CosmosError::builder().with_message("neither COSMOS_KEY nor a managed identity is there").build()
}
