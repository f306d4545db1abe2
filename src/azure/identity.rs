//! The handler's identities: the credential for the Activity API, and the managed identity for storage and database. The identity
//! library gets tokens; this file decides when they are renewed.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::{
    cloud::CustomConfiguration,
    credentials::{Secret, TokenCredential},
    http::{ClientMethodOptions, ClientOptions, Transport},
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use crate::config::{Config, Office365};

/// Audience of the token with which a managed identity signs for an app registration.
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity>
const TOKEN_EXCHANGE: &str = "api://AzureADTokenExchange/.default";

/// The app service's managed identity.
///
/// # Errors
/// The process runs where there is no managed identity that the library supports.
pub fn managed_identity(config: &Config, transport: &Transport) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let credential = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: config.identity_client_id.clone().map(UserAssignedId::ClientId),
        client_options: ClientOptions { transport: Some(transport.clone()), ..Default::default() },
    }))?;
    Ok(credential)
}

/// The claims in an access token that a person may know: nothing that could be used in its place.
/// <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct TokenClaims {
    /// Whom it was given to.
    #[serde(rename = "appid", alias = "azp")]
    pub app_id: String,
    /// The tenant that it is of.
    #[serde(rename = "tid")]
    pub tenant_id: String,
    /// Application permissions.
    pub roles: Vec<String>,
    /// Permissions of a person who is signed in, separated by spaces.
    #[serde(rename = "scp")]
    pub scopes: String,
}

impl TokenClaims {
    /// Reads a JSON Web Token without verifying it, which its audience does; none if it is in another form.
    #[must_use]
    pub fn read(token: &Secret) -> Option<Self> {
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.secret().split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// All permissions, whosever they are.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(String::as_str).chain(self.scopes.split_whitespace())
    }
}

/// Makes a credential whose cache is empty.
type MakeCredential = Box<dyn Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync>;

/// An API's access token, renewed minutes before it ends, one flight at a time.
pub struct ActivityToken {
    /// The scope of a token for the API.
    scope: String,
    make: MakeCredential,
    /// Holds the library's own cache; replaced when the service refuses a token that the cache thinks good.
    credential: Mutex<Arc<dyn TokenCredential>>,
}

impl ActivityToken {
    /// Chooses among client secret, federated identity and the identity itself, as the settings say.
    ///
    /// # Errors
    /// The settings do not make a credential here.
    pub fn new(config: &Config, transport: &Transport) -> azure_core::Result<Self> {
        let (root, config, transport) = (config.office365.api_url.clone(), config.clone(), transport.clone());
        Self::of(&root, move || credential(&config, &transport))
    }

    /// Takes tokens for the API at this root from another credential, such as that of a person who is signed in.
    ///
    /// # Errors
    /// The credential cannot be made here.
    pub fn of(
        root: &Url,
        make: impl Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync + 'static,
    ) -> azure_core::Result<Self> {
        let scope = format!("{}/.default", root.as_str().trim_end_matches('/'));
        Ok(Self { scope, credential: Mutex::new(make()?), make: Box::new(make) })
    }

    /// A token for the API, from the cache while it is good for five more minutes.
    ///
    /// # Errors
    /// Entra or the identity endpoint refused, or could not be reached.
    pub async fn get(&self) -> azure_core::Result<Secret> {
        let credential = Arc::clone(&*self.credential.lock().await);
        self.ask(&credential).await
    }

    /// A token other than the one the service just refused. Where another caller has renewed it meanwhile, that one.
    ///
    /// # Errors
    /// See [`ActivityToken::get`].
    pub async fn renew(&self, refused: &Secret) -> azure_core::Result<Secret> {
        let mut current = self.credential.lock().await;
        let token = self.ask(&current).await?;
        if token.secret() != refused.secret() {
            return Ok(token);
        }
        *current = (self.make)()?;
        self.ask(&current).await
    }

    async fn ask(&self, credential: &Arc<dyn TokenCredential>) -> azure_core::Result<Secret> {
        Ok(credential.get_token(&[self.scope.as_str()], None).await?.token)
    }
}

fn credential(config: &Config, transport: &Transport) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let Office365 { tenant_id, client_id, client_secret, .. } = &config.office365;
    let client_options = client_options(&config.office365, transport);
    match (client_id, client_secret) {
        (Some(app), Some(secret)) => {
            let options = ClientSecretCredentialOptions { client_options };
            Ok(ClientSecretCredential::new(tenant_id, app.clone(), secret.clone(), Some(options))?)
        }
        (Some(app), None) => {
            let options = ClientAssertionCredentialOptions { client_options };
            let assertion = IdentityAssertion(managed_identity(config, transport)?);
            Ok(ClientAssertionCredential::new(tenant_id.clone(), app.clone(), assertion, Some(options))?)
        }
        (None, _) => managed_identity(config, transport),
    }
}

fn client_options(office365: &Office365, transport: &Transport) -> ClientOptions {
    let mut authority = CustomConfiguration::default();
    authority.authority_host = office365.login_url.to_string();
    ClientOptions { transport: Some(transport.clone()), cloud: Some(Arc::new(authority.into())), ..Default::default() }
}

/// The managed identity's word that the app registration trusts instead of a secret.
#[derive(Debug)]
struct IdentityAssertion(Arc<dyn TokenCredential>);

#[async_trait]
impl ClientAssertion for IdentityAssertion {
    async fn secret(&self, _options: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.get_token(&[TOKEN_EXCHANGE], None).await?.token.secret().to_owned())
    }
}
