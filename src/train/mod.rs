//! The training loop, its learning rate schedule, its observers, and the set-up of a run. The computation
//! of a step belongs to the backends.

mod diagnosis;
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

pub use resume::Resume;
pub use trainer::{Diverged, Ending, Trainer};
pub use unlabelled::UnlabelledTexts;

#[cfg(test)]
mod tests;
