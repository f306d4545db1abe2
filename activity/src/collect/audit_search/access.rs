//! Who asks Graph, and where: the root, the token, and whether the token may ask at all.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use azure_core::credentials::{Secret, TokenCredential};
use azure_identity::AzureCliCredential;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use handler::azure::Connection;
use handler::azure::identity::ActivityToken;
use handler::config::Config;
use serde::Deserialize;
use url::Url;

/// The permission that reaches all records. Those of single services leave out Teams, Power Platform and Copilot.
/// <https://learn.microsoft.com/graph/permissions-reference#auditlogsqueryreadall>
pub(crate) const PERMISSION: &str = "AuditLogsQuery.Read.All";
/// The setting for another root.
const ROOT: &str = "OFFICE365_GRAPH_URL";
const GRAPH: &str = "https://graph.microsoft.com";

/// The claims that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    /// Application permissions.
    roles: Vec<String>,
    /// Delegated ones, separated by spaces.
    scp: String,
    /// The tenant.
    tid: String,
}

impl Claims {
    fn read(token: &Secret) -> Option<Self> {
        let claims = URL_SAFE_NO_PAD.decode(token.secret().split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// Refuses a token that is another tenant's or lacks the permission.
    fn check(&self, tenant: &str, who: &str) -> Result<()> {
        ensure!(self.tid.eq_ignore_ascii_case(tenant), "{who} is of the tenant {}, and OFFICE365_TENANT_ID is {tenant}", self.tid);
        let held: Vec<_> = self.roles.iter().map(String::as_str).chain(self.scp.split_whitespace()).collect();
        if held.contains(&PERMISSION) {
            return Ok(());
        }
        let others: Vec<_> = held.into_iter().filter(|held| held.starts_with("AuditLogsQuery")).collect();
        let others = if others.is_empty() { String::new() } else { format!("; {} is not all of it", others.join(", ")) };
        bail!(
            "{who} does not hold {PERMISSION}{others}: an administrator grants it, with consent, as an application permission of Microsoft \
             Graph, for example by infra/register-app.sh --history"
        )
    }
}

/// Where tokens come from.
enum Source {
    /// The app registration, or a managed identity.
    App(Box<ActivityToken>),
    /// The person at the keyboard.
    Person(Arc<dyn TokenCredential>),
}

/// The root, and tokens for it.
pub(crate) struct Access {
    source: Source,
    root: Url,
    tenant: String,
}

impl Access {
    /// By the app registration's secret where there is one, else as signed in with `az login`.
    pub(crate) fn new(config: &Config, connection: &Connection, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let root = root(&lookup)?;
        let source = if config.office365.client_secret.is_some() {
            let mut graph = config.clone();
            graph.office365.api_url = root.clone();
            Source::App(Box::new(ActivityToken::new(&graph, &connection.transport).context("no credential for Graph")?))
        } else {
            Source::Person(AzureCliCredential::new(None).context("neither OFFICE365_CLIENT_SECRET nor `az login` is there")?)
        };
        Ok(Self { source, root, tenant: config.office365.tenant_id.clone() })
    }

    /// Graph's root.
    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    /// Whose token it is.
    pub(crate) fn who(&self) -> &'static str {
        match self.source {
            Source::App(_) => "the app registration's token",
            Source::Person(_) => "the token of `az login`",
        }
    }

    /// Refuses before anything is asked if the token does not hold the permission.
    pub(crate) async fn check(&self) -> Result<()> {
        let (who, token) = (self.who(), self.token().await.context("no access token for Graph")?);
        let claims = Claims::read(&token).with_context(|| format!("{who} cannot be read, so nobody knows what it may do"))?;
        claims.check(&self.tenant, who)
    }

    /// A token, from the cache while it is good for minutes.
    pub(crate) async fn token(&self) -> azure_core::Result<Secret> {
        match &self.source {
            Source::App(token) => token.get().await,
            Source::Person(person) => Ok(person.get_token(&[self.scope().as_str()], None).await?.token),
        }
    }

    /// Another token than one that was refused.
    pub(crate) async fn renewed(&self, refused: &Secret) -> azure_core::Result<Secret> {
        match &self.source {
            Source::App(token) => token.renew(refused).await,
            // The person's tool keeps its own tokens.
            Source::Person(_) => self.token().await,
        }
    }

    fn scope(&self) -> String {
        format!("{}/.default", self.root.as_str().trim_end_matches('/'))
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
    fn only_a_token_with_the_whole_permission_and_of_the_tenant_may_ask() {
        let claims = |roles: &[&str], scp: &str| Claims {
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            scp: scp.to_owned(),
            tid: "T".to_owned(),
        };
        assert!(claims(&[PERMISSION], "").check("t", "it").is_ok());
        assert!(claims(&[], "User.Read AuditLogsQuery.Read.All").check("t", "it").is_ok());
        assert!(claims(&[PERMISSION], "").check("u", "it").is_err());
        let refused = claims(&["AuditLogsQuery-Exchange.Read.All"], "User.Read").check("t", "it").unwrap_err().to_string();
        assert!(refused.contains("AuditLogsQuery-Exchange.Read.All is not all of it"), "{refused}");
    }

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
