//! Text to tokens.

use std::ops::Range;

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
        self.split(&buffer, each);
        self.buffer = buffer;
    }

    /// Calls `each` with every token of `text` and its place there in bytes.
    pub fn located(&mut self, text: &str, mut each: impl FnMut(&str, Range<usize>)) {
        // Cut character by character, so that what each becomes is known; a token stands where the
        // characters that its first and last came from stand.
        let mut origins: Vec<Range<usize>> = Vec::new();
        let mut normalized = String::new();
        self.pieces(text, |piece| match piece {
            Piece::Text(start, characters) => {
                for (offset, character) in characters.char_indices() {
                    let origin = start + offset..start + offset + character.len_utf8();
                    self.push(&characters[offset..offset + character.len_utf8()], &mut normalized);
                    origins.resize(normalized.len(), origin);
                }
            }
            Piece::Tag(origin) => {
                normalized.push(' ');
                origins.push(origin);
            }
        });
        let begin = normalized.as_ptr() as usize;
        self.split(&normalized, |token| {
            // Every token is a part of what is split.
            let first = token.as_ptr() as usize - begin;
            let (from, to) = (&origins[first], &origins[first + token.len() - 1]);
            each(token, from.start..to.end);
        });
    }

    fn split(&self, text: &str, each: impl FnMut(&str)) {
        match self.kind {
            TokenizerKind::Keras => keras(text, each),
            TokenizerKind::Words => words(text, each),
            TokenizerKind::Whitespace => text.split_whitespace().for_each(each),
            TokenizerKind::Characters => characters(text, each),
        }
    }

    /// Everything that changes characters, before any is split.
    fn normalize(&self, text: &str, out: &mut String) {
        self.pieces(text, |piece| match piece {
            Piece::Text(_, text) => self.push(text, out),
            Piece::Tag(_) => out.push(' '),
        });
    }

    /// Calls `each` with the parts of a text between HTML tags, and with the tags.
    fn pieces<'a>(&self, text: &'a str, mut each: impl FnMut(Piece<'a>)) {
        // Where the text begins that was not handed on yet, and where to look for the next tag.
        let (mut begin, mut look) = (0, 0);
        let next = |look: usize| self.strip_tags.then(|| text[look..].find('<'))?;
        while let Some(found) = next(look) {
            let start = look + found;
            match tag_length(&text[start..]) {
                Some(length) => {
                    each(Piece::Text(begin, &text[begin..start]));
                    each(Piece::Tag(start..start + length));
                    (begin, look) = (start + length, start + length);
                }
                None => look = start + 1,
            }
        }
        each(Piece::Text(begin, &text[begin..]));
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

/// A part of a text.
enum Piece<'a> {
    /// Where it begins, and its characters.
    Text(usize, &'a str),
    /// Where an HTML tag stands, which becomes a space.
    Tag(Range<usize>),
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
    use proptest::prelude::*;

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
    fn tokens_stand_where_their_characters_do() {
        let text = "A<br />ÇA’s ΣΑΣ <x İ!";
        let mut tokenizer = Tokenizer {
            kind: TokenizerKind::Words,
            lowercase: true,
            strip_tags: true,
            buffer: String::new(),
        };
        let mut found = Vec::new();
        tokenizer.located(text, |token, span| found.push((token.to_owned(), &text[span])));
        let expected = [
            ("a", "A"),
            ("ça", "ÇA"),
            ("'s", "’s"),
            ("σασ", "ΣΑΣ"),
            ("<", "<"),
            ("x", "x"),
            ("i", "İ"),
            ("\u{307}", "İ"),
            ("!", "!"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(token, place)| ((*token).to_owned(), *place)).collect();
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn located_tokens_are_the_tokens(
            text in "([a-zA-Z0-9<>/' ’ÉİΣß中\\-]|<br />|n't){0,24}",
            kind in prop::sample::select(vec![
                TokenizerKind::Words,
                TokenizerKind::Keras,
                TokenizerKind::Whitespace,
                TokenizerKind::Characters,
            ]),
            lowercase: bool,
            strip_tags: bool,
        ) {
            let mut tokenizer = Tokenizer { kind, lowercase, strip_tags, buffer: String::new() };
            let mut tokens = Vec::new();
            tokenizer.tokens(&text, |token| tokens.push(token.to_owned()));
            let (mut located, mut end) = (Vec::new(), 0);
            tokenizer.located(&text, |token, span| {
                located.push(token.to_owned());
                // In order, and each a part of the text.
                assert!(span.start < span.end && text.get(span.clone()).is_some());
                assert!(span.end >= end);
                end = span.end;
            });
            prop_assert_eq!(located, tokens);
        }
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
