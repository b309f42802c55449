//! Files of training runs: run directories and their locks, checkpoints and ensembles of them, the
//! progress of a run, and the list of runs. Training does not belong here.

pub mod checkpoint;
#[cfg(feature = "train")]
pub mod comparison;
pub mod directory;
pub mod language_model;
#[cfg(feature = "train")]
pub mod listing;
pub mod lock;
mod manifest;
#[cfg(feature = "train")]
pub mod new_run;
mod plausible;
pub mod progress;
pub mod records;
#[cfg(feature = "train")]
pub mod report;
pub mod saved_model;
pub mod summary;
