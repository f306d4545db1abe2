//! The case file: what was collected, in the forms that others read, with the proof that it is whole.

pub mod export;
pub mod verify;

mod account;
mod writing;

pub mod forms;

pub mod ecs;
pub mod filter;
pub mod manifest;

mod columns;
mod document;
mod folder;
mod tally;
