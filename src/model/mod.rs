//! A network before anything computes: its parameters and their shapes, its initial weights, its
//! summary, their quantization, and their transfer from one model to another. Forward and backward passes belong to the backends.

pub mod branch_scales;
mod composed_embedding;
pub mod initialization;
mod language_model;
pub mod naive_bayes;
pub mod named_tensors;
pub mod parameters;
pub mod pruning;
pub mod quantization;
pub mod summary;
pub mod transfer;

pub use composed_embedding::compose_embeddings;
pub use initialization::initial_weights;
pub use language_model::LanguageModelSpec;
pub use named_tensors::NamedTensor;
pub use parameters::{ModelSpec, Parameter, Role, parameters};
pub use quantization::{QuantizedTensor, StoredTensor};
