//! The training loop, its learning rate schedule, its observers, and the set-up of a run. The computation
//! of a step belongs to the backends.

mod added_texts;
mod diagnosis;
mod language_model_texts;
pub mod layer_rates;
mod lbfgs;
pub mod observers;
mod output_fit;
pub mod range_test;
mod resume;
pub mod schedule;
pub mod setup;
mod step_texts;
mod trainer;
mod unlabelled;

pub use added_texts::{AddedBatches, AddedTexts};
pub use resume::Resume;
pub use trainer::{Diverged, Ending, Trainer};

#[cfg(test)]
mod tests;
