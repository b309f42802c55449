//! The backend that computes on the CPU with the [`kernel`](crate::backend::kernel), without
//! libtorch. Files and the training loop don't belong here.

mod branch;
mod dropout;
mod engine;
mod head;
mod learner;
mod network;
mod optimizer;
mod sharding;

pub use branch::CellStates;
pub use dropout::Dropout;
pub use engine::NativeBackend;
pub use learner::{NativeInference, NativeLearner, initial_optimizer_state};
pub use network::{Gradients, Network, RowGradient, Weight};
pub use sharding::{BatchSharder, SequenceBlock, Shard, ShardTexts, ShardedBatch};

#[cfg(test)]
mod tests;
