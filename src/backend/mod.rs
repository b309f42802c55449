//! Backends compute: the traits that each of them implements, the rule that chooses one, and the
//! backend for the CPU. The training loop, files and commands don't belong here.

mod backends;
mod choice;
mod collective;
pub mod kernel;
mod learner;
pub mod native;
mod times;

pub use backends::{Backend, Backends, Compute, LibtorchDevices};
pub use choice::{WithoutLibtorch, start, start_training};
pub use collective::{Collective, SingleProcess};
pub use learner::{BatchLoss, Inference, LOSS_SCALE, Learner, PreparedBatch, Preparer, StepStats};
pub use times::Times;
