#![doc = include_str!("../docs/ARCHITECTURE.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed"))]

pub mod operator;
pub mod own_rows;
pub mod server;

pub mod queue_events;
pub mod store_events;

pub mod envelope;
pub mod failure;

mod outbox;
pub mod services;

pub mod database;
pub mod queue;
pub mod state;

pub mod batch;
pub mod management_api;

pub mod azure;
pub mod findings;

pub mod document;

pub mod config;

pub mod clock;
mod error_text;
pub mod limits;
pub mod log;
pub mod workload;

use std::sync::Arc;

use anyhow::Context;
use tokio::{net::TcpListener, runtime::Handle};

use crate::{config::Config, services::Services};

/// Serves the host on a listener until `shutdown` completes; what is under way then is finished first. The functions run on a
/// runtime of their own, `work`: however busy they keep it, the host is answered.
///
/// # Errors
/// A client cannot be built from the settings, or the listener fails.
pub async fn run(
    config: &Config,
    listener: TcpListener,
    work: Handle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let services = Arc::new(Services::new(config)?);
    let _rows = tokio_util::task::AbortOnDropHandle::new(work.spawn(own_rows::keep(Arc::clone(&services))));
    axum::serve(listener, server::router(services, work)).with_graceful_shutdown(shutdown).await.context("the listener failed")
}
