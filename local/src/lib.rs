//! The local stack, as a library: the parts that `cargo run -p local` starts for a person are the parts that the tests
//! start. What lives here serves whole worlds over the wire; nothing here is part of the handler.

pub mod azurite;
pub mod bench;
pub mod cosmos;
pub mod database;
pub mod executable;
pub mod graph;
pub mod host;
pub mod npm;
pub mod query;
pub mod question;
pub mod run;
pub mod screen;
pub mod stack;
pub mod stage;
pub mod storm;
pub mod table;
pub mod tenant;
