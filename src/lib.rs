#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed"))]

pub mod config;

pub mod operator;

pub mod app;
pub mod failure;
pub mod invocation;

pub mod queue_events;
pub mod store_events;

pub mod batch;

pub mod findings;

pub mod document;

pub mod database;
pub mod management_api;
pub mod queue;
pub mod state;

pub mod azure;
pub mod clock;

use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::{app::Services, config::Config};

/// Serves the host on a listener until `shutdown` completes; what is under way then is finished first.
///
/// # Errors
/// A client cannot be built from the settings, or the listener fails.
pub async fn run(config: &Config, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let services = Arc::new(Services::new(config)?);
    axum::serve(listener, app::router(services)).with_graceful_shutdown(shutdown).await.context("the listener failed")
}
