//! Who asks a service of Microsoft's: the app registration by its secret, else the person who is signed in with `az login`; and whether
//! their token may ask at all.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result, bail, ensure};
use azure_core::http::{RetryOptions, Transport};
use azure_identity::{AzureCliCredential, AzureCliCredentialOptions};
use handler::azure::Connection;
use handler::azure::identity::{ActivityToken, TokenClaims};
use handler::config::Config;
use handler::services::{Clients, Services};
use url::Url;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The app registration, by its secret.
    App,
    /// The person who is signed in with `az login`.
    Person,
}

/// What the feed is asked with; without `ActivityFeed.ReadDlp` beside it the service refuses `DLP.All` alone.
/// <https://learn.microsoft.com/office/office-365-management-api/get-started-with-office-365-management-apis#specify-the-permissions-your-app-requires-to-access-the-office-365-management-apis>
const FEED: Permission =
    Permission { name: "ActivityFeed.Read", family: "ActivityFeed", api: "Office 365 Management APIs", script: "register-app.sh" };

/// The handler's clients and settings, with the Activity API asked as whoever asks.
pub(crate) fn services(config: &Config) -> Result<Services> {
    services_over(config, &Connection::new(config, RetryOptions::default())?)
}

/// The same over a connection that is there: with another identity for storage and database, for example.
pub(crate) fn services_over(config: &Config, connection: &Connection) -> Result<Services> {
    let token = Asker::of(config).tokens(config, &connection.transport, &config.office365.api_url)?;
    Services::with_token(config, connection, token)
}

/// Refuses before the feed is asked where a person's token may not. An app registration's is judged by the service.
pub(crate) async fn check_feed(clients: &Clients, config: &Config) -> Result<()> {
    let asker = Asker::of(config);
    if asker == Asker::App {
        return Ok(());
    }
    let claims = clients.activity().claims().await.context("no access token for the Activity API")?;
    asker.check(claims.as_ref(), &config.office365.tenant_id, FEED)
}

/// A permission that is needed, and the API whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permission {
    /// Its name, such as `ActivityFeed.Read`.
    pub(crate) name: &'static str,
    /// What the names of permissions that are like it begin with.
    pub(crate) family: &'static str,
    /// The API, by the name that Entra has for it.
    pub(crate) api: &'static str,
    /// Which of the scripts in `infra/` asks for it, and how.
    pub(crate) script: &'static str,
}

impl Asker {
    /// The app registration where there is a secret.
    pub(crate) fn of(config: &Config) -> Self {
        if config.office365.client_secret.is_some() { Self::App } else { Self::Person }
    }

    /// Tokens for the API at this root. Nothing is asked yet.
    pub(crate) fn tokens(self, config: &Config, transport: &Transport, root: &Url) -> Result<ActivityToken> {
        match self {
            Self::App => {
                let mut config = config.clone();
                config.office365.api_url = root.clone();
                ActivityToken::new(&config, transport).with_context(|| format!("no credential for {root}"))
            }
            Self::Person => {
                let tenant = config.office365.tenant_id.clone();
                let options = move || AzureCliCredentialOptions { tenant_id: Some(tenant.clone()), ..AzureCliCredentialOptions::default() };
                ActivityToken::of(root, move || Ok(AzureCliCredential::new(Some(options()))?))
                    .context("neither OFFICE365_CLIENT_SECRET nor `az login` is there")
            }
        }
    }

    /// Refuses a token that is another tenant's, or lacks the permission.
    pub(crate) fn check(self, claims: Option<&TokenClaims>, tenant: &str, permission: Permission) -> Result<()> {
        let Permission { name, family, api, script } = permission;
        let claims = claims.with_context(|| format!("{self} cannot be read, so nobody knows what it may do"))?;
        let theirs = &claims.tenant_id;
        ensure!(theirs.eq_ignore_ascii_case(tenant), "{self} is of the tenant {theirs}, and OFFICE365_TENANT_ID is {tenant}");
        if claims.permissions().any(|held| held == name) {
            return Ok(());
        }
        let others: Vec<_> = claims.permissions().filter(|held| held.starts_with(family)).collect();
        let others = if others.is_empty() { String::new() } else { format!("; {} is not all of it", others.join(", ")) };
        let way = match self {
            Self::App => "",
            Self::Person => "; or set OFFICE365_CLIENT_ID and OFFICE365_CLIENT_SECRET, to ask as an app registration that holds it",
        };
        bail!(
            "{self} does not hold {name}{others}: an administrator grants it, with consent, as an application permission of {api}, for example by \
             infra/{script}{way}"
        )
    }
}

impl Display for Asker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "the app registration's token",
            Self::Person => "the token of `az login`",
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    const PERMISSION: Permission = Permission {
        name: "AuditLogsQuery.Read.All",
        family: "AuditLogsQuery",
        api: "Microsoft Graph",
        script: "register-app.sh --history",
    };

    #[test]
    fn only_a_token_with_the_whole_permission_and_of_the_tenant_may_ask() {
        let claims = |roles: &[&str], scopes: &str| TokenClaims {
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            scopes: scopes.to_owned(),
            tenant_id: "T".to_owned(),
            ..TokenClaims::default()
        };
        let check = |claims: TokenClaims, tenant: &str| Asker::Person.check(Some(&claims), tenant, PERMISSION);
        assert!(check(claims(&[PERMISSION.name], ""), "t").is_ok());
        assert!(check(claims(&[], "User.Read AuditLogsQuery.Read.All"), "t").is_ok());
        assert!(check(claims(&[PERMISSION.name], ""), "u").is_err());
        let refused = check(claims(&["AuditLogsQuery-Exchange.Read.All"], "User.Read"), "t").unwrap_err().to_string();
        assert!(refused.contains("AuditLogsQuery-Exchange.Read.All is not all of it"), "{refused}");
        assert!(Asker::App.check(None, "t", PERMISSION).is_err());
    }
}
