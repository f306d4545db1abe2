//! The case file: what was collected, in the forms that others read, with the proof that it is whole.

pub mod export;
pub mod verify;

pub(crate) mod account;
pub(crate) mod writing;

pub mod forms;

pub mod ecs;
pub mod filter;
pub mod manifest;
pub mod pseudonyms;

pub(crate) mod columns;
pub mod document;
mod folder;
mod tally;
