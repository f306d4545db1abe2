//! Cosmos DB in memory: the emulator of Microsoft's own driver crate, served over loopback HTTP to whoever speaks the
//! protocol. What it keeps is the emulator's; what is refused, counted and spoilt on the way there lives in the submodules.

mod discard;
mod faults;
mod made;
mod rules;
mod serve;

pub use discard::write_charge;
pub use faults::{CosmosFault, CosmosFaultKind};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use azure_core::http::{Method, Request, StatusCode};
use azure_data_cosmos_driver::in_memory_emulator::{
    ContainerConfig, InMemoryEmulatorHttpClient, RequestUnitChargingModel, VirtualAccountConfig, VirtualRegion,
};
use azure_data_cosmos_driver::models::PartitionKeyDefinition;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::doors::new_key;
use faults::Faults;

/// The container that is there when [`Cosmos`] starts.
#[derive(Clone, Debug)]
pub struct CosmosOptions {
    /// The database's id.
    pub database: String,
    /// The container's id.
    pub container: String,
    /// The container's `defaultTtl` in seconds: `Some(-1)` lets each document say its own, `None` switches expiry off.
    pub default_ttl: Option<i32>,
    /// Path of the partition key, such as `/pk`.
    pub partition_key_path: String,
    /// Physical partitions. The emulator copies a whole one at every transactional batch, so many small ones are fast; over
    /// 100, the SDK refuses a query that goes to all of them.
    pub partitions: u32,
    /// Loopback port; 0 takes a free one.
    pub port: u16,
    /// Keeps no document, only ids: see [`Cosmos::created`].
    pub discards: bool,
    /// Makes so many documents of each logical partition that is there whenever all of one is asked for by id, and keeps none.
    pub makes: Option<u64>,
    /// Whether any access token opens the account beside its key: nobody here can tell a good one.
    pub takes_tokens: bool,
}

impl Default for CosmosOptions {
    fn default() -> Self {
        Self {
            database: "office365".to_owned(),
            container: "activity".to_owned(),
            default_ttl: Some(-1),
            partition_key_path: "/pk".to_owned(),
            partitions: 64,
            port: 0,
            discards: false,
            makes: None,
            takes_tokens: true,
        }
    }
}

/// What came in over the wire. Requests that failed on purpose (see [`Cosmos::fail`]) are counted too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CosmosRequests {
    /// Transactional batches.
    pub batches: u64,
    /// Operations inside them.
    pub batch_operations: u64,
    /// Single documents created or upserted.
    pub creates: u64,
    /// Single documents read.
    pub reads: u64,
    /// Queries of documents, their plans included.
    pub queries: u64,
    /// All else: account, database, container, partition key ranges, feeds, replacements, deletions.
    pub other: u64,
    /// Answers 409, and batches that failed of one.
    pub conflicts: u64,
    /// Answers 429.
    pub throttled: u64,
    /// Writes that met planned trouble.
    pub struck: u64,
    /// Request units, by the emulator's simple model of them.
    pub request_charge: f64,
}

/// A running account with one database and one container. It is gone when dropped.
#[derive(Debug)]
pub struct Cosmos {
    account: Arc<EmulatedAccount>,
    _serving: DropGuard,
    closed: tokio::task::JoinHandle<()>,
}

/// What the requests share.
#[derive(Debug)]
struct EmulatedAccount {
    emulator: InMemoryEmulatorHttpClient,
    endpoint: Url,
    /// Made anew each run.
    key: String,
    takes_tokens: bool,
    database: String,
    container: String,
    /// Physical partitions; their ids count from 0.
    partitions: u32,
    is_closed: watch::Sender<bool>,
    faults: Mutex<Faults>,
    requests: Mutex<CosmosRequests>,
    /// In the place of the emulator's documents, where they are not kept.
    discarded: Option<discard::Discarded>,
    /// In the place of the emulator's documents, where they are made as they are asked for.
    made: Option<made::Made>,
}

impl Cosmos {
    /// Serves an account with one empty container on a loopback port, in HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    ///
    /// The port is taken, or the options make no container.
    pub async fn start(options: CosmosOptions) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", options.port))
            .await
            .with_context(|| format!("port {} for Cosmos DB is taken", options.port))?;
        let endpoint = Url::parse(&format!("http://127.0.0.1:{}/", listener.local_addr()?.port()))?;
        let account = Arc::new(EmulatedAccount {
            emulator: emulator(&endpoint)?,
            endpoint,
            key: new_key(),
            takes_tokens: options.takes_tokens,
            database: options.database.clone(),
            container: options.container.clone(),
            partitions: options.partitions,
            is_closed: watch::Sender::new(false),
            faults: Mutex::default(),
            requests: Mutex::default(),
            discarded: options.discards.then(discard::Discarded::default),
            made: options.makes.map(made::Made),
        });
        account.create_container(&options).await?;
        let stop = CancellationToken::new();
        let closed = tokio::spawn(serve::run(listener, account.clone(), stop.clone()));
        Ok(Self { account, _serving: stop.drop_guard(), closed })
    }

    /// The handler's settings for this account.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let settings = [
            ("COSMOS_ENDPOINT", self.account.endpoint.as_str()),
            ("COSMOS_KEY", &self.account.key),
            ("COSMOS_DATABASE", &self.account.database),
            ("COSMOS_CONTAINER", &self.account.container),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// Where the account is served: `http://127.0.0.1:PORT/`.
    pub fn endpoint(&self) -> &Url {
        &self.account.endpoint
    }

    /// The account's key, of this run alone.
    pub fn key(&self) -> &str {
        &self.account.key
    }

    /// Every document of the container, with the system properties (`_rid`, `_etag`, `_ts`, …), in no promised order.
    /// Documents whose `ttl` is over are still among them: the emulator does not expire any.
    ///
    /// # Errors
    ///
    /// The container was deleted.
    pub async fn documents(&self) -> Result<Vec<Value>> {
        let mut documents = Vec::new();
        self.for_each_document(|document| documents.push(document)).await?;
        Ok(documents)
    }

    /// Calls this with every document in turn. No more than one physical partition of them is in memory beside the store.
    ///
    /// # Errors
    ///
    /// The container was deleted.
    pub async fn for_each_document(&self, mut call: impl FnMut(Value)) -> Result<()> {
        for partition in 0..self.account.partitions {
            self.account.documents(partition).await?.into_iter().for_each(&mut call);
        }
        Ok(())
    }

    /// How many documents the container holds.
    ///
    /// # Errors
    ///
    /// The container was deleted.
    pub async fn document_count(&self) -> Result<usize> {
        let mut count = 0;
        self.for_each_document(|_| count += 1).await?;
        Ok(count)
    }

    /// How many documents were created by an account that discards them.
    pub fn created(&self) -> usize {
        self.account.discarded.as_ref().map_or(0, discard::Discarded::count)
    }

    /// What came in so far.
    pub fn requests(&self) -> CosmosRequests {
        *lock(&self.account.requests)
    }

    /// Plans trouble for the writes to come, behind what is planned already.
    pub fn fail(&self, fault: CosmosFault) {
        lock(&self.account.faults).plan(fault);
    }

    /// Forgets the planned trouble.
    pub fn clear_faults(&self) {
        *lock(&self.account.faults) = Faults::default();
    }

    /// Resets every connection from now on, until [`Cosmos::open`]: nobody is there. The port stays taken, so that nobody else
    /// gets it.
    pub fn close(&self) {
        self.account.is_closed.send_replace(true);
    }

    /// Undoes [`Cosmos::close`].
    pub fn open(&self) {
        self.account.is_closed.send_replace(false);
    }

    /// Closes the port and every connection.
    pub async fn stop(self) {
        let Self { _serving, closed, .. } = self;
        drop(_serving);
        let _ = closed.await;
    }
}

/// An account of one region, which is the served address: clients are led there by `writableLocations`.
fn emulator(endpoint: &Url) -> Result<InMemoryEmulatorHttpClient> {
    let region = VirtualRegion::new("Local", endpoint.clone());
    let config = VirtualAccountConfig::new(vec![region])?.with_ru_model(RequestUnitChargingModel::default());
    Ok(InMemoryEmulatorHttpClient::try_new(config)?)
}

impl EmulatedAccount {
    async fn create_container(&self, options: &CosmosOptions) -> Result<()> {
        let config = ContainerConfig::new().with_partition_count(options.partitions).build()?;
        let key = PartitionKeyDefinition::from(options.partition_key_path.clone());
        let store = self.emulator.store();
        store.create_database(&self.database);
        store.create_container_with_config(&self.database, &self.container, key.clone(), config);

        // The number of partitions can only be set above, the default TTL only here.
        let mut properties = json!({ "id": self.container, "partitionKey": key });
        if let Some(ttl) = options.default_ttl {
            properties["defaultTtl"] = ttl.into();
        }
        let path = format!("dbs/{}/colls/{}", self.database, self.container);
        let mut request = Request::new(self.endpoint.join(&path)?, Method::Put);
        request.set_body(properties.to_string());
        self.execute(&request).await.map(drop).context("set the container's default TTL")
    }

    /// The documents of one physical partition: the emulator copies all that a feed covers, whole.
    async fn documents(&self, partition: u32) -> Result<Vec<Value>> {
        #[derive(Deserialize)]
        struct Feed {
            #[serde(rename = "Documents")]
            documents: Vec<Value>,
        }
        let path = format!("dbs/{}/colls/{}/docs", self.database, self.container);
        let mut request = Request::new(self.endpoint.join(&path)?, Method::Get);
        request.insert_header("x-ms-documentdb-partitionkeyrangeid", partition.to_string());
        let body = self.execute(&request).await?;
        let mut feed = serde_json::Deserializer::from_slice(&body);
        feed.disable_recursion_limit(); // each document is within its 128 levels; the feed adds two
        Ok(Feed::deserialize(&mut feed)?.documents)
    }

    /// A request of our own, neither counted nor spoilt.
    async fn execute(&self, request: &Request) -> Result<azure_core::Bytes> {
        let response = self.emulator.execute_request(request).await?.try_into_raw_response().await?;
        let body = response.body();
        ensure!(response.status() == StatusCode::Ok, "{} answers {}", request.url(), String::from_utf8_lossy(body));
        Ok(azure_core::Bytes::copy_from_slice(body.as_ref()))
    }
}

/// A panic elsewhere leaves counts and plans as good as they were.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use azure_core::credentials::Secret;
    use azure_data_cosmos::clients::ContainerClient;
    use azure_data_cosmos::{
        AccountEndpoint, AccountReference, CosmosClientBuilder, FeedScope, Query, RoutingStrategy, TransactionalBatch,
    };
    use futures::TryStreamExt as _;

    use super::*;

    async fn container(cosmos: &Cosmos, key: &str) -> Result<ContainerClient> {
        let endpoint: AccountEndpoint = cosmos.endpoint().as_str().parse()?;
        let account = AccountReference::with_authentication_key(endpoint, Secret::new(key.to_owned()));
        let strategy = RoutingStrategy::ProximityTo("Local".into());
        let client = CosmosClientBuilder::new().build(account, strategy).await?;
        Ok(client.database_client("office365").container_client("activity", None).await?)
    }

    fn record(pk: &str, id: impl ToString) -> Value {
        json!({ "id": id.to_string(), "pk": pk, "ttl": 86_400, "UserId": "a@contoso.example", "Size": 1.5 })
    }

    fn batch(pk: &str, ids: impl IntoIterator<Item = usize>) -> Result<TransactionalBatch> {
        let mut batch = TransactionalBatch::new(pk.to_owned());
        for id in ids {
            batch = batch.create_item(record(pk, id))?;
        }
        Ok(batch)
    }

    #[tokio::test]
    async fn serves_what_the_sdk_asks_for() -> Result<()> {
        let cosmos = Cosmos::start(CosmosOptions::default()).await?;
        let items = container(&cosmos, cosmos.key()).await?;

        let stored = items.execute_transactional_batch(batch("2026-11-20-1", 0..100)?, None).await?.into_model()?;
        assert!(stored.results().iter().all(|result| result.status_code() == 201));
        let repeated = items.execute_transactional_batch(batch("2026-11-20-1", 99..102)?, None).await?.into_model()?;
        let codes: Vec<_> = repeated.results().iter().map(|result| result.status_code()).collect();
        assert_eq!(codes, [409, 424, 424]);
        assert!(items.execute_transactional_batch(batch("2026-11-20-1", 200..301)?, None).await.is_err());

        items.create_item("2026-11-20-2", "one%2F", record("2026-11-20-2", "one%2F"), None).await?;
        let again = items.create_item("2026-11-20-2", "one%2F", record("2026-11-20-2", "one%2F"), None).await;
        assert_eq!(again.err().map(|error| u16::from(error.status().status_code())), Some(409));
        let read: Value = items.read_item("2026-11-20-2", "one%2F", None).await?.into_model()?;
        assert_eq!(read["ttl"], 86_400);

        let all = items.query_items::<Value>(Query::from("SELECT * FROM c"), FeedScope::full_container(), None).await?;
        assert_eq!(all.try_collect::<Vec<_>>().await?.len(), 101);
        assert_eq!(cosmos.document_count().await?, 101);

        let seen = cosmos.requests();
        assert_eq!((seen.batches, seen.creates, seen.reads, seen.conflicts, seen.throttled), (3, 2, 1, 2, 0));
        assert!(seen.request_charge > 100.0, "{seen:?}");
        cosmos.stop().await;
        Ok(())
    }

    /// Taken out: without `doors::refusal`, a page that rebinds its name to 127.0.0.1 asks with a key that it was told.
    #[tokio::test]
    async fn answers_loopback_names_and_no_web_page() -> Result<()> {
        let cosmos = Cosmos::start(CosmosOptions::default()).await?;
        let client = reqwest::Client::new();
        let status = async |name: &str, value: String| -> Result<u16> {
            Ok(client.get(cosmos.endpoint().clone()).header(name, value).send().await?.status().as_u16())
        };
        let port = cosmos.endpoint().port().unwrap_or_default();
        assert_eq!(status("host", format!("localhost:{port}")).await?, 401);
        assert_eq!(status("host", format!("rebound.example:{port}")).await?, 403);
        assert_eq!(status("origin", "https://evil.example".to_owned()).await?, 403);
        Ok(())
    }

    /// Taken out: with one key for all runs, whoever knows it opens every database that is kept up.
    #[tokio::test]
    async fn the_key_is_of_this_run_and_a_token_opens_nothing_where_there_are_no_identities() -> Result<()> {
        let (cosmos, other) = (Cosmos::start(CosmosOptions::default()).await?, Cosmos::start(CosmosOptions::default()).await?);
        assert!(container(&cosmos, other.key()).await.is_err());
        assert!(container(&cosmos, cosmos.key()).await.is_ok());
        for (takes_tokens, expected) in [(true, 200), (false, 401)] {
            let cosmos = Cosmos::start(CosmosOptions { takes_tokens, ..CosmosOptions::default() }).await?;
            let request = reqwest::Client::new().get(cosmos.endpoint().join("dbs/office365")?);
            let answer = request.header("authorization", "type%3Daad%26ver%3D1.0%26sig%3Danything").send().await?;
            assert_eq!(answer.status().as_u16(), expected);
        }
        Ok(())
    }

    #[tokio::test]
    async fn refuses_a_wrong_key() -> Result<()> {
        let cosmos = Cosmos::start(CosmosOptions::default()).await?;
        let plain = reqwest::get(cosmos.endpoint().clone()).await?;
        assert_eq!(plain.status(), 401);
        let error = container(&cosmos, "d3Jvbmc=").await.err().context("a wrong key is taken")?;
        assert!(format!("{error:#}").contains("401"), "{error:#}");
        Ok(())
    }

    #[tokio::test]
    async fn refuses_what_the_service_refuses() -> Result<()> {
        let cosmos = Cosmos::start(CosmosOptions::default()).await?;
        let items = container(&cosmos, cosmos.key()).await?;
        let mut large = record("p", "large");
        large["text"] = "x".repeat(2 << 20).into();
        let mut deep = record("p", "deep");
        deep["nested"] = (1..128).fold(Value::Null, |inner, _| json!([inner]));
        items.create_item("p", "deep", deep.clone(), None).await?;
        deep["nested"] = json!([deep["nested"]]);
        let mut old = record("p", "old");
        old["ttl"] = 0.into();
        for (document, status) in [(large, 413), (deep, 400), (old, 400), (record("p", "a/b"), 400)] {
            let id = document["id"].as_str().unwrap_or_default().to_owned();
            let refused = items.create_item("p", &id, document.clone(), None).await;
            assert_eq!(refused.err().map(|error| u16::from(error.status().status_code())), Some(status), "{id}");
        }
        let batch = TransactionalBatch::new("p").create_item(record("p", 1))?.create_item(record("p", "a#"))?;
        let results = items.execute_transactional_batch(batch, None).await?.into_model()?;
        let codes: Vec<_> = results.results().iter().map(|result| result.status_code()).collect();
        assert_eq!(codes, [424, 400]);
        assert_eq!(cosmos.document_count().await?, 1);
        Ok(())
    }

    #[tokio::test]
    async fn spoils_writes_as_planned() -> Result<()> {
        let cosmos = Cosmos::start(CosmosOptions::default()).await?;
        let items = container(&cosmos, cosmos.key()).await?;
        cosmos.fail(CosmosFault::times(CosmosFaultKind::throttled(Duration::from_millis(20)), 2));
        items.execute_transactional_batch(batch("p", 0..3)?, None).await?;
        assert_eq!(cosmos.requests().throttled, 2);

        cosmos.fail(CosmosFault::times(CosmosFaultKind::LostAnswer, 1));
        let lost = items.create_item("p", "lost", record("p", "lost"), None).await;
        // The SDK repeats a create whose answer was lost, and then reports a conflict with itself.
        assert_eq!(lost.err().map(|error| u16::from(error.status().status_code())), Some(409));
        assert_eq!(cosmos.document_count().await?, 4);

        cosmos.fail(CosmosFault::lasting(CosmosFaultKind::status(403)));
        assert!(items.create_item("p", "no", record("p", "no"), None).await.is_err());
        cosmos.clear_faults();
        items.create_item("p", "yes", record("p", "yes"), None).await?;
        Ok(())
    }

    /// Run with `cargo test --release -p standins cosmos -- --ignored --nocapture` to choose the default of `partitions`. On two
    /// shared cores, 100,000 documents took 20 s in 256 partitions, 26 s in 64, 43 s in 16, and over 240 s in one.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a measurement of minutes"]
    async fn measure_partitions() -> Result<()> {
        for partitions in [256, 64, 16, 1] {
            let cosmos = Cosmos::start(CosmosOptions { partitions, ..CosmosOptions::default() }).await?;
            let items = container(&cosmos, cosmos.key()).await?;
            let start = Instant::now();
            let write = |round: usize| {
                let items = items.clone();
                async move {
                    let pk = format!("2026-11-{:02}-{}", 13 + round % 8, round / 8 % 4);
                    let mut batch = TransactionalBatch::new(pk.clone());
                    for id in round * 100..(round + 1) * 100 {
                        let mut document = record(&pk, id);
                        for field in 0..30 {
                            document[format!("Field{field}")] = "some text of usual length, say".into();
                        }
                        batch = batch.create_item(document)?;
                    }
                    items.execute_transactional_batch(batch, None).await?;
                    anyhow::Ok(())
                }
            };
            let writes = futures::stream::iter((0..1000).map(|round| anyhow::Ok(write(round))));
            let done = writes.try_buffer_unordered(8).try_collect::<Vec<()>>();
            let in_time = tokio::time::timeout(Duration::from_secs(240), done).await.is_ok();
            println!("{partitions} partitions: {:?}, all: {in_time}, {:?}", start.elapsed(), cosmos.requests());
        }
        Ok(())
    }
}
