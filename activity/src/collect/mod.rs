//! Collecting: the demonstration's stack, which runs the handler until nothing is left to collect; and a tenant's content straight
//! to files, by the feed and by the audit search, and the two held against each other.

pub mod audit_search;
pub mod case;
pub mod compare;
pub mod feed;
pub mod run;
pub mod stack;

mod documents;
mod lines;
mod sign_in;
