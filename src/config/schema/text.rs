//! The section `text`.

use crate::config::fields::section;
use crate::config::types::VocabularySource;
use crate::config::value::{at_least, between, choice};

section! {
    /// Text preprocessing: tokenization, vocabulary, truncation and padding.
    pub struct TextConfig {
        /// Tokenizer. keras: split on spaces and remove Keras's filter characters. words: words and
        /// punctuation marks; "n't" and "'s" are separate tokens, and so is every character of a script
        /// without spaces between words, such as Chinese, Japanese and Thai. whitespace: split on
        /// whitespace. characters: one token per character with its marks (grapheme cluster).
        tokenizer: TokenizerKind = TokenizerKind::Words;
        /// Convert text to lowercase.
        lowercase: bool = true;
        /// Replace HTML tags such as <br /> with spaces.
        strip_tags: bool = true;
        /// Maximum size of the vocabulary, including the four special ids (num_words in Keras).
        vocabulary_size: usize = 20_000, between(5.0, 50_000_000.0);
        /// Minimum number of occurrences in the training examples. Rarer words become OOV.
        min_count: u64 = 2, at_least(1.0);
        /// Maximum sequence length in tokens. Longer texts are truncated.
        max_length: usize = 400, between(1.0, 1_000_000.0);
        /// Part of a long text that is removed. front: the start. back: the end. middle: the middle,
        /// which keeps both ends.
        truncate: Truncate = Truncate::Middle;
        /// Side of the padding. back: pad at the end and mask the padding. front: pad every text at
        /// the start, up to max_length, without a mask: the LSTM processes the padding, as in Keras
        /// without masking.
        pad: PadSide = PadSide::Back;
        /// Add a START token at the start of every text.
        start_token: bool = false;
        /// Maximum number of tokens in a training example. Longer examples are dropped after the
        /// vocabulary is built; so are validation examples split off from the training data, but not
        /// test examples. null: no limit.
        train_max_length: Option<usize> = None, at_least(1.0);
        /// Vocabulary file, written by lstmtext data vocab, which replaces the vocabulary of the
        /// training examples. Its first vocabulary_size ids are used. checkpoint: the words, and the
        /// counted n-grams, of the model in train.from. null: those of the training examples; with
        /// train.from, those of that model, followed by new ones.
        vocabulary: VocabularySource = VocabularySource::Counted;
        /// Version of the tokenizers' rules. Models keep the rules that they were trained with. 1:
        /// lstmtext 0.1. 2: characters are composed (NFC), so that equivalent spellings are the same
        /// word; combining marks, joiners and emoji sequences are not separated from their character;
        /// the lower case of Σ depends on its position, that of İ is i (i̇ with keras). 3: words splits
        /// scripts without spaces into characters.
        version: u64 = 3, between(1.0, 3.0);
    }
}

impl TextConfig {
    /// First version by which words of scripts without spaces are split into characters.
    pub const SPLITS_UNSPACED: u64 = 3;

    /// Returns true for texts that are tokenized by the rules of lstmtext 0.1.
    pub fn has_first_rules(&self) -> bool {
        self.version == 1
    }

    /// Returns true if words of scripts without spaces are split into characters.
    pub fn splits_unspaced_scripts(&self) -> bool {
        match self.tokenizer {
            TokenizerKind::Words => self.version >= Self::SPLITS_UNSPACED,
            TokenizerKind::Characters => true,
            TokenizerKind::Keras | TokenizerKind::Whitespace => false,
        }
    }
}

choice! {
    /// Tokenizer.
    pub enum TokenizerKind {
        /// Keras's Tokenizer.
        Keras = "keras",
        /// Words and punctuation marks.
        Words = "words",
        /// Split on whitespace.
        Whitespace = "whitespace",
        /// One token per character.
        Characters = "characters",
    }
}

choice! {
    /// Part of a long text that is removed.
    pub enum Truncate {
        /// The start.
        Front = "front",
        /// The end.
        Back = "back",
        /// The middle.
        Middle = "middle",
    }
}

choice! {
    /// Side of the padding.
    pub enum PadSide {
        /// At the start, processed by the LSTM.
        Front = "front",
        /// At the end, masked.
        Back = "back",
    }
}
