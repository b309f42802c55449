//! Files of training runs: run directories, checkpoints, the progress of a run, and the list of runs.
//! Training does not belong here.

pub mod checkpoint;
pub mod directory;
pub mod listing;
pub mod progress;
