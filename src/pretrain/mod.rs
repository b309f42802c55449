//! Learning from texts without labels: word vectors and language models. The classifiers that start from them
//! belong in [`train`](crate::train).

mod texts;

pub use texts::{PretrainingTexts, Sources};
