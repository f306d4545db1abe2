//! The database's client: creates documents, in transactions where it can, and classes the errors that it answers.

mod ids;
mod probe;
mod units;

use std::{collections::HashSet, sync::Arc};

use azure_core::credentials::TokenCredential;
use azure_data_cosmos_driver::{
    CosmosDriver, CosmosDriverRuntime, CosmosError, CosmosErrorBuilder, CosmosResponse, DriverOptions,
    models::{AccountReference, ContainerReference, CosmosOperation, FeedRange, ItemReference},
    options::{BinaryEncodingOptions, OperationOptions, PlanOptions},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use self::units::RequestUnits;
pub use self::{
    ids::{Claims, IdState, Ids},
    probe::ContainerSettings,
};
use crate::{config, document::Document};

/// Sub-statuses that change what a status means; the first is the SDK's own. Where regions fail over (403/3, 403/1008,
/// 404/1002), the SDK itself makes a 503 of it once it gives up.
/// <https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb>
const TOKEN_ACQUISITION_FAILED: u16 = 20402;
const PARTITION_KEY_MISMATCH: u16 = 1001;
const PARTITION_FULL: u16 = 1014;

/// Transactions tried for one batch; what is still left is created one by one.
const MAX_TRANSACTIONS: usize = 4;
/// Single creates at a time.
const MAX_CREATES: usize = 8;

/// The result of creating a document.
#[derive(Debug)]
pub enum Written {
    /// It is new.
    Created,
    /// One of its id was there, and is untouched.
    Duplicate,
    /// The database does not take it, for a reason that is this document's alone.
    Refused(DatabaseError),
}

/// The reason why documents were not written.
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
    /// The next step, if it is known.
    #[must_use]
    pub fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::Refused(error) => Some(next_step(error).trim_start_matches(": ")).filter(|step| !step.is_empty()),
            Self::Passing(_) | Self::Unfit(_) => None,
        }
    }

    /// The HTTP status behind it: what a journal line names.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let (Self::Passing(error) | Self::Refused(error) | Self::Unfit(error)) = self;
        Some(u16::from(error.status().status_code()).to_string())
    }
}

fn next_step(error: &CosmosError) -> &'static str {
    match statuses(error) {
        (401, _) => ": check COSMOS_KEY",
        (403, Some(PARTITION_FULL)) => ": a day's logical partition is full; raise PARTITIONS_PER_DAY",
        (403, _) => ": the key is read-only, or the identity may not create documents in batches",
        (404, _) => ": the database or container that COSMOS_DATABASE and COSMOS_CONTAINER name does not exist",
        (400, _) => ": the container's partition key path must be /pk",
        _ => "",
    }
}

fn statuses(error: &CosmosError) -> (u16, Option<u16>) {
    (u16::from(error.status().status_code()), error.status().sub_status().map(|sub_status| sub_status.value()))
}

/// The container that documents go to. The connection is made at the first write, so that a start waits for nothing.
pub struct Database {
    config: config::CosmosAccount,
    identity: Option<Arc<dyn TokenCredential>>,
    connection: OnceCell<OpenContainer>,
    ids: Ids,
    units: Arc<RequestUnits>,
}

/// The driver does what the SDK does by it: routing, retries, sessions and authentication. The SDK itself is left out: it
/// builds a `serde_json::Value` of every document in a batch, which took more time than all else here.
struct OpenContainer {
    driver: Arc<CosmosDriver>,
    container: ContainerReference,
    units: Arc<RequestUnits>,
}

impl Database {
    /// Of the account that the settings name, opened with its key or else the identity.
    #[must_use]
    pub fn new(config: &config::CosmosAccount, identity: Option<Arc<dyn TokenCredential>>) -> Self {
        Self { config: config.clone(), identity, connection: OnceCell::new(), ids: Ids::default(), units: Arc::default() }
    }

    /// Writes at most so many request units a second from here on, batch after batch.
    pub fn set_pace(&mut self, a_second: u32) {
        self.units = Arc::new(RequestUnits::paced(a_second));
    }

    /// Request units that this process was charged, as the service told them with each answer.
    #[must_use]
    pub fn request_units(&self) -> f64 {
        self.units.charged()
    }

    /// Ids of documents that this process has stored, or is storing.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Creates documents of one partition in one transaction. If some of them are there already, the transaction rolls back:
    /// one query tells which, and the rest is created in a second transaction. A document that is refused is taken out, and
    /// does not block the rest. Results are in input order.
    ///
    /// # Errors
    /// Some of the documents may have been created; creating them again is harmless.
    pub async fn create(&self, documents: &[&Document]) -> Result<Vec<Written>, DatabaseError> {
        let connection = self.connection().await?;
        let _turn = self.units.turn().await;
        let written = match connection.create(documents).await {
            Err(error @ DatabaseError::Refused(_)) => {
                self.ids.forget();
                return Err(error);
            }
            written => written?,
        };
        // A reduced document's repeat is read again, since the journal must name it even if this message does not settle.
        let is_stored =
            |(document, written): &(&&Document, &Written)| document.reduced.is_none() && !matches!(written, Written::Refused(_));
        self.ids.remember(documents.iter().zip(&written).filter(is_stored).map(|(document, _)| &document.digest));
        Ok(written)
    }

    async fn connection(&self) -> Result<&OpenContainer, DatabaseError> {
        self.connection.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<OpenContainer, DatabaseError> {
        let endpoint = self.config.endpoint.clone();
        let account = match (&self.config.key, &self.identity) {
            (Some(key), _) => AccountReference::with_account_key(endpoint, key.clone()),
            (None, Some(identity)) => AccountReference::with_credential(endpoint, Arc::clone(identity)),
            (None, None) => return Err(DatabaseError::from(no_credential())),
        };
        // Documents are JSON text already; as text they go out as they are.
        let mut as_text = OperationOptions::default();
        as_text.binary_encoding = Some(BinaryEncodingOptions::new().with_enabled(false));
        // No region is preferred: the account's own order holds, and its write region is where creates go.
        let options = DriverOptions::builder(account).with_operation_options(as_text).build();
        let driver = CosmosDriverRuntime::builder().build().await?.create_driver(options).await?;
        let (database, container) = (&self.config.database, &self.config.container);
        let container = driver.resolve_container(database, container, OperationOptions::default()).await.map_err(|error| {
            let context = format!("failed to resolve container metadata for '{database}/{container}'");
            CosmosErrorBuilder::from_error(error).with_context(context).build()
        })?;
        Ok(OpenContainer { driver, container, units: Arc::clone(&self.units) })
    }
}

impl OpenContainer {
    async fn execute(&self, operation: CosmosOperation) -> Result<CosmosResponse, CosmosError> {
        let answer = self.driver.execute_singleton_operation(operation, OperationOptions::default()).await;
        let charge = match &answer {
            Ok(response) => Some(response.diagnostics_ref().total_request_charge()),
            // A conflict is charged for as well.
            Err(error) => error.diagnostics().map(|diagnostics| diagnostics.total_request_charge()),
        };
        charge.into_iter().for_each(|charge| self.units.charge(charge));
        answer
    }

    async fn create(&self, documents: &[&Document]) -> Result<Vec<Written>, DatabaseError> {
        let mut written: Vec<Option<Written>> = documents.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..documents.len()).collect();
        for _ in 0..MAX_TRANSACTIONS {
            if left.len() < 2 {
                break;
            }
            let batch: Vec<&Document> = left.iter().map(|at| documents[*at]).collect();
            match self.create_all(&batch).await? {
                Transaction::Committed => left.drain(..).for_each(|at| written[at] = Some(Written::Created)),
                Transaction::Conflict => {
                    let stored = self.stored(&batch).await?;
                    left.retain(|at| {
                        let is_stored = stored.contains(&documents[*at].id);
                        if is_stored {
                            written[*at] = Some(Written::Duplicate);
                        }
                        !is_stored
                    });
                }
                Transaction::Refused(at) => {
                    let at = left.remove(at);
                    written[at] = Some(self.create_one(documents[at]).await?);
                }
                Transaction::TooMuch => break,
            }
        }
        let creates: Vec<_> = left.iter().map(|at| self.create_one(documents[*at])).collect();
        let mut singles = stream::iter(creates).buffered(MAX_CREATES);
        for at in left {
            written[at] = singles.try_next().await?;
        }
        Ok(written.into_iter().flatten().collect())
    }

    /// Creates documents in one transaction, or none of them.
    async fn create_all(&self, documents: &[&Document]) -> Result<Transaction, DatabaseError> {
        let batch = CosmosOperation::batch(self.container.clone(), documents[0].pk.clone().into()).with_body(batch_body(documents));
        match self.execute(batch).await {
            Ok(response) => Ok(Transaction::of(&response.into_body().into_single::<Vec<OperationResult>>()?)),
            Err(error) if error.status().is_conflict() => Ok(Transaction::Conflict),
            Err(error) => match error.into() {
                DatabaseError::Unfit(_) => Ok(Transaction::TooMuch),
                error => Err(error),
            },
        }
    }

    /// The ids of those documents that are stored.
    async fn stored(&self, documents: &[&Document]) -> Result<HashSet<String>, DatabaseError> {
        let partition = FeedRange::for_partition(documents[0].pk.clone().into(), self.container.partition_key_definition());
        let query = CosmosOperation::query_items(self.container.clone(), Some(partition)).with_body(ids_query(documents));
        let options = OperationOptions::default();
        let mut plan = self.driver.plan_operation(query, &options, None, &PlanOptions::default()).await?;
        let mut stored = HashSet::new();
        while let Some(page) = self.driver.execute_plan(&mut plan, Some(self.container.clone()), options.clone()).await? {
            self.units.charge(page.diagnostics_ref().total_request_charge());
            for ids in page.into_body().into_items::<IdsPage>()? {
                match ids {
                    IdsPage::Whole { documents } => stored.extend(documents),
                    IdsPage::One(id) => drop(stored.insert(id)),
                }
            }
        }
        Ok(stored)
    }

    async fn create_one(&self, document: &Document) -> Result<Written, DatabaseError> {
        let create = CosmosOperation::create_item(self.item(&document.pk, &document.id)).with_body(document.json.clone().into_bytes());
        match self.execute(create).await {
            Ok(_) => Ok(Written::Created),
            Err(error) if error.status().is_conflict() => Ok(Written::Duplicate),
            Err(error) => match error.into() {
                error @ DatabaseError::Unfit(_) => Ok(Written::Refused(error)),
                error => Err(error),
            },
        }
    }

    fn item(&self, pk: &str, id: &str) -> ItemReference {
        ItemReference::from_name(&self.container, pk.to_owned().into(), id.to_owned())
    }
}

/// One operation's result in a batch's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OperationResult {
    status_code: u16,
}

/// A page of ids as the driver hands it out: the service's answer as it came, or its items one by one.
#[derive(Deserialize)]
#[serde(untagged)]
enum IdsPage {
    Whole {
        #[serde(rename = "Documents")]
        documents: Vec<String>,
    },
    One(String),
}

/// The result of creating a batch.
enum Transaction {
    /// All of its documents are created.
    Committed,
    /// Rolled back: one document or more is there already.
    Conflict,
    /// Rolled back: the document at this place was refused.
    Refused(usize),
    /// The service does not take the request as a whole.
    TooMuch,
}

impl Transaction {
    /// The results name the operation that failed; all others failed of it (424).
    fn of(results: &[OperationResult]) -> Self {
        let failed = |result: &OperationResult| !(200..300).contains(&result.status_code);
        if !results.iter().any(failed) {
            return Self::Committed;
        }
        match results.iter().position(|result| failed(result) && result.status_code != 424) {
            Some(at) if results[at].status_code != 409 => Self::Refused(at),
            _ => Self::Conflict,
        }
    }
}

/// A batch of creates as the service takes it: a JSON array of operations.
/// <https://learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch>
fn batch_body(documents: &[&Document]) -> Vec<u8> {
    const BEFORE: &str = r#"{"operationType":"Create","resourceBody":"#;
    let length = documents.iter().map(|document| document.json.len() + BEFORE.len() + 2).sum::<usize>() + 2;
    let mut body = Vec::with_capacity(length);
    body.push(b'[');
    for (at, document) in documents.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(BEFORE.as_bytes());
        body.extend_from_slice(document.json.as_bytes());
        body.push(b'}');
    }
    body.push(b']');
    body
}

/// Asks which of these ids are stored, as the SDKs read many items.
/// <https://learn.microsoft.com/azure/cosmos-db/nosql/query/keywords#in>
fn ids_query(documents: &[&Document]) -> Vec<u8> {
    let names: Vec<String> = (0..documents.len()).map(|at| format!("@{at}")).collect();
    let parameters: Vec<_> = names.iter().zip(documents).map(|(name, document)| json!({"name": name, "value": document.id})).collect();
    let query = format!("SELECT VALUE c.id FROM c WHERE c.id IN ({})", names.join(","));
    json!({"query": query, "parameters": parameters}).to_string().into_bytes()
}

fn no_credential() -> CosmosError {
    CosmosError::builder().with_message("neither COSMOS_KEY nor a managed identity is there").build()
}
