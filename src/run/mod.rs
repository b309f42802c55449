//! Files of training runs: run directories and their locks, checkpoints, the progress of a run, and the list of runs.
//! Training does not belong here.

pub mod checkpoint;
mod checkpoint_files;
pub mod directory;
pub mod listing;
mod lock;
mod plausible;
pub mod progress;
