//! Collecting: starts what is missing on this machine, and runs the handler until nothing is left to collect.

pub mod feed;
pub mod run;
pub mod stack;
