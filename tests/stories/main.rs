//! Stories: what the handler promises, told over real HTTP against stand-ins: the handler's own binary under a
//! Functions host, Azurite, the Cosmos emulator and a simulated tenant. The world they play in is in `world`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

mod by_hand;
mod canary;
mod check;
mod clock;
mod collect;
mod crashes;
mod deadlines;
mod documents;
mod envelope;
mod erased;
mod faults_database;
mod faults_fetching;
mod faults_listing;
mod faults_storage;
mod identity;
mod infra;
mod large;
mod listing;
mod messages;
mod odd_records;
mod own_rows;
mod queue_events;
mod repeats;
mod settings;
mod state;
mod status;
mod store_events;
mod subscriptions;
mod sweeps;
mod token;
mod wire;
mod world;
mod wrong_settings;

/// Records with matched values in every form, as the property test makes them.
#[path = "../canary/form.rs"]
mod form;
