//! The Cosmos DB account.

use azure_core::credentials::Secret;
use url::Url;

use super::vars::Vars;

/// The Cosmos DB account, and the container in it.
#[derive(Clone, Debug)]
pub struct Cosmos {
    /// Account endpoint, such as `https://name.documents.azure.com:443/`.
    pub endpoint: Url,
    /// Account key; none: managed identity.
    pub key: Option<Secret>,
    /// Database name.
    pub database: String,
    /// Container name; its partition key path is `/pk`.
    pub container: String,
}

impl Cosmos {
    pub(super) fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let endpoint = vars.required("COSMOS_ENDPOINT").and_then(|_| vars.secure_url("COSMOS_ENDPOINT", None));
        Some(Self {
            endpoint: endpoint?,
            key: vars.optional("COSMOS_KEY").map(Secret::from),
            database: vars.or_default("COSMOS_DATABASE", "office365"),
            container: vars.or_default("COSMOS_CONTAINER", "activity"),
        })
    }
}
