//! Clients of the storage account, each with the credential that its settings name. [`crate::queue`] and [`crate::state`]
//! build theirs here.

use std::sync::Arc;

use azure_core::{
    Error,
    credentials::TokenCredential,
    error::ErrorKind,
    http::{ClientOptions, StatusCode},
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use azure_storage_queue::{QueueClient, QueueClientOptions};
use url::Url;

use super::{Connection, shared_key::SharedKey};
use crate::config::{Access, StorageAccount};

impl Connection {
    /// A client of one blob container.
    ///
    /// # Errors
    /// The endpoint cannot take the name, or an identity is used over http.
    pub fn container(&self, account: &StorageAccount, name: &str) -> azure_core::Result<BlobContainerClient> {
        let options = BlobContainerClientOptions { client_options: self.storage_options(account), ..Default::default() };
        BlobContainerClient::new(address(account, &account.blob_endpoint, name)?, self.storage_credential(account)?, Some(options))
    }

    /// A client of one queue.
    ///
    /// # Errors
    /// See [`Connection::container`].
    pub fn queue(&self, account: &StorageAccount, name: &str) -> azure_core::Result<QueueClient> {
        let options = QueueClientOptions { client_options: self.storage_options(account), ..Default::default() };
        QueueClient::new(address(account, &account.queue_endpoint, name)?, self.storage_credential(account)?, Some(options))
    }

    fn storage_options(&self, account: &StorageAccount) -> ClientOptions {
        let mut options = ClientOptions { transport: Some(self.transport.clone()), retry: self.retry.clone(), ..Default::default() };
        if let Access::Key { account, key } = &account.access {
            options.per_try_policies.push(Arc::new(SharedKey { account: account.clone(), key: key.clone() }));
        }
        options
    }

    fn storage_credential(&self, account: &StorageAccount) -> azure_core::Result<Option<Arc<dyn TokenCredential>>> {
        match account.access {
            Access::Identity => self.identity().map(Some),
            Access::Key { .. } | Access::Signature(_) => Ok(None),
        }
    }
}

/// Where a container or queue is; a shared access signature is part of it.
fn address(account: &StorageAccount, endpoint: &Url, name: &str) -> azure_core::Result<Url> {
    let mut url = endpoint.clone();
    url.path_segments_mut()
        .map_err(|()| Error::with_message(ErrorKind::Other, "the storage endpoint cannot have a path"))?
        .pop_if_empty()
        .push(name);
    if let Access::Signature(signature) = &account.access {
        url.set_query(Some(signature.secret()));
    }
    Ok(url)
}

/// True if an error says that the thing asked for is not there (404).
#[must_use]
pub fn is_not_found(error: &Error) -> bool {
    error.http_status() == Some(StatusCode::NotFound)
}

/// True if an error says that the thing exists, or changed meanwhile (409, 412).
#[must_use]
pub fn is_conflict(error: &Error) -> bool {
    matches!(error.http_status(), Some(StatusCode::Conflict | StatusCode::PreconditionFailed))
}

/// True if an error says that the blob is no append blob (409): a person's tools upload block blobs.
/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>
#[must_use]
pub fn is_another_type(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { error_code: Some(code), .. } if code == "InvalidBlobType")
}

/// True if an error says that an append blob takes no further append: it has 50,000.
/// <https://learn.microsoft.com/rest/api/storageservices/append-block>
#[must_use]
pub fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { error_code: Some(code), .. } if code == "BlockCountExceedsLimit")
}

#[cfg(test)]
mod tests {
    use azure_core::credentials::Secret;

    use super::*;

    #[test]
    fn a_name_is_added_to_the_endpoints_path_and_before_its_signature() {
        let account = |endpoint: &str, access| StorageAccount {
            blob_endpoint: Url::parse(endpoint).unwrap(),
            queue_endpoint: Url::parse(endpoint).unwrap(),
            access,
        };
        let signed = account("https://b.example/", Access::Signature(Secret::from("sv=1&sig=x")));
        assert_eq!(address(&signed, &signed.blob_endpoint, "state").unwrap().as_str(), "https://b.example/state?sv=1&sig=x");
        let development = account("http://127.0.0.1:10000/devstoreaccount1", Access::Identity);
        assert_eq!(address(&development, &development.blob_endpoint, "state").unwrap().path(), "/devstoreaccount1/state");
    }
}
