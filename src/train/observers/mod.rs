//! Observers follow a training run: they print, log and save, and never change what is computed. The
//! trainer knows them only by the trait.

mod checkpoints;
mod console;
mod metrics_files;
mod observer;
mod tensorboard;

pub use checkpoints::CheckpointWriter;
pub use console::Console;
pub use metrics_files::MetricsFiles;
pub use observer::{EpochStart, Observer, StepMetrics, Validation};
pub use tensorboard::TensorBoard;
