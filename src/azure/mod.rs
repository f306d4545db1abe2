//! Connections to Azure: the HTTP client, identities, storage clients.

pub mod http;
pub mod identity;
pub mod storage;
