//! The network on the CPU without libtorch, on the [`kernel`](crate::backend::kernel).

mod branch;
mod dropout;
mod head;
mod learner;
mod network;
mod optimizer;
mod sharding;

pub use dropout::Dropout;
pub use head::{CrossEntropy, LogOdds, Objective, log_odds};
pub use learner::{NativeBatch, NativeClassifier, NativeLearner};
pub use network::{Gradients, Network, Parameter, RowGradient};
pub use sharding::{BatchSharder, SequenceBlock, Shard, ShardedBatch, Texts};
