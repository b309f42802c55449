//! From text to ids: tokenizer, vocabulary, and the encoder that joins them.

pub mod dictionary;
mod encoder;
mod tokenizer;
mod vectors;
mod vocabulary;

pub use encoder::{Corpus, Encoded, Encoder, Encoders, joined};
pub use tokenizer::Tokenizer;
pub use vectors::{Coverage, WordVectors, coverage, read_vectors};
pub use vocabulary::{OOV, PAD, START, Vocabulary};
