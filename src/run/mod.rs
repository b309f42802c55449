//! Files of training runs: run directories and their locks, checkpoints and ensembles of them, the
//! progress of a run, and the list of runs. Training does not belong here.

pub mod checkpoint;
pub mod comparison;
pub mod directory;
pub mod listing;
mod lock;
mod manifest;
pub mod new_run;
mod plausible;
pub mod progress;
pub mod records;
pub mod report;
pub mod saved_model;
pub mod summary;
