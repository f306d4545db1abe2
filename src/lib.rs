#![doc = include_str!("../docs/ARCHITECTURE.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed"))]

pub mod process;

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
pub mod error_text;
pub mod limits;
pub mod log;
pub mod workload;
