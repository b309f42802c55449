//! The traits that every backend implements, the rule that chooses a backend, and the backend for the
//! CPU. The training loop, files and commands don't belong here.

mod averaging;
mod backends;
mod choice;
mod distributed;
pub mod kernel;
pub mod language_model;
mod learner;
mod memory;
pub mod native;
mod optimizer_state;
mod random_signs;
mod times;

pub use averaging::{Averaging, is_average_state};
pub use backends::{Backend, Backends, Compute, LibtorchDevices};
pub use choice::{WithoutLibtorch, note_slow_bf16, note_unused_gpu, start, start_training};
pub use distributed::{GatheredRows, compute_distributed};
pub use language_model::{
    JointBatch, LanguageModelBatch, LanguageModelLearner, LanguageModelSettings, LanguageModelStats,
};
pub use learner::{
    AddTexts, BatchLoss, Inference, LOSS_SCALE, Learner, PreparedBatch, Preparer, StepStats,
};
pub use memory::{Concurrency, LargestBatch, MemoryEstimate};
pub use optimizer_state::{counts_steps, state_in_order, state_names, tensors_in_order};
pub use random_signs::RandomSigns;
pub use times::Times;
