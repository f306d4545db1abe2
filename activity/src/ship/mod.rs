//! Building the handler, and laying out what ships.

pub mod executable;
pub mod stage;
