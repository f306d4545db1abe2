//! The process's one HTTP client: TLS roots, time limits, no redirects.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, redirect::Policy};

/// The time that a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// The time that a server may stay silent in the middle of an answer; a whole answer may take longer.
const SILENCE: Duration = Duration::from_secs(60);

/// Builds the client. Certificates are verified against the machine's roots, or those that `SSL_CERT_FILE` names.
/// Redirects are not followed: no service spoken to sends any, and a token must not travel to where one points.
///
/// # Errors
/// The TLS roots cannot be loaded.
pub fn client() -> anyhow::Result<Client> {
    Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(Policy::none())
        .user_agent(concat!("office365-activity-collector/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the TLS roots could not be loaded")
}
