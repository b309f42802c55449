//! The section `text`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_yaml::Value;

use crate::config::fields::section;
use crate::config::types::VocabularySource;
use crate::config::value::{FieldValue, Range, at_least, between, choice};
use crate::subwords::Subwords;

section! {
    /// Text preprocessing: tokenization, vocabulary, truncation and padding.
    pub struct TextConfig {
        /// Tokenizer. keras: split on spaces and remove Keras's filter characters. words: words and
        /// punctuation marks; "n't" and "'s" are separate tokens, and so is every character of a script
        /// without spaces between words, such as Chinese, Japanese and Thai. whitespace: split on
        /// whitespace. characters: one token per character with its marks (grapheme cluster). bpe: subwords,
        /// by byte-pair encoding that is trained on the training texts. A file ending in .json: a
        /// tokenizer.json of Hugging Face's library; its tokens are the words of the vocabulary, special
        /// tokens are not added, and lowercase has no effect.
        tokenizer: TokenizerSetting = TokenizerKind::Words.into();
        /// Maximum number of subwords that bpe learns.
        bpe_size: usize = 8_000, between(10.0, 10_000_000.0);
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
        match self.tokenizer.kind {
            TokenizerKind::Words => self.version >= Self::SPLITS_UNSPACED,
            TokenizerKind::Characters | TokenizerKind::Bpe | TokenizerKind::File => true,
            TokenizerKind::Keras | TokenizerKind::Whitespace => false,
        }
    }
}

/// Tokenizer of an input. Subwords are known once they have been read or trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerSetting {
    /// Kind.
    pub kind: TokenizerKind,
    /// Path of a file.
    path: Option<PathBuf>,
    subwords: OnceLock<Arc<Subwords>>,
}

impl From<TokenizerKind> for TokenizerSetting {
    fn from(kind: TokenizerKind) -> Self {
        Self { kind, path: None, subwords: OnceLock::new() }
    }
}

impl TokenizerSetting {
    /// Subwords of `bpe` and of files; `None` if they are not known yet.
    pub fn subwords(&self) -> Option<&Arc<Subwords>> {
        self.subwords.get()
    }

    /// Returns true for `bpe` that has not been trained.
    pub fn needs_training(&self) -> bool {
        self.kind == TokenizerKind::Bpe && self.subwords().is_none()
    }

    /// Returns true if checkpoints have a file of the subwords.
    pub fn has_subwords(&self) -> bool {
        matches!(self.kind, TokenizerKind::Bpe | TokenizerKind::File)
    }

    /// Sets the subwords, unless they are known.
    pub fn set_subwords(&self, subwords: Arc<Subwords>) {
        let _ = self.subwords.set(subwords);
    }

    /// Reads the file, unless its content is known.
    ///
    /// # Errors
    /// Returns an error if it cannot be read, or is no tokenizer.
    pub fn read_file(&self) -> anyhow::Result<()> {
        if let (Some(path), None) = (&self.path, self.subwords()) {
            self.set_subwords(Arc::new(Subwords::read(path)?));
        }
        Ok(())
    }

    /// Returns a name that tells tokenizers apart: that of the kind, and part of the hash of the subwords.
    pub fn identity(&self) -> String {
        match self.subwords() {
            Some(subwords) => format!("{} {}", self.kind.as_str(), &subwords.sha256()[..8]),
            None => self.kind.as_str().to_owned(),
        }
    }
}

impl FieldValue for TokenizerSetting {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        let kind = TokenizerKind::from_yaml(value).filter(|kind| *kind != TokenizerKind::File);
        if let Some(kind) = kind {
            return Some(kind.into());
        }
        let path = PathBuf::from_yaml(value)?;
        path.extension().filter(|extension| extension.eq_ignore_ascii_case("json"))?;
        Some(Self { path: Some(path), ..TokenizerKind::File.into() })
    }
    fn to_yaml(&self) -> Value {
        match &self.path {
            Some(path) => path.to_yaml(),
            None => self.kind.to_yaml(),
        }
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        let mut alternatives = TokenizerKind::alternatives(range);
        alternatives.pop();
        alternatives.push("the path of a .json file".to_owned());
        alternatives
    }
    fn absolute(self) -> Self {
        Self { path: self.path.map(FieldValue::absolute), ..self }
    }
}

choice! {
    /// Kind of a tokenizer.
    pub enum TokenizerKind {
        /// Keras's Tokenizer.
        Keras = "keras",
        /// Words and punctuation marks.
        Words = "words",
        /// Split on whitespace.
        Whitespace = "whitespace",
        /// One token per character.
        Characters = "characters",
        /// Byte-pair encoding that is trained on the training texts.
        Bpe = "bpe",
        /// File of Hugging Face's library.
        File = "file",
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
