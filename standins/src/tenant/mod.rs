//! A simulated Office 365 tenant: Entra's token endpoint and the Management Activity API over HTTPS, and App Service's
//! managed identity over loopback HTTP. What lives here is the tenant's state and what a test may do to it; the rules
//! of each endpoint are in the modules below, the records to fill it with in [`playback`] and [`generate`].
//!
//! It follows the API as documented under <https://learn.microsoft.com/office/office-365-management-api/>, with the
//! undocumented habits that others have reported, and knows nothing of the code that collects from it.

pub mod audit_search;
mod blob;
mod call;
mod certificate;
mod fault;
mod feed;
pub mod generate;
mod login;
mod pack;
pub mod playback;
mod series;
mod serve;
#[cfg(test)]
mod tests;

pub use audit_search::SearchOptions;
pub use blob::{BlobInfo, Body, NewBlob};
pub use call::{Call, Operation};
pub use fault::{Fault, FaultKind};
pub use feed::SubscriptionState;
pub use pack::{ContentTally, tally};
pub use series::Series;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

use crate::azurite::Certificate;

/// The five content types of the API.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference#working-with-the-office-365-management-activity-api>
pub const CONTENT_TYPES: [&str; 5] = ["Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"];

/// What a tenant is like from its start.
#[derive(Clone, Debug)]
pub struct TenantOptions {
    /// The tenant's GUID; a fresh one by default.
    pub tenant_id: Uuid,
    /// How long an access token lives; 3,599 s as Entra has it.
    pub token_lifetime: Duration,
    /// Content blobs on one page of a listing; at least one.
    pub page_size: usize,
    /// Unified audit logging; where it is off, the API says that the tenant does not exist.
    pub auditing: bool,
    /// Requests in any 60 s for each PublisherIdentifier, above which AF429 is answered; `None` is no limit.
    pub requests_a_minute: Option<u32>,
    /// HTTP status of the two "too many" answers. The service has been seen to send 403 as well as 429.
    pub throttle_status: u16,
    /// Whether all five content types are enabled from the start.
    pub subscribed: bool,
    /// App roles that access tokens carry.
    pub roles: Vec<String>,
    /// Whether the app registration trusts the managed identity to sign for it (federated credential).
    pub federated: bool,
    /// Decides the order of listings.
    pub seed: u64,
    /// What the audit search is like from the start.
    pub search: SearchOptions,
}

impl Default for TenantOptions {
    fn default() -> Self {
        Self {
            tenant_id: Uuid::new_v4(),
            token_lifetime: Duration::from_secs(3599),
            page_size: 200,
            auditing: true,
            requests_a_minute: None,
            throttle_status: 429,
            subscribed: false,
            roles: vec!["ActivityFeed.Read".into(), "ActivityFeed.ReadDlp".into()],
            federated: true,
            seed: 0,
            search: SearchOptions::default(),
        }
    }
}

/// A running tenant. Dropping it ends it; [`Tenant::stop`] also waits for that.
pub struct Tenant {
    world: Arc<World>,
    tasks: TaskTracker,
    shutdown: DropGuard,
    ca: tempfile::NamedTempFile,
    certificate: tempfile::NamedTempFile,
    key: tempfile::NamedTempFile,
}

/// A number that a text stands for in every release: the standard library does not promise that of its own hash.
fn mark(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    digest[..8].iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}

/// What every request handler sees.
struct World {
    options: TenantOptions,
    api_url: Url,
    graph_url: Url,
    identity_endpoint: Url,
    client_id: Uuid,
    client_secret: String,
    /// Client id of the managed identity, which is another principal than the app registration.
    identity_client_id: Uuid,
    identity_header: String,
    state: Mutex<State>,
    faults_cleared: Notify,
}

/// What changes. All times are the tenant's own.
struct State {
    clock_offset: TimeDelta,
    page_size: usize,
    roles: Vec<String>,
    subscriptions: BTreeMap<String, SubscriptionState>,
    /// Last accepted start request of a content type, for the 15-minute rule.
    starts: HashMap<String, DateTime<Utc>>,
    blobs: BTreeMap<String, Arc<blob::Blob>>,
    /// How many blobs were ever published, which keeps their ids apart.
    published: usize,
    tokens: HashMap<String, login::Token>,
    /// Times of the requests of the last minute, by PublisherIdentifier.
    recent: HashMap<String, VecDeque<DateTime<Utc>>>,
    /// By number of arrival.
    calls: BTreeMap<u64, Call>,
    arrivals: u64,
    faults: Vec<Fault>,
    /// How many requests met a fault.
    struck: u64,
    searches: audit_search::Searches,
}

impl World {
    #[expect(clippy::unwrap_used, reason = "poisoned only by a panic elsewhere, which a test should see")]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.state().clock_offset
    }

    fn publish_into(&self, state: &mut State, blob: NewBlob) -> String {
        let blob = blob::Blob::new(blob, state.published, self);
        state.published += 1;
        let id = blob.id.clone();
        state.blobs.insert(id.clone(), Arc::new(blob));
        id
    }
}

/// A file that its owner alone may read, gone when dropped.
fn pem_file(prefix: &str, pem: &str) -> anyhow::Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new().prefix(prefix).suffix(".pem").tempfile()?;
    std::fs::write(file.path(), pem).context("the tenant's certificates could not be written")?;
    Ok(file)
}

impl Tenant {
    /// Starts a tenant on three free loopback ports, with a certificate authority of its own.
    ///
    /// # Errors
    /// Where no port can be bound, or the certificates cannot be made or written.
    pub async fn start(options: TenantOptions) -> anyhow::Result<Self> {
        let issued = certificate::issue()?;
        let ca = pem_file("tenant-ca-", &issued.ca_pem)?;
        let certificate = pem_file("tenant-certificate-", &issued.certificate_pem)?;
        let key = pem_file("tenant-key-", &issued.key_pem)?;

        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the tenant")?;
        let identity_listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the managed identity")?;
        let api_url = Url::parse(&format!("https://localhost:{}/", listener.local_addr()?.port()))?;
        let graph_listener = TcpListener::bind("127.0.0.1:0").await.context("no port for Graph")?;
        let graph_url = Url::parse(&format!("https://localhost:{}/", graph_listener.local_addr()?.port()))?;
        let identity_port = identity_listener.local_addr()?.port();

        let subscriptions = CONTENT_TYPES
            .iter()
            .filter(|_| options.subscribed)
            .map(|content_type| ((*content_type).to_owned(), SubscriptionState::Enabled))
            .collect();
        let world = Arc::new(World {
            api_url,
            graph_url,
            identity_endpoint: Url::parse(&format!("http://127.0.0.1:{identity_port}/msi/token"))?,
            client_id: Uuid::new_v4(),
            client_secret: format!("simulated~{}", Uuid::new_v4().simple()),
            identity_client_id: Uuid::new_v4(),
            identity_header: Uuid::new_v4().to_string(),
            state: Mutex::new(State {
                clock_offset: TimeDelta::zero(),
                page_size: options.page_size.max(1),
                roles: options.roles.clone(),
                subscriptions,
                starts: HashMap::new(),
                blobs: BTreeMap::new(),
                published: 0,
                tokens: HashMap::new(),
                recent: HashMap::new(),
                calls: BTreeMap::new(),
                arrivals: 0,
                faults: Vec::new(),
                struck: 0,
                searches: audit_search::Searches::new(options.search.clone()),
            }),
            faults_cleared: Notify::new(),
            options,
        });

        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(issued.server));
        tasks.spawn(serve::serve(graph_listener, Some(acceptor.clone()), world.clone(), tasks.clone(), shutdown.clone()));
        tasks.spawn(serve::serve(listener, Some(acceptor), world.clone(), tasks.clone(), shutdown.clone()));
        tasks.spawn(serve::serve(identity_listener, None, world.clone(), tasks.clone(), shutdown.clone()));
        tasks.close();
        Ok(Self { world, tasks, shutdown: shutdown.drop_guard(), ca, certificate, key })
    }

    /// Ends the tenant and waits until its last connection is closed.
    pub async fn stop(self) {
        self.shutdown.disarm().cancel();
        self.tasks.wait().await;
    }

    /// App settings of a collector that signs in with a client secret.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.addresses();
        settings.insert("OFFICE365_CLIENT_SECRET".into(), self.world.client_secret.clone());
        settings
    }

    /// App settings of a collector whose managed identity signs for the app registration (federated credential).
    /// Without `OFFICE365_CLIENT_ID` the identity itself holds the API's roles.
    pub fn identity_settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.addresses();
        settings.insert("IDENTITY_ENDPOINT".into(), self.world.identity_endpoint.to_string());
        settings.insert("IDENTITY_HEADER".into(), self.world.identity_header.clone());
        settings
    }

    fn addresses(&self) -> BTreeMap<String, String> {
        // Without the last slash, as the documented roots are written.
        let root = self.world.api_url.as_str().trim_end_matches('/');
        BTreeMap::from([
            ("OFFICE365_TENANT_ID".into(), self.world.options.tenant_id.to_string()),
            ("OFFICE365_CLIENT_ID".into(), self.world.client_id.to_string()),
            ("OFFICE365_API_URL".into(), root.into()),
            ("OFFICE365_LOGIN_URL".into(), root.into()),
            ("SSL_CERT_FILE".into(), self.ca.path().display().to_string()),
        ])
    }

    /// The tenant's GUID.
    pub fn tenant_id(&self) -> Uuid {
        self.world.options.tenant_id
    }

    /// Client id of the managed identity, for a collector that names its user-assigned identity.
    pub fn identity_client_id(&self) -> Uuid {
        self.world.identity_client_id
    }

    /// Root of the Activity API, such as `https://localhost:4001/`.
    pub fn api_url(&self) -> &Url {
        &self.world.api_url
    }

    /// The login authority; the same server as the API.
    pub fn login_url(&self) -> &Url {
        &self.world.api_url
    }

    /// File with the CA certificate that a client must trust. It goes with the tenant.
    pub fn ca_pem(&self) -> &Path {
        self.ca.path()
    }

    /// The tenant's own certificate, for what else is served on this machine over HTTPS. It goes with the tenant.
    pub fn certificate(&self) -> Certificate {
        Certificate { certificate: self.certificate.path().to_owned(), key: self.key.path().to_owned() }
    }

    /// The tenant's clock: the system's plus the offset. Every rule and every `Date` header uses it.
    pub fn now(&self) -> DateTime<Utc> {
        self.world.now()
    }

    /// Sets how far the tenant's clock is ahead of the system's; negative is behind.
    pub fn set_clock_offset(&self, offset: TimeDelta) {
        self.world.state().clock_offset = offset;
    }

    /// Publishes a content blob and returns its contentId. One with the id of an earlier blob takes its place.
    pub fn publish(&self, blob: NewBlob) -> String {
        self.world.publish_into(&mut self.world.state(), blob)
    }

    /// Takes a blob away, so that its contentId does not exist any more. False where it did not.
    pub fn withdraw(&self, content_id: &str) -> bool {
        self.world.state().blobs.remove(content_id).is_some()
    }

    /// All published blobs, by contentId.
    pub fn blobs(&self) -> Vec<BlobInfo> {
        self.world.state().blobs.values().map(|blob| blob.info()).collect()
    }

    /// The contentUri that listings give for a blob.
    pub fn content_uri(&self, content_id: &str) -> Option<String> {
        self.world.state().blobs.get(content_id).map(|blob| blob.uri.clone())
    }

    /// Every request so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.world.state().calls.values().cloned().collect()
    }

    /// Forgets the requests so far.
    pub fn clear_calls(&self) {
        self.world.state().calls.clear();
    }

    /// Plans a fault. The first that matches a request is applied; delays are applied beside it.
    pub fn fail(&self, fault: Fault) {
        self.world.state().faults.push(fault);
    }

    /// Forgets all planned faults.
    pub fn clear_faults(&self) {
        self.world.state().faults.clear();
        self.world.faults_cleared.notify_waiters();
    }

    /// How many requests met a fault so far.
    pub fn struck(&self) -> u64 {
        self.world.state().struck
    }

    /// Sets a content type's subscription, and forgets its last start request.
    pub fn set_subscription(&self, content_type: &str, status: SubscriptionState) {
        let mut state = self.world.state();
        state.starts.remove(content_type);
        match status {
            SubscriptionState::Absent => state.subscriptions.remove(content_type),
            _ => state.subscriptions.insert(content_type.to_owned(), status),
        };
    }

    /// A content type's subscription as it stands.
    pub fn subscription(&self, content_type: &str) -> SubscriptionState {
        self.world.state().subscriptions.get(content_type).copied().unwrap_or(SubscriptionState::Absent)
    }

    /// Sets how many blobs stand on a page, from the next page on; at least one.
    pub fn set_page_size(&self, n: usize) {
        self.world.state().page_size = n.max(1);
    }

    /// Sets the app roles of access tokens given from now on.
    pub fn set_roles(&self, roles: &[&str]) {
        self.world.state().roles = roles.iter().map(|&role| role.to_owned()).collect();
    }

    /// An access token for the API as a person has it who is signed in, with the roles as delegated permissions.
    pub fn person_token(&self) -> String {
        login::issue_to_person(&self.world, self.now())
    }

    /// Makes every access token given so far worthless, as a revoked session does.
    pub fn revoke_tokens(&self) {
        self.world.state().tokens.clear();
    }
}
