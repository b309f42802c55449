//! From text to ids: tokenizer, vocabulary, encoder and pre-trained word vectors. Data files and
//! labels belong elsewhere.

mod character_ngrams;
mod corpus;
mod corpus_builder;
mod corpus_words;
mod encoder;
mod encoders;
mod essence;
mod ids;
mod ngrams;
mod normalization;
mod shared_lengths;
mod splitting;
mod tokenized_texts;
mod tokenizer;
mod unspaced;
mod vocabulary;
pub mod vocabulary_file;
mod word_counts;
mod word_vectors;

pub use character_ngrams::{CharacterNgrams, VocabularyNgrams, WordBuckets};
pub use corpus::Corpus;
pub use corpus_builder::CorpusWriters;
pub use corpus_words::CorpusWords;
pub use encoder::{EncodedWords, Encoder, LocatedText, LocatedToken};
pub use encoders::{Encoders, KnownEncoders, join_columns, trained as trained_subwords};
pub use essence::append_essence;
pub use ids::{Ids, IdsWriter};
pub use ngrams::{NgramIndex, for_each_ngram, word_hash};
pub use normalization::composed;
pub use splitting::Rules;
pub use tokenized_texts::{TokenizedTexts, TokenizedTextsBuilder};
pub use tokenizer::Tokenizer;
pub use unspaced::is_unspaced;
pub use vocabulary::{FIRST_WORD, OOV, PAD, START, Vocabulary};
pub use word_vectors::{
    Coverage, WordVectors, coverage, draw_missing, read_subwords, read_vectors, split_off_subwords,
    subwords_path,
};
