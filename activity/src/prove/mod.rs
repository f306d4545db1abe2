//! Proving the handler: what it costs, and that a storm of faults loses nothing.

pub mod bench;
pub mod storm;
