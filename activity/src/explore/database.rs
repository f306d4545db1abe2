//! The door to a Cosmos DB that somebody names by its address: the connection, and what every answer through it has in
//! common. What is asked is elsewhere.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use azure_core::credentials::{Secret, TokenCredential};
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::{AccountEndpoint, AccountReference, CosmosClientBuilder, RoutingStrategy};
use azure_identity::DeveloperToolsCredential;
use clap::Args;
use serde_json::Value;
use tokio::time::timeout;
use url::{Host, Url};

use crate::keep::{self, STORAGE};

/// Names of Cosmos DB's accounts end so, in one cloud each.
/// <https://learn.microsoft.com/azure/cosmos-db/how-to-configure-private-endpoints>
const ACCOUNT_DOMAINS: [&str; 3] = [".documents.azure.com", ".documents.azure.us", ".documents.azure.cn"];

/// The public, well-known key of Microsoft's emulators.
/// <https://learn.microsoft.com/azure/cosmos-db/emulator#authentication>
const EMULATOR_KEY: &str = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==";

/// The SDK goes on trying for longer than a person waits.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What Cosmos DB adds to each document.
const SYSTEM_PROPERTIES: [&str; 5] = ["_rid", "_self", "_etag", "_attachments", "_ts"];

/// Which container is read, and what opens its account.
#[derive(Args, Clone, Debug)]
pub struct DatabaseOptions {
    /// Address of the database; that of the stack that is kept up (--keep) if not given
    #[arg(long, value_name = "URL", env = "COSMOS_ENDPOINT")]
    pub endpoint: Option<String>,
    /// Account key; a read-only one is enough to read. If not given: what --keep noted, or you, as signed in with `az login`
    #[arg(long, value_name = "KEY", env = "COSMOS_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Database
    #[arg(long, env = "COSMOS_DATABASE", default_value = "office365")]
    pub database: String,
    /// Container
    #[arg(long, env = "COSMOS_CONTAINER", default_value = "activity")]
    pub container: String,
    /// Trust an address that is none of Azure's for Cosmos DB: it is shown what opens the account
    #[arg(long)]
    pub any_host: bool,
}

impl DatabaseOptions {
    /// Of this address and key, all else as usual.
    pub fn of(endpoint: &str, key: &str) -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            endpoint: Some(text(endpoint)),
            key: Some(text(key)),
            database: text("office365"),
            container: text("activity"),
            any_host: false,
        }
    }

    /// These, or where no address is given those of the stack that is kept up; the key that it noted is taken for its own address.
    ///
    /// # Errors
    ///
    /// One line that says what to do: nothing is kept up, and no address was given.
    pub fn or_kept(&self) -> Result<Self> {
        let key = self.key.clone().filter(|key| !key.trim().is_empty());
        match (&self.endpoint, keep::read()?) {
            (Some(endpoint), kept) => {
                let noted = kept.filter(|kept| kept.endpoint == *endpoint).map(|kept| kept.key);
                Ok(Self { key: key.or(noted), ..self.clone() })
            }
            (None, Some(kept)) => {
                let (endpoint, key, database, container) = (Some(kept.endpoint), Some(kept.key), kept.database, kept.container);
                Ok(Self { endpoint, key, database, container, any_host: false })
            }
            (None, None) => {
                bail!("of which database? `cargo activity --keep` collects one and keeps it up; else say --endpoint, or COSMOS_ENDPOINT")
            }
        }
    }

    /// The account key: the one that is given, or on this machine that of Microsoft's emulators; none where an identity opens the account.
    pub(crate) fn account_key(&self) -> Option<String> {
        let key = self.key.clone().filter(|key| !key.trim().is_empty());
        let is_here = || self.endpoint.as_deref().and_then(|endpoint| Url::parse(endpoint).ok()).is_some_and(|url| is_loopback(&url));
        key.or_else(|| is_here().then(|| EMULATOR_KEY.to_owned()))
    }

    /// The environment, with these options in its place; of a stack that is kept up, its storage account too.
    ///
    /// # Errors
    ///
    /// The note of a stack that is kept up cannot be read.
    pub(crate) fn settings(&self) -> Result<impl Fn(&str) -> Option<String> + use<>> {
        let options = self.clone();
        let storage = keep::read()?.filter(|kept| Some(&kept.endpoint) == self.endpoint.as_ref()).and_then(|kept| kept.storage);
        Ok(move |name: &str| match name {
            "COSMOS_ENDPOINT" => options.endpoint.clone(),
            "COSMOS_KEY" => options.account_key(),
            "COSMOS_DATABASE" => Some(options.database.clone()),
            "COSMOS_CONTAINER" => Some(options.container.clone()),
            STORAGE if storage.is_some() => storage.clone(),
            _ => env::var(name).ok(),
        })
    }

    /// Opens the container.
    ///
    /// # Errors
    ///
    /// One line that says what to do: as [`DatabaseOptions::or_kept`]; or the address is none of Cosmos DB's, nothing answers there,
    /// or the credential is refused.
    pub async fn open(&self) -> Result<ContainerClient> {
        let options = self.or_kept()?;
        let key = options.account_key();
        let Self { endpoint, database, container, any_host, .. } = options;
        let endpoint = endpoint.unwrap_or_default();
        let credential = credential(&endpoint, key, any_host)?;
        let container = connect(&endpoint, credential, &database, &container).await;
        container.map_err(|error| anyhow!("{error}: is this the address, is it still up, and are you allowed to read there?"))
    }
}

/// A key if there is one, else the person at the keyboard; neither for an address that is no account's.
fn credential(endpoint: &str, key: Option<String>, any_host: bool) -> Result<Credential> {
    let url = Url::parse(endpoint).with_context(|| format!("--endpoint {endpoint}"))?;
    let host = url.host_str().unwrap_or_default();
    let is_account = url.scheme() == "https" && ACCOUNT_DOMAINS.iter().any(|domain| host.ends_with(domain));
    ensure!(
        is_account || any_host || is_loopback(&url),
        "{endpoint} is no address of Cosmos DB (https://NAME.documents.azure.com:443/), and would be shown what opens the account: \
         with --any-host it is trusted all the same"
    );
    match key {
        Some(key) => Ok(Credential::key(&key)),
        None => Ok(Credential::Identity(DeveloperToolsCredential::new(None).context("neither a key nor `az login` is there")?)),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// What opens an account.
#[derive(Clone, Debug)]
pub enum Credential {
    /// An account key; a read-only one is enough to read.
    Key(Secret),
    /// Somebody's or something's identity in Entra, with a data role in the account.
    Identity(Arc<dyn TokenCredential>),
}

impl Credential {
    fn key(key: &str) -> Self {
        Self::Key(Secret::new(key.to_owned()))
    }
}

/// Opens a container of the account at this address.
///
/// # Errors
///
/// One line: nothing answers there, the credential is refused, or there is no such container.
pub async fn connect(endpoint: &str, credential: Credential, database: &str, container: &str) -> Result<ContainerClient> {
    let connect = async {
        let address: AccountEndpoint = endpoint.parse()?;
        let account = match credential {
            Credential::Key(key) => AccountReference::with_authentication_key(address, key),
            Credential::Identity(identity) => AccountReference::with_credential(address, identity),
        };
        // No region is preferred: the account's own order holds.
        let client = CosmosClientBuilder::new().build(account, RoutingStrategy::PreferredRegions(Vec::new())).await?;
        anyhow::Ok(client.database_client(database.to_owned()).container_client(container.to_owned(), None).await?)
    };
    let container = timeout(CONNECT_LIMIT, connect).await.unwrap_or_else(|_| Err(anyhow!("no answer")));
    // The SDK's own chain says the same four times over; its last link says what happened.
    container.map_err(|error| anyhow!("no database can be asked at {endpoint} ({})", error.root_cause()))
}

/// A document, or a part of one, less what the database added.
pub fn without_system_properties(mut document: Value) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|name, _| !SYSTEM_PROPERTIES.contains(&name.as_str()));
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken out: without the list of names, a mistyped host gets a token that opens every account that the person may read.
    #[test]
    fn an_address_that_is_none_of_cosmos_dbs_gets_no_credential() {
        let refused = |endpoint: &str, key: Option<&str>| credential(endpoint, key.map(str::to_owned), false).is_err();
        for endpoint in [
            "https://name.documents.azure.com.example/",
            "https://documents.example/",
            "https://name-documents.azure.com/",
            "http://name.documents.azure.com/",
            "https://127.0.0.1.example/",
            "no address",
        ] {
            assert!(refused(endpoint, None) && refused(endpoint, Some("a2V5")), "{endpoint}");
        }
        for endpoint in ["https://name.documents.azure.com:443/", "https://name.documents.azure.us/", "http://127.0.0.1:8081/"] {
            assert!(!refused(endpoint, Some("a2V5")), "{endpoint}");
        }
        assert!(credential("https://cosmos.example/", Some("a2V5".to_owned()), true).is_ok());
    }
}
