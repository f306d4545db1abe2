//! The local stack, as a library: the parts that `cargo run -p local` starts for a person are the parts that the tests
//! start. What lives here serves whole worlds over the wire; nothing here is part of the handler.

pub mod azurite;
pub mod cosmos;
pub mod host;
pub mod storm;
pub mod tenant;
