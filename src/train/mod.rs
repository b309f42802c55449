//! The training loop, its learning rate schedule, its observers, and the set-up of a run. The computation
//! of a step belongs to the backends.

mod diagnosis;
pub mod observers;
pub mod schedule;
pub mod setup;
mod trainer;

pub use trainer::{Diverged, Ending, Resume, Trainer};

#[cfg(test)]
mod tests;
