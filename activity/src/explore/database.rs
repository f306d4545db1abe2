//! The door to a Cosmos DB that somebody names by its address: the connection, and what every answer through it has in
//! common. What is asked is elsewhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use azure_core::credentials::{Secret, TokenCredential};
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::{AccountEndpoint, AccountReference, CosmosClientBuilder, RoutingStrategy};
use azure_identity::DeveloperToolsCredential;
use serde_json::Value;
use tokio::time::timeout;
use url::{Host, Url};

/// The public, well-known key of Microsoft's emulators.
/// <https://learn.microsoft.com/azure/cosmos-db/emulator#authentication>
pub(super) const EMULATOR_KEY: &str = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==";

/// The SDK goes on trying for longer than a person waits.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What Cosmos DB adds to each document.
const SYSTEM_PROPERTIES: [&str; 5] = ["_rid", "_self", "_etag", "_attachments", "_ts"];

/// What opens an account.
#[derive(Clone, Debug)]
pub enum Credential {
    /// An account key; a read-only one is enough to read.
    Key(Secret),
    /// Somebody's or something's identity in Entra, with a data role in the account.
    Identity(Arc<dyn TokenCredential>),
}

/// A key if there is one; else on this machine the emulators', and anywhere else the person at the keyboard.
///
/// # Errors
///
/// There is no key, and nobody is signed in.
pub fn credential_of(endpoint: &str, key: Option<String>) -> Result<Credential> {
    if let Some(key) = key.filter(|key| !key.trim().is_empty()) {
        return Ok(Credential::Key(Secret::new(key)));
    }
    if is_loopback(endpoint) {
        return Ok(Credential::Key(Secret::new(EMULATOR_KEY)));
    }
    Ok(Credential::Identity(DeveloperToolsCredential::new(None).context("neither COSMOS_KEY nor `az login` is there")?))
}

fn is_loopback(endpoint: &str) -> bool {
    let url = Url::parse(endpoint).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
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
