//! The storage account: where it is, and how a request to it is authorised. The queue and the state build their clients
//! here; what they store is theirs.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use azure_core::{
    Error,
    credentials::{Secret, TokenCredential},
    error::ErrorKind,
    hmac::hmac_sha256,
    http::{
        ClientOptions, Context, Request, RetryOptions, StatusCode, Transport,
        policies::{Policy, PolicyResult},
    },
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use azure_storage_queue::{QueueClient, QueueClientOptions};
use chrono::Utc;
use url::Url;

use crate::config::{Vars, is_loopback};

/// Azurite's well-known account, which `UseDevelopmentStorage=true` stands for.
/// <https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#use-a-well-known-storage-account-and-key>
const DEVELOPMENT_STORAGE: &str = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1";

/// A storage account as `AzureWebJobsStorage` names it.
/// <https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity>
#[derive(Clone, Debug)]
pub struct StorageAccount {
    blob_endpoint: Url,
    queue_endpoint: Url,
    access: Access,
}

/// How requests are authorised. Secrets redact themselves.
#[derive(Clone, Debug)]
enum Access {
    Key {
        account: String,
        key: Secret,
    },
    /// A shared access signature: a query string, without the question mark.
    Signature(Secret),
    Identity,
}

impl StorageAccount {
    /// Whether the managed identity is what opens this account.
    #[must_use]
    pub fn needs_identity(&self) -> bool {
        matches!(self.access, Access::Identity)
    }

    /// A client of one blob container.
    ///
    /// # Errors
    /// The endpoint cannot take the name, or an identity is used over http.
    pub fn container(&self, name: &str, door: &Door) -> azure_core::Result<BlobContainerClient> {
        let options = BlobContainerClientOptions { client_options: self.client_options(door), ..Default::default() };
        BlobContainerClient::new(self.address(&self.blob_endpoint, name)?, self.credential(door)?, Some(options))
    }

    /// A client of one queue.
    ///
    /// # Errors
    /// See [`StorageAccount::container`].
    pub fn queue(&self, name: &str, door: &Door) -> azure_core::Result<QueueClient> {
        let options = QueueClientOptions { client_options: self.client_options(door), ..Default::default() };
        QueueClient::new(self.address(&self.queue_endpoint, name)?, self.credential(door)?, Some(options))
    }

    fn address(&self, endpoint: &Url, name: &str) -> azure_core::Result<Url> {
        let mut url = endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| Error::with_message(ErrorKind::Other, "the storage endpoint cannot have a path"))?
            .pop_if_empty()
            .push(name);
        if let Access::Signature(signature) = &self.access {
            url.set_query(Some(signature.secret()));
        }
        Ok(url)
    }

    fn client_options(&self, door: &Door) -> ClientOptions {
        let mut options = ClientOptions { transport: Some(door.transport.clone()), retry: door.retry.clone(), ..Default::default() };
        if let Access::Key { account, key } = &self.access {
            options.per_try_policies.push(Arc::new(SharedKey { account: account.clone(), key: key.clone() }));
        }
        options
    }

    fn credential(&self, door: &Door) -> azure_core::Result<Option<Arc<dyn TokenCredential>>> {
        match (&self.access, &door.identity) {
            (Access::Identity, Some(identity)) => Ok(Some(Arc::clone(identity))),
            (Access::Identity, None) => Err(Error::with_message(ErrorKind::Credential, "no managed identity for the storage account")),
            _ => Ok(None),
        }
    }
}

/// What storage clients share: one HTTP client, and the managed identity where there is one.
#[derive(Clone, Debug)]
pub struct Door {
    /// The process's HTTP client.
    pub transport: Transport,
    /// The managed identity, for accounts without keys.
    pub identity: Option<Arc<dyn TokenCredential>>,
    /// How often a request is tried again before its failure is told.
    pub retry: RetryOptions,
}

/// Whether an error says that the thing asked for is not there (404).
#[must_use]
pub fn is_not_found(error: &Error) -> bool {
    error.http_status() == Some(StatusCode::NotFound)
}

/// Whether an error says that the thing exists, or changed meanwhile (409, 412).
#[must_use]
pub fn is_conflict(error: &Error) -> bool {
    matches!(error.http_status(), Some(StatusCode::Conflict | StatusCode::PreconditionFailed))
}

/// Whether an error says that an append blob takes no further append: it has 50,000.
/// <https://learn.microsoft.com/rest/api/storageservices/append-block>
#[must_use]
pub fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { error_code: Some(code), .. } if code == "BlockCountExceedsLimit")
}

impl StorageAccount {
    /// Reads `AzureWebJobsStorage`, or the settings of an identity-based connection.
    pub(crate) fn read(vars: &mut Vars<'_>) -> Option<Self> {
        match vars.optional("AzureWebJobsStorage") {
            Some(text) => match Self::from_connection_string(&text) {
                Ok(account) => Some(account),
                Err(reason) => {
                    vars.fault("AzureWebJobsStorage", reason);
                    None
                }
            },
            None => Self::read_identity(vars),
        }
    }

    fn read_identity(vars: &mut Vars<'_>) -> Option<Self> {
        let account = vars.optional("AzureWebJobsStorage__accountName");
        let mut endpoint = |service: &str| {
            let name = format!("AzureWebJobsStorage__{service}ServiceUri");
            match (vars.optional(&name), &account) {
                (Some(text), _) => vars.url(&name, &text),
                (None, Some(account)) => Url::parse(&format!("https://{account}.{service}.core.windows.net/")).ok(),
                (None, None) => None,
            }
        };
        match (endpoint("blob"), endpoint("queue")) {
            (Some(blob_endpoint), Some(queue_endpoint)) => {
                for (name, url) in [("blob", &blob_endpoint), ("queue", &queue_endpoint)] {
                    if url.scheme() != "https" {
                        vars.fault(
                            &format!("AzureWebJobsStorage__{name}ServiceUri"),
                            "is http: an identity's token travels over https only",
                        );
                    }
                }
                Some(Self { blob_endpoint, queue_endpoint, access: Access::Identity })
            }
            _ => {
                vars.fault(
                    "AzureWebJobsStorage",
                    "is missing, and so is AzureWebJobsStorage__accountName (or __blobServiceUri with __queueServiceUri)",
                );
                None
            }
        }
    }

    /// <https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string>
    fn from_connection_string(text: &str) -> Result<Self, String> {
        let parts: HashMap<String, &str> = text
            .split(';')
            .filter_map(|part| part.trim().split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        if parts.get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Self::from_connection_string(DEVELOPMENT_STORAGE);
        }
        let account = parts.get("accountname").copied();
        let access = match (account, parts.get("accountkey"), parts.get("sharedaccesssignature")) {
            (Some(account), Some(key), _) => {
                hmac_sha256("", &Secret::from((*key).to_owned())).map_err(|_| "has an AccountKey that is not base64".to_owned())?;
                Access::Key { account: account.to_owned(), key: Secret::from((*key).to_owned()) }
            }
            (_, None, Some(signature)) => Access::Signature(Secret::from(signature.trim_start_matches('?').to_owned())),
            (None, Some(_), _) => return Err("has an AccountKey but no AccountName".to_owned()),
            (_, None, None) => {
                return Err("has neither an AccountKey nor a SharedAccessSignature, and is not UseDevelopmentStorage=true".to_owned());
            }
        };
        let endpoint = |service: &str| {
            let url = match (parts.get(&format!("{service}endpoint")), account) {
                (Some(endpoint), _) => (*endpoint).to_owned(),
                (None, Some(account)) => {
                    let protocol = parts.get("defaultendpointsprotocol").unwrap_or(&"https");
                    let suffix = parts.get("endpointsuffix").unwrap_or(&"core.windows.net");
                    format!("{protocol}://{account}.{service}.{suffix}")
                }
                (None, None) => return Err(format!("names neither an AccountName nor the endpoint of its {service} service")),
            };
            let url = Url::parse(&url).map_err(|error| format!("has an unusable {service} endpoint: {error}"))?;
            match url.scheme() {
                "https" => Ok(url),
                "http" if is_loopback(&url) => Ok(url),
                _ => Err(format!("has a {service} endpoint that is not https")),
            }
        };
        Ok(Self { blob_endpoint: endpoint("blob")?, queue_endpoint: endpoint("queue")?, access })
    }
}

/// Signs each try with the account's key, which the storage SDKs leave to the caller. A signature in a header ends with
/// its request; one in the address would live on in logs.
/// <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>
struct SharedKey {
    account: String,
    key: Secret,
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let date = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        request.insert_header("x-ms-date", date);
        let signature = hmac_sha256(&self.string_to_sign(request), &self.key)?;
        request.insert_header("authorization", format!("SharedKey {}:{signature}", self.account));
        match next {
            [first, rest @ ..] => first.send(ctx, request, rest).await,
            [] => Err(Error::with_message(ErrorKind::Other, "the storage pipeline ends before its transport")),
        }
    }
}

impl SharedKey {
    fn string_to_sign(&self, request: &Request) -> String {
        let headers: BTreeMap<&str, &str> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let header = |name: &str| headers.get(name).copied().unwrap_or_default();
        let length = match request.body().len() {
            Some(0) | None => String::new(),
            Some(length) => length.to_string(),
        };
        let mut text = format!(
            "{}\n{}\n{}\n{length}\n{}\n{}\n\n{}\n{}\n{}\n{}\n{}\n",
            request.method().as_str(),
            header("content-encoding"),
            header("content-language"),
            header("content-md5"),
            header("content-type"),
            header("if-modified-since"),
            header("if-match"),
            header("if-none-match"),
            header("if-unmodified-since"),
            header("range"),
        );
        for (name, value) in headers.iter().filter(|(name, _)| name.starts_with("x-ms-")) {
            text.push_str(&format!("{name}:{}\n", value.trim()));
        }
        text.push_str(&format!("/{}{}", self.account, request.url().path()));
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in request.url().query_pairs() {
            query.entry(name.to_lowercase()).or_default().push(value.into_owned());
        }
        for (name, mut values) in query {
            values.sort();
            text.push_str(&format!("\n{name}:{}", values.join(",")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Result<StorageAccount, String> {
        StorageAccount::from_connection_string(text)
    }

    #[test]
    fn a_connection_string_names_its_endpoints_by_suffix_or_outright() {
        let by_suffix = account("AccountName=name;AccountKey=a2V5;EndpointSuffix=core.usgovcloudapi.net").unwrap();
        assert_eq!(by_suffix.blob_endpoint.as_str(), "https://name.blob.core.usgovcloudapi.net/");
        assert_eq!(by_suffix.queue_endpoint.as_str(), "https://name.queue.core.usgovcloudapi.net/");
        let outright =
            account("BlobEndpoint=https://b.example/;QueueEndpoint=https://q.example;SharedAccessSignature=?sv=1&sig=x").unwrap();
        assert_eq!(outright.queue_endpoint.as_str(), "https://q.example/");
        assert_eq!(outright.address(&outright.blob_endpoint, "state").unwrap().as_str(), "https://b.example/state?sv=1&sig=x");
        let development = account("UseDevelopmentStorage=true").unwrap();
        assert_eq!(development.address(&development.blob_endpoint, "state").unwrap().path(), "/devstoreaccount1/state");
    }

    #[test]
    fn a_connection_string_that_cannot_work_says_why() {
        for (text, reason) in [
            ("nonsense", "neither an AccountKey nor"),
            ("AccountName=name;AccountKey=not base64!", "not base64"),
            ("AccountKey=a2V5", "no AccountName"),
            ("AccountName=name;AccountKey=a2V5;DefaultEndpointsProtocol=http", "not https"),
        ] {
            let error = account(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
