//! Connections to Azure: the HTTP client, identities, storage clients.

pub mod http;
pub mod identity;
mod shared_key;
pub mod storage;

use std::sync::Arc;

use azure_core::{
    Error,
    credentials::TokenCredential,
    error::ErrorKind,
    http::{RetryOptions, Transport},
};

use self::identity::managed_identity;
use crate::config::Config;

/// The parts that every client is built with, in the service and in the commands alike.
#[derive(Debug)]
pub struct Connection {
    /// The process's one HTTP client.
    pub http: reqwest::Client,
    /// The same for Azure's SDKs.
    pub transport: Transport,
    /// The retries of a request to storage before its failure is told.
    retry: RetryOptions,
    /// The managed identity; an error where there is none, which matters only to what needs one.
    identity: azure_core::Result<Arc<dyn TokenCredential>>,
}

impl Connection {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The TLS roots cannot be loaded.
    pub fn new(config: &Config, retry: RetryOptions) -> anyhow::Result<Self> {
        let http = http::client()?;
        let transport = http::transport(http.clone());
        Ok(Self { identity: managed_identity(config, &transport), http, transport, retry })
    }

    /// With another identity in the place of the managed one: a person's, for a command that a person types.
    #[must_use]
    pub fn with_identity(self, identity: Arc<dyn TokenCredential>) -> Self {
        Self { identity: Ok(identity), ..self }
    }

    /// The managed identity, one for all that it opens, so that they share its tokens.
    ///
    /// # Errors
    /// The process runs where there is no managed identity that the library supports.
    pub fn identity(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        match &self.identity {
            Ok(identity) => Ok(Arc::clone(identity)),
            Err(error) => Err(Error::with_message(ErrorKind::Credential, error.to_string())),
        }
    }
}
