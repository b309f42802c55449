//! The training loop and its surroundings: schedule, observers, and how a run is put together. What a
//! step computes belongs to the backends.

pub mod observers;
pub mod schedule;
pub mod setup;
mod trainer;

pub use trainer::{Diverged, Ending, Resume, Trainer};

#[cfg(test)]
mod tests;
