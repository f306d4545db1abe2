//! The case file: what was collected, in the forms that others read, with the proof that it is whole.

pub mod ecs;
