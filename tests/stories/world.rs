//! A world to tell stories in: one tenant, database and handler a story, all of its own; one Azurite for all of them, in
//! which each story has its own queue and container.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::{Value, json};
use standins::{
    azurite::{Azurite, AzuriteOptions, Storage},
    cosmos::{Cosmos, CosmosOptions},
    host::{Host, HostOptions, Invocation, InvocationOutcome, QueueSummary, QueueUntil},
    tenant::{Body, Call, FaultKind, NewBlob, Operation, Tenant, TenantOptions},
};
use uuid::Uuid;

use crate::wire::{Sent, Wire};

pub(crate) const HANDLER: &str = env!("CARGO_BIN_EXE_handler");
pub(crate) const EXCHANGE: &str = "Audit.Exchange";
pub(crate) const SHAREPOINT: &str = "Audit.SharePoint";

/// What a story is told in.
pub(crate) struct World {
    pub(crate) tenant: Tenant,
    pub(crate) cosmos: Cosmos,
    pub(crate) host: Host,
    pub(crate) storage: Storage,
    pub(crate) queue: String,
    pub(crate) container: String,
    pub(crate) settings: BTreeMap<String, String>,
    wire: Option<Wire>,
    /// The story's own, where an identity opens it.
    _azurite: Option<Azurite>,
}

/// A world before its handler starts.
pub(crate) struct Setting {
    pub(crate) tenant: TenantOptions,
    pub(crate) cosmos: CosmosOptions,
    /// On top of, or in place of, what the parts themselves set; an empty value takes a setting away.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) host: HostOptions,
    /// Whether the handler reaches its storage account over a [`Wire`].
    pub(crate) wired: bool,
    /// A managed identity in place of every secret.
    pub(crate) identity: Option<Identity>,
}

/// What the managed identity does beside opening storage and database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Signs for the app registration (federated credential).
    SignsForApp,
    /// Holds the API's permissions itself.
    HoldsPermissions,
}

impl Default for Setting {
    /// One workload, so that a story's figures are its own.
    fn default() -> Self {
        Self {
            tenant: TenantOptions { subscribed: true, ..TenantOptions::default() },
            cosmos: CosmosOptions { partitions: 4, ..CosmosOptions::default() },
            settings: BTreeMap::from([("WORKLOADS".to_owned(), EXCHANGE.to_owned())]),
            host: HostOptions { visibility_timeout: Some(Duration::from_secs(1)), ..HostOptions::default() },
            wired: false,
            identity: None,
        }
    }
}

impl Setting {
    /// All five workloads.
    pub(crate) fn of_all_workloads() -> Self {
        Self::default().with("WORKLOADS", "")
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn wired(self) -> Self {
        Self { wired: true, ..self }
    }

    pub(crate) async fn start(self) -> World {
        let (tenant, cosmos) = (Tenant::start(self.tenant).await.unwrap(), Cosmos::start(self.cosmos).await.unwrap());
        let (queue, container) = (format!("content-{}", Uuid::new_v4()), format!("state-{}", Uuid::new_v4()));
        let wire = if self.wired { Some(Wire::start(azurite()).await) } else { None };
        let (mut settings, storage, azurite) = match self.identity {
            None => {
                let account = wire.as_ref().map_or_else(|| azurite().to_owned(), |wire| wire.connection_string(azurite()));
                let mut settings = tenant.settings();
                settings.extend(cosmos.settings());
                settings.insert("AzureWebJobsStorage".to_owned(), account);
                (settings, Storage::new(azurite()).unwrap(), None)
            }
            Some(identity) => without_secrets(&tenant, &cosmos, identity).await,
        };
        settings.extend(
            [("CONTENT_QUEUE", queue.as_str()), ("STATE_CONTAINER", &container), ("SCHEDULE", "0 */5 * * * *")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        settings.extend(self.settings);
        settings.retain(|_, value| !value.is_empty());
        let host = start_host(&settings, HostOptions { storage: Some(storage.clone()), ..self.host }).await.unwrap();
        World { tenant, cosmos, host, storage, queue, container, settings, wire, _azurite: azurite }
    }
}

/// Settings with addresses and names alone, and an Azurite that takes the identity's tokens, which it does over HTTPS only.
async fn without_secrets(tenant: &Tenant, cosmos: &Cosmos, identity: Identity) -> (BTreeMap<String, String>, Storage, Option<Azurite>) {
    let options = AzuriteOptions { certificate: Some(tenant.certificate()), ..AzuriteOptions::default() };
    let azurite = Azurite::start(options).await.unwrap();
    let storage = Storage::trusting(&azurite.connection_string(), tenant.ca_pem()).unwrap();
    let mut settings = tenant.identity_settings();
    settings.extend(cosmos.settings());
    settings.extend(azurite.identity_settings());
    settings.remove("COSMOS_KEY");
    if identity == Identity::HoldsPermissions {
        settings.remove("OFFICE365_CLIENT_ID");
    }
    (settings, storage, Some(azurite))
}

/// The handler under test, run by a host.
pub(crate) async fn start_host(settings: &BTreeMap<String, String>, options: HostOptions) -> anyhow::Result<Host> {
    let is_here = options.app_root.as_os_str().is_empty();
    Host::start(HostOptions {
        app_root: if is_here { PathBuf::from(env!("CARGO_MANIFEST_DIR")) } else { options.app_root },
        executable: is_here.then(|| PathBuf::from(HANDLER)),
        settings: settings.clone(),
        ..options
    })
    .await
}

/// What a person saw who typed a command.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Typed {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The handler as a person starts it, with these settings in its environment and nothing else.
pub(crate) async fn type_command(arguments: &[&str], settings: &BTreeMap<String, String>) -> Typed {
    let mut command = tokio::process::Command::new(HANDLER);
    let output = command.args(arguments).env_clear().envs(settings).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("the command ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Typed { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// The connection string of an Azurite that lives as long as the process: it ends when its standard input does.
pub(crate) fn azurite() -> &'static str {
    static AZURITE: OnceLock<String> = OnceLock::new();
    AZURITE.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        // Its own thread and runtime: a story's runtime ends with the story.
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let azurite = Azurite::start(AzuriteOptions::default()).await.unwrap();
                sender.send(azurite.connection_string()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("Azurite starts")
    })
}

/// The key of that Azurite's account.
pub(crate) fn account_key() -> &'static str {
    azurite().split(';').find_map(|part| part.strip_prefix("AccountKey=")).unwrap()
}

pub(crate) async fn world() -> World {
    Setting::default().start().await
}

/// The figures of one workload in QueueEvents' line, and how the invocation ended.
pub(crate) struct Tick {
    pub(crate) invocation: Invocation,
    pub(crate) line: Value,
}

impl Tick {
    pub(crate) fn of(&self, workload: &str) -> &Value {
        let workloads = self.line["workloads"].as_array().expect("a report by workload");
        workloads.iter().find(|report| report["workload"] == workload).expect("the workload is reported")
    }

    pub(crate) fn exchange(&self) -> &Value {
        self.of(EXCHANGE)
    }
}

/// One run of a host's timer.
pub(crate) async fn tick(host: &Host) -> Tick {
    let invocation = host.run_timer("QueueEvents").await;
    let line = line_of(host, &invocation).await;
    Tick { invocation, line }
}

async fn line_of(host: &Host, invocation: &Invocation) -> Value {
    let id = json!(invocation.id.to_string());
    // A minute, on a busy machine.
    for _ in 0..6000 {
        let mut lines = lines(host);
        lines.retain(|line| line["invocation"] == id && line["message"] == "invocation");
        match lines.as_slice() {
            [line] => return line.clone(),
            // The pipe may be a moment behind the answer.
            [] => tokio::time::sleep(Duration::from_millis(10)).await,
            more => panic!("{} lines for one invocation", more.len()),
        }
    }
    panic!("no line for the invocation {invocation:?}: {:?}", host.output())
}

fn lines(host: &Host) -> Vec<Value> {
    host.output().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({ "text": line }))).collect()
}

impl World {
    /// What a person sees who types a command with this world's settings.
    pub(crate) async fn type_command(&self, arguments: &[&str]) -> Typed {
        type_command(arguments, &self.settings).await
    }

    /// One run of the timer.
    pub(crate) async fn tick(&self) -> Tick {
        tick(&self.host).await
    }

    /// One message straight to StoreEvents, its line, and how it ended.
    pub(crate) async fn store(&self, message: &str) -> (Invocation, Value) {
        let invocation = self.host.run_queue_message("StoreEvents", message).await;
        let line = self.line_of(&invocation).await;
        (invocation, line)
    }

    /// The queue's listener, until nothing is left.
    pub(crate) async fn store_all(&self) -> QueueSummary {
        self.host.run_queue(QueueUntil::empty().within(Duration::from_secs(300))).await.unwrap()
    }

    /// The one structured line that an invocation prints.
    pub(crate) async fn line_of(&self, invocation: &Invocation) -> Value {
        line_of(&self.host, invocation).await
    }

    /// The queue's listener, for what can be seen now; what is hidden stays. Answers how many invocations succeeded.
    pub(crate) async fn store_all_visible(&self) -> usize {
        let mut succeeded = 0;
        while !self.messages().await.is_empty() {
            succeeded += self.host.run_queue(QueueUntil::empty().messages(1)).await.unwrap().succeeded();
        }
        succeeded
    }

    /// Everything the handler printed, which is JSON line by line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        lines(&self.host)
    }

    /// Lines of a level, as text.
    pub(crate) fn logged(&self, level: &str) -> String {
        self.lines().iter().filter(|line| line["level"] == level).map(|line| format!("{line}\n")).collect()
    }

    /// Publishes an Exchange blob with records of these Ids, created so many minutes ago.
    pub(crate) fn publish(&self, minutes_ago: i64, ids: &[&str]) -> String {
        self.tenant.publish(NewBlob::new(EXCHANGE, self.ago(minutes_ago), ids.iter().map(|id| record(id)).collect()))
    }

    /// Publishes an Exchange blob of these records, a moment ago.
    pub(crate) fn publish_records(&self, records: &[String]) -> String {
        self.tenant.publish(NewBlob::new(EXCHANGE, self.ago(1), records.to_vec()))
    }

    /// Publishes an Exchange blob of any bytes, a moment ago.
    pub(crate) fn publish_raw(&self, bytes: impl Into<Bytes>, content_type: &str) -> String {
        let body = Body::Raw { bytes: bytes.into(), content_type: content_type.to_owned() };
        self.tenant.publish(NewBlob::of(EXCHANGE, self.ago(1), body))
    }

    /// Stores blobs by one message, which must succeed.
    pub(crate) async fn store_blobs(&self, content_ids: &[String]) -> Value {
        let (invocation, line) = self.store(&self.message(content_ids)).await;
        assert!(invocation.outcome.is_success(), "{invocation:?}\n{}", self.host.output().join("\n"));
        line
    }

    /// Moves the tenant's clock on, and the handler's with it as soon as it has had an answer.
    pub(crate) fn travel(&self, time: TimeDelta) {
        self.tenant.set_clock_offset(self.tenant.now() - Utc::now() + time);
    }

    pub(crate) fn wire(&self) -> &Wire {
        self.wire.as_ref().expect("the story's world is wired")
    }

    /// The last message that the queue acknowledged.
    pub(crate) fn last_sent(&self) -> Sent {
        self.wire().sent().pop().expect("a message was sent")
    }

    /// Until something came to pass that is not the story's own doing.
    pub(crate) async fn until(&self, happened: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if happened(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it did not come to pass: {:?}", self.host.output());
    }

    /// Messages that the host gave up.
    pub(crate) async fn poisoned(&self) -> u64 {
        self.storage.message_count(&format!("{}-poison", self.queue)).await.unwrap()
    }

    pub(crate) fn ago(&self, minutes: i64) -> DateTime<Utc> {
        self.tenant.now().trunc_subsecs(3) - TimeDelta::minutes(minutes)
    }

    /// Messages on the queue, each a list of items.
    pub(crate) async fn messages(&self) -> Vec<Vec<Value>> {
        let messages = self.storage.messages(&self.queue).await.unwrap();
        messages.iter().map(|text| serde_json::from_str(text).expect("a message is a JSON array")).collect()
    }

    /// Messages in the poison queue.
    pub(crate) async fn poison_queue(&self) -> Vec<String> {
        self.storage.messages(&format!("{}-poison", self.queue)).await.unwrap()
    }

    pub(crate) async fn checkpoint(&self, workload: &str) -> Option<String> {
        self.storage.read_blob(&self.container, &format!("{workload}.log")).await.unwrap()
    }

    pub(crate) async fn write_checkpoint(&self, workload: &str, text: &str) {
        self.storage.create_container(&self.container).await.unwrap();
        self.storage.write_blob(&self.container, &format!("{workload}.log"), text).await.unwrap();
    }

    /// Every line of a workload's journal.
    pub(crate) async fn journal(&self, workload: &str) -> Vec<Value> {
        let prefix = format!("journal/{workload}/");
        let mut lines = Vec::new();
        for name in self.storage.list_blobs(&self.container).await.unwrap().iter().filter(|name| name.starts_with(&prefix)) {
            let text = self.storage.read_blob(&self.container, name).await.unwrap().unwrap_or_default();
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a journal line is JSON")));
        }
        lines
    }

    /// Journal lines of an event, of Exchange.
    pub(crate) async fn journalled(&self, event: &str) -> Vec<Value> {
        self.journal(EXCHANGE).await.into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Documents without what Cosmos adds, by id.
    pub(crate) async fn documents(&self) -> BTreeMap<String, Value> {
        let documents = self.cosmos.documents().await.unwrap();
        let by_id: BTreeMap<_, _> =
            documents.iter().map(|document| (document["id"].as_str().unwrap().to_owned(), without_system(document))).collect();
        assert_eq!(by_id.len(), documents.len(), "an id is there twice");
        by_id
    }

    pub(crate) async fn ids(&self) -> Vec<String> {
        self.documents().await.into_keys().collect()
    }

    /// The API calls of a kind since the last `clear_calls`.
    pub(crate) fn calls(&self, operation: Operation) -> Vec<Call> {
        self.tenant.calls().into_iter().filter(|call| call.operation == operation).collect()
    }

    /// The message that carries these blobs, as QueueEvents would queue it.
    pub(crate) fn message(&self, content_ids: &[String]) -> String {
        let blobs = self.tenant.blobs();
        let items: Vec<Value> = content_ids
            .iter()
            .map(|id| {
                let blob = blobs.iter().find(|blob| blob.id == *id).expect("the blob is published");
                json!({"uri": blob.uri, "type": blob.content_type, "id": blob.id, "created": blob.created, "expires": blob.expires, "attempt": 0})
            })
            .collect();
        Value::from(items).to_string()
    }
}

fn without_system(document: &Value) -> Value {
    let mut document = document.clone();
    let fields = document.as_object_mut().expect("a document is an object");
    fields.retain(|name, _| !["_rid", "_self", "_etag", "_ts", "_attachments"].contains(&name.as_str()));
    document
}

/// A record as Exchange writes it, of today.
pub(crate) fn record(id: &str) -> String {
    record_with(id, json!({}))
}

/// The same with other fields, or with fields in other words.
pub(crate) fn record_with(id: &str, fields: Value) -> String {
    let mut record = json!({
        "CreationTime": Utc::now().format("%Y-%m-%dT%H:%M:%S").to_string(), "Id": id, "Operation": "MailItemsAccessed", "RecordType": 2,
        "UserType": 0, "UserId": "megan@contoso.example", "Workload": "Exchange", "ClientIP": "203.0.113.7",
    });
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record.to_string()
}

/// An answer that is not waited for within the invocation, so that a story of many attempts is short.
pub(crate) fn later(status: u16, code: &str, retry_after: u64) -> FaultKind {
    FaultKind::Status {
        status,
        body: json!({"error": {"code": code, "message": "Later."}}).to_string(),
        content_type: "application/json".to_owned(),
        retry_after: Some(retry_after),
    }
}

/// Why an invocation failed, or a panic that it did not.
pub(crate) fn reason(invocation: &Invocation) -> &str {
    match &invocation.outcome {
        InvocationOutcome::Failed { reason } => reason,
        other => panic!("the invocation did not fail: {other:?}"),
    }
}

/// Pins what a command printed, less what `VARIES` where it is called.
macro_rules! pin {
    ($name:expr, $text:expr) => {
        insta::with_settings!({ filters => VARIES.to_vec(), omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, $text)
        })
    };
}
pub(crate) use pin;

/// Real records, where they are at hand beside the checkout.
pub(crate) fn real_records() -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/audit-records.ndjson");
    if !file.exists() {
        eprintln!("skipped: there are no real records at {}", file.display());
        return None;
    }
    Some(file)
}
