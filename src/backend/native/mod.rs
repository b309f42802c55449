//! The backend that computes on the CPU with the [`kernel`](crate::backend::kernel), without
//! libtorch. Files and the training loop don't belong here.

mod average;
mod backend;
mod branch;
mod dropout;
mod gradients;
mod head;
mod idle;
mod language_model;
mod learner;
mod network;
mod ngrams;
mod optimizer;
mod perturbation;
mod process_sum;
mod row_numbers;
mod shard_sum;
mod shard_tree;
mod sharding;
mod subwords;
mod update;
mod weight;

pub use backend::NativeBackend;
pub use branch::{CellStates, SequenceStates};
pub use dropout::Dropout;
pub use gradients::{Gradients, RowGradient};
pub use language_model::NativeLanguageModel;
pub use learner::{NativeInference, NativeLearner, initial_optimizer_state};
pub use network::{Network, UnlabelledTerms, VirtualPerturbation};
pub use perturbation::{Normalization, Perturbation};
pub use sharding::{BatchSharder, SequenceBlock, Shard, ShardTexts, ShardedBatch};
pub use weight::Weight;

#[cfg(test)]
mod tests;
