//! The storage account of queue and state: read from `AzureWebJobsStorage`, as the Functions host reads it.

use std::collections::HashMap;

use azure_core::{credentials::Secret, hmac::hmac_sha256};
use url::Url;

use super::vars::{Vars, is_loopback};

/// Azurite's well-known account, which `UseDevelopmentStorage=true` stands for.
/// <https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#use-a-well-known-storage-account-and-key>
const DEVELOPMENT_STORAGE: &str = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1";

/// Settings that name an account that an identity opens.
pub(crate) const IDENTITY_SETTINGS: [&str; 3] =
    ["AzureWebJobsStorage__accountName", "AzureWebJobsStorage__blobServiceUri", "AzureWebJobsStorage__queueServiceUri"];

/// A storage account as `AzureWebJobsStorage` names it.
/// <https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity>
#[derive(Clone, Debug)]
pub struct StorageAccount {
    /// Address of the blob service.
    pub blob_endpoint: Url,
    /// Address of the queue service.
    pub queue_endpoint: Url,
    /// The way in which requests are authorised.
    pub access: Access,
}

/// The way in which requests are authorised. Secrets redact themselves.
#[derive(Clone, Debug)]
pub enum Access {
    /// By the account's key.
    Key {
        /// The account's name.
        account: String,
        /// In base64.
        key: Secret,
    },
    /// A shared access signature: a query string, without the question mark.
    Signature(Secret),
    /// By the managed identity.
    Identity,
}

impl StorageAccount {
    /// True if the managed identity opens this account.
    #[must_use]
    pub fn needs_identity(&self) -> bool {
        matches!(self.access, Access::Identity)
    }

    /// Reads `AzureWebJobsStorage`, or the settings of an identity-based connection.
    pub(super) fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let connection_string = vars.optional("AzureWebJobsStorage");
        if connection_string.is_some() {
            // Ignored, by the host too; `check` tells.
            for name in IDENTITY_SETTINGS {
                if vars.is_set(name) {
                    vars.optional(name);
                }
            }
        }
        match connection_string {
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
        let account = vars.optional(ACCOUNT).filter(|name| {
            let is_name = (3..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if !is_name {
                vars.fault(ACCOUNT, "must be a storage account's name: 3 to 24 lower-case letters and digits");
            }
            is_name
        });
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
            _ if vars.has_fault("AzureWebJobsStorage__") => None,
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

/// The account, where an identity opens it.
const ACCOUNT: &str = "AzureWebJobsStorage__accountName";

const STORAGE_NAME: &str = "3 to 63 lower-case letters, digits and single hyphens, with a letter or digit at each end";

/// Reads the name of a queue or container.
pub(super) fn read_name(vars: &mut Vars<'_>, name: &str, default: &str) -> Option<String> {
    vars.parsed(name, default, STORAGE_NAME, |name: &String| is_storage_name(name))
}

/// <https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata>; containers follow the same rule.
fn is_storage_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
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
