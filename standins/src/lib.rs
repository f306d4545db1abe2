//! What a handler runs against on one machine: storage, a database, a Functions host and a simulated tenant, each served
//! over the wire as the real ones are. Tests and tools start these; nothing here is part of the handler.

pub mod azurite;
pub mod cosmos;
pub mod doors;
pub mod host;
pub mod npm;
pub mod ports;
pub mod tenant;
