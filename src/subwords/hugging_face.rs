//! Tokenizers of Hugging Face's library.

use std::ops::Range;

use anyhow::{anyhow, bail};
use tokenizers::models::ModelWrapper;
use tokenizers::{
    Model, NormalizedString, OffsetType, PreTokenizedString, PreTokenizer, Token, Tokenizer,
};

use crate::output::catch_panic;

/// Text with characters that few vocabularies have, to find tokenizers that fail on unknown characters.
const PROBE: &str = "A b\u{301}c 10/10, 很 \u{1F984}\u{10FFFD}";

/// A tokenizer as its file describes it. Its special tokens are not added, and it neither truncates nor pads.
pub struct HuggingFace {
    tokenizer: Tokenizer,
    /// Id of the token of unknown characters or words. In its place, texts keep them.
    unknown: Option<u32>,
}

impl HuggingFace {
    /// Parses a `tokenizer.json`.
    ///
    /// # Errors
    /// Returns an error if it is not valid, or fails on unknown characters.
    pub fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let parsed = catch_panic(|| Tokenizer::from_bytes(json));
        let tokenizer = match parsed {
            Some(Ok(tokenizer)) => tokenizer,
            Some(Err(error)) => {
                bail!("it is not a tokenizer.json of Hugging Face's library: {error}")
            }
            None => bail!("it is not a valid tokenizer.json of Hugging Face's library"),
        };
        let unknown = match tokenizer.get_model() {
            ModelWrapper::BPE(model) => {
                model.get_unk_token().as_ref().and_then(|token| model.token_to_id(token))
            }
            ModelWrapper::WordPiece(model) => model.token_to_id(&model.unk_token),
            ModelWrapper::WordLevel(model) => model.token_to_id(&model.unk_token),
            // Its unknown tokens are texts.
            ModelWrapper::Unigram(_) => None,
        };
        let this = Self { tokenizer, unknown };
        match catch_panic(|| this.encode(PROBE)) {
            Some(Ok(_)) => Ok(this),
            Some(Err(error)) => Err(anyhow!("it fails on some texts: {error}")),
            None => Err(anyhow!("it fails on some texts")),
        }
    }

    /// Calls `each` with every token of `text` and its byte range. A text on which the library fails is a token.
    pub fn split(&self, text: &str, mut each: impl FnMut(&str, Range<usize>)) {
        match catch_panic(|| self.encode(text)) {
            Some(Ok(encoding)) => {
                let tokens = encoding.get_tokens().iter().zip(encoding.get_offsets());
                for (token, (start, end)) in tokens.filter(|(token, _)| !token.is_empty()) {
                    each(token, *start..*end);
                }
            }
            _ => each(text, 0..text.len()),
        }
    }

    fn encode(&self, text: &str) -> tokenizers::Result<tokenizers::Encoding> {
        let Self { tokenizer, unknown } = self;
        let added = tokenizer.get_added_vocabulary();
        let mut splits: PreTokenizedString =
            added.extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(splitter) = tokenizer.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut splits)?;
        }
        splits.tokenize(|split: &NormalizedString| {
            let mut tokens: Vec<Token> = tokenizer.get_model().tokenize(split.get())?;
            for token in tokens.iter_mut().filter(|token| Some(token.id) == *unknown) {
                if let Some(text) = split.get().get(token.offsets.0..token.offsets.1) {
                    text.clone_into(&mut token.value);
                }
            }
            Ok(tokens)
        })?;
        splits.into_encoding(None, 0, OffsetType::Byte)
    }
}
