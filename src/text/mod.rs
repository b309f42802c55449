//! From text to ids: tokenizer, vocabulary, and the encoder that joins them.

pub mod dictionary;
mod encoder;
mod ids;
mod tokenizer;
mod tokens;
mod vectors;
mod vocabulary;

pub use encoder::{Corpus, Encoded, Encoder, Encoders, LocatedToken, joined};
pub use ids::{Ids, IdsWriter};
pub use tokenizer::Tokenizer;
pub use tokens::{Tokenization, Tokens};
pub use vectors::{Coverage, WordVectors, coverage, read_vectors};
pub use vocabulary::{FIRST_WORD, OOV, PAD, START, Vocabulary};
