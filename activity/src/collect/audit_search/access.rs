//! Who asks Graph, and where: the root, the token, and whether the token may ask at all.

use anyhow::{Context as _, Result, bail, ensure};
use azure_core::credentials::Secret;
use handler::azure::Connection;
use handler::azure::identity::{ActivityToken, TokenClaims};
use handler::config::Config;
use url::Url;

use crate::collect::sign_in::{Asker, Permission};

/// The permission that reaches all records. Those of single services leave out Teams, Power Platform and Copilot.
/// <https://learn.microsoft.com/graph/permissions-reference#auditlogsqueryreadall>
pub(crate) const PERMISSION: &str = "AuditLogsQuery.Read.All";
/// The setting for another root.
const ROOT: &str = "OFFICE365_GRAPH_URL";
const GRAPH: &str = "https://graph.microsoft.com";

/// The root, and tokens for it.
pub(crate) struct Access {
    asker: Asker,
    token: ActivityToken,
    root: Url,
    tenant: String,
}

impl Access {
    /// By the app registration's secret where there is one, else as signed in with `az login`.
    pub(crate) fn new(config: &Config, connection: &Connection, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let (asker, root) = (Asker::of(config), root(&lookup)?);
        let token = asker.tokens(config, &connection.transport, &root)?;
        Ok(Self { asker, token, root, tenant: config.office365.tenant_id.clone() })
    }

    /// Graph's root.
    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    /// Whose token it is.
    pub(crate) fn asker(&self) -> Asker {
        self.asker
    }

    /// Refuses before anything is asked if the token does not hold the permission.
    pub(crate) async fn check(&self) -> Result<()> {
        let token = self.first_token().await?;
        let permission =
            Permission { name: PERMISSION, family: "AuditLogsQuery", api: "Microsoft Graph", script: "register-app.sh --history" };
        self.asker.check(TokenClaims::read(&token).as_ref(), &self.tenant, permission)
    }

    /// The first token, or why there is none.
    pub(crate) async fn first_token(&self) -> Result<Secret> {
        self.token().await.context(match self.asker {
            Asker::App => "no access token for Graph",
            Asker::Person => "OFFICE365_CLIENT_SECRET is not set, and `az login` gives no access token for Graph",
        })
    }

    /// A token, from the cache while it is good for minutes.
    pub(crate) async fn token(&self) -> azure_core::Result<Secret> {
        self.token.get().await
    }

    /// Another token than one that was refused.
    pub(crate) async fn renewed(&self, refused: &Secret) -> azure_core::Result<Secret> {
        self.token.renew(refused).await
    }
}

/// Graph's root: of the global cloud, unless another is set. Audit log queries are in no other cloud by the documents.
fn root(lookup: impl Fn(&str) -> Option<String>) -> Result<Url> {
    let given = lookup(ROOT).filter(|root| !root.is_empty());
    let cloud = lookup("OFFICE365_CLOUD").unwrap_or_default();
    if given.is_none() && matches!(cloud.as_str(), "gcc-high" | "dod") {
        bail!("Graph's audit log queries are not available in {cloud}; to try a root all the same, set {ROOT}");
    }
    let text = given.as_deref().unwrap_or(GRAPH);
    let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).with_context(|| format!("{ROOT} is no address"))?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    ensure!(url.scheme() == "https" && is_plain, "{ROOT} must be an address such as {GRAPH}: a token goes there");
    Ok(url)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    #[test]
    fn the_root_is_the_global_clouds_or_the_one_that_is_set() {
        let of = |vars: &[(&str, &str)]| root(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()));
        assert_eq!(of(&[]).unwrap().as_str(), "https://graph.microsoft.com/");
        assert_eq!(of(&[("OFFICE365_CLOUD", "gcc")]).unwrap().as_str(), "https://graph.microsoft.com/");
        assert!(of(&[("OFFICE365_CLOUD", "dod")]).is_err());
        assert_eq!(
            of(&[("OFFICE365_CLOUD", "dod"), (ROOT, "https://dod-graph.microsoft.us")]).unwrap().as_str(),
            "https://dod-graph.microsoft.us/"
        );
        assert!(of(&[(ROOT, "http://graph.microsoft.com")]).is_err());
    }
}
