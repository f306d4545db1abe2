//! Looking at what was collected: questions in SQL and a graph, over a database on this machine or in Azure. Nothing here
//! imports a stand-in.

pub mod database;
pub(crate) mod documents;
pub mod findings;
pub mod graph;
pub mod person;
pub mod query;
pub mod question;
