//! Collecting: the demonstration's stack, which runs the handler until nothing is left to collect; and a tenant's content straight
//! to files, by the feed and by the audit search, the two held against each other, and by the search into the collector's database.

pub mod audit_search;
pub mod backfill;
pub mod case;
pub mod compare;
pub mod feed;
pub mod run;
pub mod stack;

mod documents;
mod lines;
mod sign_in;
