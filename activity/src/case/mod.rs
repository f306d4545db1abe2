//! The case file: what was collected, in the forms that others read, with the proof that it is whole.

pub mod export;
pub mod forms;
pub mod verify;

pub mod filter;
pub mod manifest;

pub mod ecs;

mod columns;
mod document;
mod folder;
mod tally;
