//! Subword tokenizers: byte-pair encoding that is trained on texts, and the `tokenizer.json` of Hugging Face's
//! library. Vocabularies, configurations and the choice of a tokenizer belong elsewhere.

mod bpe;
mod bpe_file;
#[cfg(feature = "tokenizers")]
mod hugging_face;
pub mod pieces;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, anyhow};

use self::bpe::Bpe;
use crate::io::files::{RECORDS_LIMIT, read_limited, sha256};

/// A tokenizer with the content of its file.
pub struct Subwords {
    model: Model,
    json: Vec<u8>,
    sha256: String,
}

enum Model {
    /// Byte-pair encoding of lstmtext, and whether texts are converted to lowercase before.
    Bpe { bpe: Bpe, lowercase: bool },
    /// Any other tokenizer.
    #[cfg(feature = "tokenizers")]
    HuggingFace(Box<hugging_face::HuggingFace>),
}

impl Subwords {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or is no usable tokenizer.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let json = read_limited(path, RECORDS_LIMIT)
            .with_context(|| format!("cannot read the tokenizer \"{name}\""))?;
        Self::parse(json).with_context(|| format!("cannot use the tokenizer \"{name}\""))
    }

    /// Parses the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// Returns an error if it is no usable tokenizer.
    pub fn parse(json: Vec<u8>) -> anyhow::Result<Self> {
        let is_bpe = bpe_file::parse(&json).map_err(|message| anyhow!(message))?;
        let model = match is_bpe {
            Some((bpe, lowercase)) => Model::Bpe { bpe, lowercase },
            None => other_model(&json)?,
        };
        let sha256 = sha256(&*json)?;
        Ok(Self { model, json, sha256 })
    }

    /// Trains byte-pair encoding on pieces with their counts. There are at most `size` symbols.
    ///
    /// # Errors
    /// Returns an error if the symbols cannot be written as JSON.
    pub fn train<'p>(
        pieces: impl IntoIterator<Item = (&'p str, u64)>,
        size: usize,
        lowercase: bool,
    ) -> anyhow::Result<Self> {
        let bpe = Bpe::train(pieces, size);
        let json = bpe_file::json(&bpe, lowercase)?;
        let sha256 = sha256(&*json)?;
        Ok(Self { model: Model::Bpe { bpe, lowercase }, json, sha256 })
    }

    /// Content of the file.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// SHA-256 of the content.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns true if it is byte-pair encoding of pieces (see [`pieces`]).
    pub fn splits_pieces(&self) -> bool {
        matches!(self.model, Model::Bpe { .. })
    }

    /// Returns how lstmtext normalizes texts before they are split: `Some(lowercase)` if it composes their
    /// characters and, if true, converts them to lowercase; `None` if the tokenizer normalizes them itself.
    pub fn normalization(&self) -> Option<bool> {
        match &self.model {
            Model::Bpe { lowercase, .. } => Some(*lowercase),
            #[cfg(feature = "tokenizers")]
            Model::HuggingFace(_) => None,
        }
    }

    /// Calls `each` with every token of a piece, whose first character may be the marker of words.
    pub fn split_piece<'p>(&self, piece: &'p str, each: impl FnMut(&'p str)) {
        match &self.model {
            Model::Bpe { bpe, .. } => bpe.split(piece, each),
            #[cfg(feature = "tokenizers")]
            Model::HuggingFace(_) => std::iter::once(piece).for_each(each),
        }
    }

    /// Calls `each` with every token of `text` and its byte range, which is not empty. Ranges overlap if several
    /// tokens belong to one character.
    pub fn split(&self, text: &str, mut each: impl FnMut(&str, Range<usize>)) {
        match &self.model {
            Model::Bpe { bpe, .. } => {
                let mut piece = String::new();
                pieces::pieces(text, |range, begins_word| {
                    piece.clear();
                    piece.extend(begins_word.then_some(pieces::MARKER));
                    // The marker is not in the text.
                    let marker = piece.len();
                    piece.push_str(&text[range.clone()]);
                    let at = |end: usize| range.start + end.saturating_sub(marker);
                    let mut end = 0;
                    bpe.split(&piece, |token| {
                        let start = end;
                        end += token.len();
                        each(token, located(text, at(start), at(end)));
                    });
                });
            }
            #[cfg(feature = "tokenizers")]
            Model::HuggingFace(tokenizer) => {
                tokenizer.split(text, |token, range| {
                    each(token, located(text, range.start, range.end));
                });
            }
        }
    }
}

/// Returns the range of a token, which is extended to whole characters, and to one character if it is empty.
fn located(text: &str, start: usize, end: usize) -> Range<usize> {
    let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let start = (0..=start.min(last)).rev().find(is_boundary).unwrap_or(0);
    let end = (end.max(start + 1)..text.len()).find(is_boundary).unwrap_or(text.len());
    start..end
}

#[cfg(feature = "tokenizers")]
fn other_model(json: &[u8]) -> anyhow::Result<Model> {
    hugging_face::HuggingFace::parse(json).map(|tokenizer| Model::HuggingFace(Box::new(tokenizer)))
}

#[cfg(not(feature = "tokenizers"))]
fn other_model(_: &[u8]) -> anyhow::Result<Model> {
    Err(anyhow!(
        "this lstmtext was built without the feature \"tokenizers\", and reads only the tokenizers of its own runs"
    ))
}

impl PartialEq for Subwords {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl fmt::Debug for Subwords {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Subwords({})", &self.sha256[..8])
    }
}
