//! Sweeps: the directory of runs, the processes that train them, and the leaderboard. The section
//! `sweep` of a configuration and its points belong to [`crate::config`].

mod directory;
mod finished;
mod jobs;
mod leaderboard;
mod names;
mod process;

pub use directory::{RunState, SweepDirectory, SweepRun};
pub use finished::{FinishedRun, MeanAndDeviation, TestScores};
pub use jobs::{Failure, Jobs};
pub use leaderboard::Leaderboard;
pub use names::{Labels, unquoted};
pub use process::{Launch, PROCESS_POLL, TrainingProcess, was_stopped};
