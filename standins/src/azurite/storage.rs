//! A look into a storage account, for tests and for the table at the end of a run on this machine. It signs its own account SAS and
//! shares no code with the handler, so that the one proves the other. Waiting and judging are left to the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use azure_core::http::{ClientOptions, RequestContent, StatusCode, Transport};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobServiceClient, BlobServiceClientOptions};
use azure_storage_queue::models::{QueueClientGetPropertiesResultHeaders as _, QueueClientPeekMessagesOptions, QueueMessage};
use azure_storage_queue::{QueueClient, QueueServiceClient, QueueServiceClientOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{SecondsFormat, TimeDelta, Utc};
use futures::TryStreamExt as _;
use url::Url;
use url::form_urlencoded::Serializer;

/// The version that an account SAS is made for; it decides which fields are signed.
const SAS_VERSION: &str = "2022-11-02";
/// Everything: read, write, delete, list, add, create, update, process.
const SAS_PERMISSIONS: &str = "rwdlacup";
/// The most messages that one call of the service returns.
/// <https://learn.microsoft.com/rest/api/storageservices/peek-messages>
const MAX_MESSAGES: i32 = 32;

/// The blobs and queues of a storage account.
#[derive(Clone)]
pub struct Storage {
    blobs: Arc<BlobServiceClient>,
    queues: Arc<QueueServiceClient>,
}

impl Storage {
    /// Opens the account of a connection string: `AccountName` with `AccountKey` or `SharedAccessSignature`, and either
    /// explicit `BlobEndpoint` and `QueueEndpoint` or an `EndpointSuffix`. Nothing is sent.
    ///
    /// # Errors
    ///
    /// A part is missing or malformed; the message names the part and holds no secret.
    pub fn new(connection_string: &str) -> Result<Self> {
        Self::over(connection_string, &ClientOptions::default())
    }

    /// As [`Storage::new`], of an account whose certificate is vouched for by the authority in this PEM file.
    ///
    /// # Errors
    ///
    /// See [`Storage::new`]; or the file is no certificate.
    pub fn trusting(connection_string: &str, ca: &Path) -> Result<Self> {
        let pem = std::fs::read(ca).with_context(|| format!("read {}", ca.display()))?;
        let http = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&pem)?]).build()?;
        let options = ClientOptions { transport: Some(Transport::new(Arc::new(http))), ..ClientOptions::default() };
        Self::over(connection_string, &options)
    }

    fn over(connection_string: &str, options: &ClientOptions) -> Result<Self> {
        let parts = Parts::parse(connection_string);
        let sas = parts.sas()?;
        let service = |service| -> Result<Url> {
            let mut url = parts.endpoint(service)?;
            url.set_query(Some(&sas));
            Ok(url)
        };
        let blob = BlobServiceClientOptions { client_options: options.clone(), ..Default::default() };
        let queue = QueueServiceClientOptions { client_options: options.clone(), ..Default::default() };
        Ok(Self {
            blobs: Arc::new(BlobServiceClient::new(service("blob")?, None, Some(blob))?),
            queues: Arc::new(QueueServiceClient::new(service("queue")?, None, Some(queue))?),
        })
    }

    /// The SDK's client for a queue, to do what is not here.
    ///
    /// # Errors
    ///
    /// The name does not fit in a URL.
    pub fn queue(&self, name: &str) -> Result<QueueClient> {
        Ok(self.queues.queue_client(name)?)
    }

    /// The SDK's client for a blob container, to do what is not here.
    pub fn container(&self, name: &str) -> BlobContainerClient {
        self.blobs.blob_container_client(name)
    }

    fn blob(&self, container: &str, name: &str) -> BlobClient {
        self.blobs.blob_client(container, name)
    }

    /// Makes a container; one that is there is left alone.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn create_container(&self, name: &str) -> Result<()> {
        unless(StatusCode::Conflict, self.container(name).create(None).await.map(drop))?;
        Ok(())
    }

    /// A blob's text; `None` if the blob or its container is missing.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses, or the blob is not UTF-8.
    pub async fn read_blob(&self, container: &str, name: &str) -> Result<Option<String>> {
        let Some(blob) = unless(StatusCode::NotFound, self.blob(container, name).download(None).await)? else {
            return Ok(None);
        };
        let bytes = blob.body.collect().await?;
        Ok(Some(String::from_utf8(bytes.to_vec()).with_context(|| format!("blob {name} is not UTF-8"))?))
    }

    /// A blob's metadata, its names in lower case; none if the blob is missing.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn metadata(&self, container: &str, name: &str) -> Result<BTreeMap<String, String>> {
        let blob = unless(StatusCode::NotFound, self.blob(container, name).download(None).await)?;
        let metadata = blob.map(|blob| blob.properties.metadata).unwrap_or_default();
        Ok(metadata.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect())
    }

    /// Writes a block blob over whatever was there.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn write_blob(&self, container: &str, name: &str, text: &str) -> Result<()> {
        let content = RequestContent::from(text.as_bytes().to_vec());
        self.blob(container, name).upload(content, None).await?;
        Ok(())
    }

    /// The names of a container's blobs in the order of the alphabet; none if the container is missing.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn list_blobs(&self, container: &str) -> Result<Vec<String>> {
        let blobs = self.container(container).list_blobs(None)?.try_collect::<Vec<_>>().await;
        let blobs = unless(StatusCode::NotFound, blobs)?.unwrap_or_default();
        Ok(blobs.into_iter().filter_map(|blob| blob.name).collect())
    }

    /// Deletes a blob; one that is missing is no error.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn delete_blob(&self, container: &str, name: &str) -> Result<()> {
        unless(StatusCode::NotFound, self.blob(container, name).delete(None).await.map(drop))?;
        Ok(())
    }

    /// Makes a queue; one that is there is left alone.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn create_queue(&self, name: &str) -> Result<()> {
        unless(StatusCode::Conflict, self.queue(name)?.create(None).await.map(drop))?;
        Ok(())
    }

    /// Puts a message on a queue, its text in base64 as the Functions host expects it.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses, or the queue is missing.
    pub async fn send_message(&self, queue: &str, text: &str) -> Result<()> {
        let message = QueueMessage { message_text: Some(BASE64.encode(text)) };
        self.queue(queue)?.send_message(message.try_into()?, None).await?;
        Ok(())
    }

    /// The decoded texts of the first visible messages, at most 32, which stay on the queue; none if the queue is missing.
    /// A text that is no base64 is given as it is.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn messages(&self, queue: &str) -> Result<Vec<String>> {
        let options = QueueClientPeekMessagesOptions { number_of_messages: Some(MAX_MESSAGES), ..Default::default() };
        let Some(peeked) = unless(StatusCode::NotFound, self.queue(queue)?.peek_messages(Some(options)).await)? else {
            return Ok(Vec::new());
        };
        let messages = peeked.into_model()?.items.unwrap_or_default();
        Ok(messages.into_iter().filter_map(|message| message.message_text).map(decoded).collect())
    }

    /// How many messages a queue holds, visible or not, near enough; zero if the queue is missing.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn message_count(&self, queue: &str) -> Result<u64> {
        let properties = unless(StatusCode::NotFound, self.queue(queue)?.get_properties(None).await)?;
        let count = properties.map(|properties| properties.approximate_messages_count()).transpose()?.flatten();
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// Removes every message, visible or not.
    ///
    /// # Errors
    ///
    /// The service cannot be reached or refuses.
    pub async fn clear_queue(&self, queue: &str) -> Result<()> {
        unless(StatusCode::NotFound, self.queue(queue)?.clear(None).await.map(drop))?;
        Ok(())
    }
}

impl fmt::Debug for Storage {
    /// Without the query of the URLs, which is as good as the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.blobs.url();
        write!(f, "Storage({}{})", url.authority(), url.path())
    }
}

/// `None` in place of the one refusal that the caller takes for an answer.
fn unless<T>(status: StatusCode, result: azure_core::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.http_status() == Some(status) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn decoded(text: String) -> String {
    let bytes = BASE64.decode(&text).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

/// A connection string's `name=value` parts.
/// <https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string>
struct Parts(BTreeMap<String, String>);

impl Parts {
    fn parse(connection_string: &str) -> Self {
        let parts = connection_string.split(';').filter_map(|part| part.split_once('='));
        Self(parts.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("the storage connection string has no {name}"))
    }

    fn endpoint(&self, service: &str) -> Result<Url> {
        let explicit = if service == "blob" { "BlobEndpoint" } else { "QueueEndpoint" };
        let text = match self.get(explicit) {
            Ok(endpoint) => endpoint.to_owned(),
            Err(_) => {
                let suffix = self.get("EndpointSuffix").unwrap_or("core.windows.net");
                format!("https://{}.{service}.{suffix}", self.get("AccountName")?)
            }
        };
        Url::parse(&text).with_context(|| format!("the storage connection string's {service} endpoint is no URL"))
    }

    /// The query that opens the account: the signature that was given, or one made from the key, good for a day.
    /// <https://learn.microsoft.com/rest/api/storageservices/create-account-sas#construct-the-signature-string>
    fn sas(&self) -> Result<String> {
        if let Ok(given) = self.get("SharedAccessSignature") {
            return Ok(given.trim_start_matches('?').to_owned());
        }
        let (account, key) = (self.get("AccountName")?, self.get("AccountKey")?);
        let expiry = (Utc::now() + TimeDelta::days(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
        // In order: services, resource types, start, expiry, addresses, protocols, version, encryption scope.
        let signed = format!("{account}\n{SAS_PERMISSIONS}\nbq\nsco\n\n{expiry}\n\nhttps,http\n{SAS_VERSION}\n\n");
        let signature = hmac_sha256(&signed, &Secret::new(key.to_owned())).context("AccountKey is no base64")?;
        Ok(Serializer::new(String::new())
            .extend_pairs([("sv", SAS_VERSION), ("ss", "bq"), ("srt", "sco"), ("sp", SAS_PERMISSIONS)])
            .extend_pairs([("se", expiry.as_str()), ("spr", "https,http"), ("sig", signature.as_str())])
            .finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_from_the_suffix_where_none_is_given() -> Result<()> {
        let parts = Parts::parse("AccountName=a;AccountKey=bm90IGEga2V5;EndpointSuffix=core.chinacloudapi.cn");
        assert_eq!(parts.endpoint("queue")?.as_str(), "https://a.queue.core.chinacloudapi.cn/");
        Ok(())
    }

    #[test]
    fn debug_shows_no_signature() -> Result<()> {
        let storage = Storage::new("AccountName=a;AccountKey=bm90IGEga2V5")?;
        assert_eq!(format!("{storage:?}"), "Storage(a.blob.core.windows.net/)");
        Ok(())
    }
}
