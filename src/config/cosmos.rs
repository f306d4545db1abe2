//! The Cosmos DB account.

use azure_core::credentials::Secret;
use url::Url;

use super::vars::Vars;

/// The Cosmos DB account, and the container in it.
#[derive(Clone, Debug)]
pub struct CosmosAccount {
    /// Account endpoint, such as `https://name.documents.azure.com:443/`.
    pub endpoint: Url,
    /// Account key; none: managed identity.
    pub key: Option<Secret>,
    /// Database name.
    pub database: String,
    /// Container name; its partition key path is `/pk`.
    pub container: String,
}

impl CosmosAccount {
    pub(super) fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let endpoint = vars.required("COSMOS_ENDPOINT").and_then(|_| vars.secure_url("COSMOS_ENDPOINT", None));
        let key = vars.optional("COSMOS_KEY").map(Secret::from);
        let database = read_name(vars, "COSMOS_DATABASE", "office365");
        let container = read_name(vars, "COSMOS_CONTAINER", "activity");
        Some(Self { endpoint: endpoint?, key, database: database?, container: container? })
    }
}

/// Cosmos DB takes more; what is beyond this is a secret rather than a name.
/// <https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-account-limits>
fn read_name(vars: &mut Vars<'_>, name: &str, default: &str) -> Option<String> {
    let is_name = |name: &String| name.len() <= 255 && name.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.'));
    vars.parsed(name, default, "a name of letters, digits, spaces, hyphens, underscores and dots, 255 at most", is_name)
}
