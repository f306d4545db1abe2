//! Stories that need what a person types (`activity`) beside the stand-ins: the storm, what ships, and the queries. They play
//! in the world of the other stories.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

mod findings;
mod queries;
mod staged;
mod storm;
#[path = "../stories/wire.rs"]
#[allow(unused, reason = "the other stories need more of it")]
mod wire;
#[path = "../stories/world.rs"]
#[allow(unused, reason = "the other stories need more of it")]
mod world;
