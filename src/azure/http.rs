//! The process's one HTTP client: TLS roots, time limits, no redirects; and the same for Azure's SDKs, which read answers whole.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use azure_core::{
    Error,
    error::ErrorKind,
    http::{AsyncRawResponse, HttpClient, Request, Transport},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::{Client, redirect::Policy};

use crate::limits::MAX_SDK_ANSWER_BYTES;

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

/// The client as Azure's SDKs take it. They read tokens, errors and blobs whole, so no answer is handed to them beyond a bound.
pub fn transport(client: Client) -> Transport {
    Transport::new(Arc::new(Bounded(client)))
}

#[derive(Debug)]
struct Bounded(Client);

#[async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (status, headers, body) = self.0.execute_request(request).await?.deconstruct();
        Ok(AsyncRawResponse::new(status, headers, Box::pin(bounded(body, MAX_SDK_ANSWER_BYTES))))
    }
}

/// Ends in an error once more came than is taken.
fn bounded(
    body: impl Stream<Item = azure_core::Result<Bytes>> + Send,
    max_bytes: usize,
) -> impl Stream<Item = azure_core::Result<Bytes>> + Send {
    body.scan(0_usize, move |read, chunk| {
        *read += chunk.as_ref().map_or(0, Bytes::len);
        let error = || Error::with_message(ErrorKind::Io, format!("the answer has more than {} MiB", max_bytes / 1024 / 1024));
        futures::future::ready(Some(if *read > max_bytes { Err(error()) } else { chunk }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_handed_on_up_to_its_bound_and_no_further() {
        let body = || futures::stream::iter([5, 5, 1].map(|length| Ok(Bytes::from(vec![0; length]))));
        let read = |max| async move { bounded(body(), max).map(|chunk| chunk.is_ok()).collect::<Vec<_>>().await };
        assert_eq!(read(11).await, [true, true, true]);
        assert_eq!(read(10).await, [true, true, false]);
    }
}
