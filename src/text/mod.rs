//! From text to ids: tokenizer, vocabulary, and the encoder that joins them.

pub mod dictionary;
mod encoder;
mod ids;
mod tokenized_texts;
mod tokenizer;
mod vocabulary;
mod word_vectors;

pub use encoder::{Corpus, Dataset, Encoder, Encoders, LocatedToken, joined};
pub use ids::{Ids, IdsWriter};
pub use tokenized_texts::{Tokenization, TokenizedTexts};
pub use tokenizer::Tokenizer;
pub use vocabulary::{FIRST_WORD, OOV, PAD, START, Vocabulary};
pub use word_vectors::{Coverage, WordVectors, coverage, read_vectors};
