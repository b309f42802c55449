//! What a training run leaves on disk: its directory, its checkpoints and its state, and the listing
//! of runs. Nothing here trains.

pub mod checkpoint;
pub mod directory;
pub mod listing;
pub mod progress;
