//! Text to tokens.

use crate::config::{TextConfig, TokenizerKind};

/// The characters that Keras's `Tokenizer` turns into spaces.
const KERAS_FILTERS: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n";

/// What follows an apostrophe in an English contraction that is a token of its own.
const CONTRACTIONS: [&str; 6] = ["s", "re", "ve", "ll", "d", "m"];

/// A tag longer than this is taken for text with a stray "<".
const LONGEST_TAG: usize = 200;

/// Cuts texts into tokens. Holds a buffer, so that no token costs an allocation.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: TokenizerKind,
    lowercase: bool,
    strip_tags: bool,
    buffer: String,
}

impl Tokenizer {
    /// The tokenizer that the configuration describes.
    pub fn new(config: &TextConfig) -> Self {
        Self {
            kind: config.tokenizer,
            lowercase: config.lowercase,
            strip_tags: config.strip_tags,
            buffer: String::new(),
        }
    }

    /// Calls `each` with every token of `text` in turn.
    pub fn tokens(&mut self, text: &str, each: impl FnMut(&str)) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.normalize(text, &mut buffer);
        match self.kind {
            TokenizerKind::Keras => keras(&buffer, each),
            TokenizerKind::Words => words(&buffer, each),
            TokenizerKind::Whitespace => buffer.split_whitespace().for_each(each),
            TokenizerKind::Characters => characters(&buffer, each),
        }
        self.buffer = buffer;
    }

    /// Everything that changes characters, before any is split.
    fn normalize(&self, text: &str, out: &mut String) {
        let mut rest = text;
        while self.strip_tags && !rest.is_empty() {
            let Some(start) = rest.find('<') else { break };
            self.push(&rest[..start], out);
            match tag_length(&rest[start..]) {
                Some(length) => {
                    out.push(' ');
                    rest = &rest[start + length..];
                }
                None => {
                    out.push('<');
                    rest = &rest[start + 1..];
                }
            }
        }
        self.push(rest, out);
    }

    fn push(&self, text: &str, out: &mut String) {
        if text.is_ascii() {
            let start = out.len();
            out.push_str(text);
            if self.lowercase {
                out[start..].make_ascii_lowercase();
            }
            return;
        }
        for character in text.chars() {
            match character {
                // The splitter knows one apostrophe.
                '’' if self.kind == TokenizerKind::Words => out.push('\''),
                _ if self.lowercase => out.extend(character.to_lowercase()),
                _ => out.push(character),
            }
        }
    }
}

/// The bytes of the HTML tag that `text`, which begins with "<", begins with.
fn tag_length(text: &str) -> Option<usize> {
    let inside = text[1..].chars().next()?;
    if !(inside.is_ascii_alphabetic() || inside == '/' || inside == '!') {
        return None;
    }
    let end = text[1..].find(['<', '>'])? + 1;
    (text.as_bytes()[end] == b'>' && end <= LONGEST_TAG).then_some(end + 1)
}

fn keras(text: &str, each: impl FnMut(&str)) {
    let separator = |c: char| c == ' ' || (c.is_ascii() && KERAS_FILTERS.contains(c));
    text.split(separator).filter(|token| !token.is_empty()).for_each(each);
}

fn characters(text: &str, mut each: impl FnMut(&str)) {
    for (start, character) in text.char_indices() {
        each(&text[start..start + character.len_utf8()]);
    }
}

/// Words, and every other character that is no space. "don't" gives "do" and "n't", "it's" gives
/// "it" and "'s", as in the Penn Treebank; other apostrophes inside a word stay in it.
fn words(text: &str, mut each: impl FnMut(&str)) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !first.is_alphanumeric() {
            let (token, tail) = rest.split_at(first.len_utf8());
            if !first.is_whitespace() {
                each(token);
            }
            rest = tail;
            continue;
        }
        let (word, tail) = rest.split_at(word_length(rest));
        rest = tail;
        let stem = &word[..stem_length(word)];
        each(stem);
        if stem.len() < word.len() {
            each(&word[stem.len()..]);
        }
    }
}

/// The bytes of the word at the start of `text`, apostrophes between letters included.
fn word_length(text: &str) -> usize {
    let mut end = 0;
    loop {
        end += text[end..].find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len() - end);
        let joins = text[end..].starts_with('\'')
            && text[end + 1..].chars().next().is_some_and(char::is_alphanumeric);
        if !joins {
            return end;
        }
        end += 1;
    }
}

/// The bytes of `word` before its contraction, all of it where it has none.
fn stem_length(word: &str) -> usize {
    let Some(apostrophe) = word.rfind('\'') else { return word.len() };
    let suffix = &word[apostrophe + 1..];
    let stem = &word[..apostrophe];
    if suffix.eq_ignore_ascii_case("t") && stem.len() > 1 && stem.ends_with(['n', 'N']) {
        return apostrophe - 1;
    }
    match CONTRACTIONS.iter().any(|known| suffix.eq_ignore_ascii_case(known)) {
        true => apostrophe,
        false => word.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(kind: TokenizerKind, text: &str) -> Vec<String> {
        let mut tokenizer =
            Tokenizer { kind, lowercase: true, strip_tags: true, buffer: String::new() };
        let mut tokens = Vec::new();
        tokenizer.tokens(text, |token| tokens.push(token.to_owned()));
        tokens
    }

    #[test]
    fn words_keep_punctuation_and_contractions() {
        assert_eq!(
            split(TokenizerKind::Words, "I DON'T know, it's O'Brien’s!<br /><br />10/10"),
            ["i", "do", "n't", "know", ",", "it", "'s", "o'brien", "'s", "!", "10", "/", "10"]
        );
        assert_eq!(
            split(TokenizerKind::Words, "'tis 5 < 6 n't rock 'n' roll"),
            ["'", "tis", "5", "<", "6", "n't", "rock", "'", "n", "'", "roll"]
        );
        assert_eq!(
            split(TokenizerKind::Words, "Ça va, ΣΑΣ 中文"),
            ["ça", "va", ",", "σασ", "中文"]
        );
    }

    #[test]
    fn keras_filters_and_splits_as_keras_does() {
        assert_eq!(
            split(TokenizerKind::Keras, "Well-made; don't miss_it\n(br) \u{a0}x"),
            ["well", "made", "don't", "miss", "it", "br", "\u{a0}x"]
        );
    }

    #[test]
    fn characters_are_tokens_spaces_included() {
        assert_eq!(split(TokenizerKind::Characters, "Aé b"), ["a", "é", " ", "b"]);
    }

    #[test]
    fn tags_vanish_and_stray_angles_stay() {
        assert_eq!(
            split(TokenizerKind::Whitespace, "a<br/>b <i>c</i> 1 < 2 <x"),
            ["a", "b", "c", "1", "<", "2", "<x"]
        );
        assert_eq!(split(TokenizerKind::Whitespace, "<b <br>"), ["<b"]);
    }

    #[test]
    fn no_text_no_tokens() {
        for kind in [
            TokenizerKind::Words,
            TokenizerKind::Keras,
            TokenizerKind::Whitespace,
            TokenizerKind::Characters,
        ] {
            assert!(split(kind, "").is_empty());
        }
    }
}
