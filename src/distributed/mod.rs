//! Processes that work together: communication between them, and the division of data among them. What they
//! compute belongs elsewhere.

mod collective;
mod shards;

#[cfg(test)]
#[path = "../../tests/support/thread_group.rs"]
pub mod thread_group;

pub use collective::{Collective, FailedRank, Group, LostProcess, Reported, SingleProcess, Worker};
pub use shards::Shards;
