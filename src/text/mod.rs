//! From text to ids: tokenizer, vocabulary, and the encoder that joins them.

mod corpus;
pub mod dictionary;
mod encoder;
mod encoders;
mod ids;
mod tokenized_texts;
mod tokenizer;
mod vocabulary;
mod word_vectors;

pub use corpus::Corpus;
pub use encoder::{Encoder, LocatedToken};
pub use encoders::{Encoders, joined};
pub use ids::{Ids, IdsWriter};
pub use tokenized_texts::{Tokenization, TokenizedTexts};
pub use tokenizer::Tokenizer;
pub use vocabulary::{FIRST_WORD, OOV, PAD, START, Vocabulary};
pub use word_vectors::{Coverage, WordVectors, coverage, read_vectors};
