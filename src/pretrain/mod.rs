//! Learning from texts without labels: word vectors and language models. The classifiers that start from them
//! belong in [`train`](crate::train).

pub mod language_model;
mod texts;
mod vectors;

pub use texts::PretrainingTexts;
pub use vectors::{LearnedVectors, VectorLearning, VectorProgress};
