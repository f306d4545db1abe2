//! Proving the handler, and the search of history: what it costs, and that a storm of faults loses nothing.

pub mod bench;
pub mod history_storm;
pub mod storm;
