//! Splits texts into tokens.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

use crate::config::{TextConfig, TokenizerKind};

/// Characters that Keras's `Tokenizer` replaces with spaces.
const KERAS_FILTERS: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n";

/// Endings of English contractions, such as "'ve", that become tokens of their own.
const CONTRACTIONS: [&str; 6] = ["s", "re", "ve", "ll", "d", "m"];

/// Maximum length of an HTML tag in bytes. Anything longer is text with a stray "<".
const MAX_TAG_LENGTH: usize = 200;

/// Splits texts into tokens, reusing a buffer for the normalized text.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: TokenizerKind,
    lowercase: bool,
    strip_tags: bool,
    buffer: String,
}

impl Tokenizer {
    /// Creates the configured tokenizer.
    pub fn new(config: &TextConfig) -> Self {
        Self {
            kind: config.tokenizer,
            lowercase: config.lowercase,
            strip_tags: config.strip_tags,
            buffer: String::new(),
        }
    }

    /// Appends to `out` what no tokenizer ignores in `text`: its words in lower case, each followed by
    /// a space, without punctuation in ASCII and HTML tags. If a text has no words, the punctuation
    /// stays. Texts of words that a tokenizer reads alike, without their tags, give the same result.
    pub fn append_essence(text: &str, out: &mut String) {
        let tokenizer = Self {
            kind: TokenizerKind::Words,
            lowercase: true,
            strip_tags: true,
            buffer: String::new(),
        };
        let mut normalized = String::new();
        match text.is_ascii() {
            true => tokenizer.normalize(text, &mut normalized),
            false => tokenizer.normalize(&text.nfc().collect::<String>(), &mut normalized),
        }
        let start = out.len();
        let mut in_word = false;
        for character in normalized.chars().chain([' ']) {
            let is_ignored = character.is_ascii_punctuation() || character.is_whitespace();
            if !is_ignored {
                out.push(character);
            } else if in_word {
                out.push(' ');
            }
            in_word = !is_ignored;
        }
        if out.len() == start {
            normalized.split_whitespace().for_each(|word| *out += word);
        }
    }

    /// Calls `each` with every token of `text` in order.
    pub fn tokens(&mut self, text: &str, each: impl FnMut(&str)) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.normalize(text, &mut buffer);
        self.split(&buffer, each);
        self.buffer = buffer;
    }

    /// Calls `each` with every token of `text` and its byte range in the text.
    pub fn tokens_with_spans(&mut self, text: &str, mut each: impl FnMut(&str, Range<usize>)) {
        // Normalizes character by character and records the origin of every normalized byte. The
        // span of a token runs from the origin of its first byte to that of its last.
        let mut origins: Vec<Range<usize>> = Vec::new();
        let mut normalized = String::new();
        self.segments(text, |segment| match segment {
            Segment::Text(start, characters) => {
                for (offset, character) in characters.char_indices() {
                    let origin = start + offset..start + offset + character.len_utf8();
                    self.push(&characters[offset..offset + character.len_utf8()], &mut normalized);
                    origins.resize(normalized.len(), origin);
                }
            }
            Segment::Tag(origin) => {
                normalized.push(' ');
                origins.push(origin);
            }
        });
        let begin = normalized.as_ptr() as usize;
        self.split(&normalized, |token| {
            // Tokens are slices of `normalized`.
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

    /// Appends the normalized text to `out`.
    fn normalize(&self, text: &str, out: &mut String) {
        self.segments(text, |segment| match segment {
            Segment::Text(_, text) => self.push(text, out),
            Segment::Tag(_) => out.push(' '),
        });
    }

    /// Splits a text into HTML tags and the text between them, and calls `each` with every segment.
    fn segments<'a>(&self, text: &'a str, mut each: impl FnMut(Segment<'a>)) {
        // Start of the current segment, and position from which to search for the next tag.
        let (mut begin, mut search) = (0, 0);
        let next = |search: usize| self.strip_tags.then(|| text[search..].find('<'))?;
        while let Some(offset) = next(search) {
            let start = search + offset;
            match tag_length(&text[start..]) {
                Some(length) => {
                    each(Segment::Text(begin, &text[begin..start]));
                    each(Segment::Tag(start..start + length));
                    (begin, search) = (start + length, start + length);
                }
                None => search = start + 1,
            }
        }
        each(Segment::Text(begin, &text[begin..]));
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
                // `words` splits contractions at the ASCII apostrophe only.
                '’' if self.kind == TokenizerKind::Words => out.push('\''),
                _ if self.lowercase => out.extend(character.to_lowercase()),
                _ => out.push(character),
            }
        }
    }
}

enum Segment<'a> {
    /// Text, with its start.
    Text(usize, &'a str),
    /// Byte range of an HTML tag, which is replaced with a space.
    Tag(Range<usize>),
}

/// Returns the length of the HTML tag at the start of `text`, which begins with "<".
fn tag_length(text: &str) -> Option<usize> {
    let inside = text[1..].chars().next()?;
    if !(inside.is_ascii_alphabetic() || inside == '/' || inside == '!') {
        return None;
    }
    let end = text[1..].find(['<', '>'])? + 1;
    (text.as_bytes()[end] == b'>' && end <= MAX_TAG_LENGTH).then_some(end + 1)
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

/// Splits off words, and every other character except white space. Contractions are split as in the
/// Penn Treebank: "don't" becomes "do" and "n't", "it's" becomes "it" and "'s". Other apostrophes
/// within a word remain part of it.
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

/// Returns the length of the word at the start of `text`, including apostrophes between letters.
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

/// Returns the length of `word` without its contraction.
fn stem_length(word: &str) -> usize {
    let Some(apostrophe) = word.rfind('\'') else { return word.len() };
    let suffix = &word[apostrophe + 1..];
    let stem = &word[..apostrophe];
    if suffix.eq_ignore_ascii_case("t") && stem.len() > 1 && stem.ends_with(['n', 'N']) {
        return apostrophe - 1;
    }
    match CONTRACTIONS.iter().any(|ending| suffix.eq_ignore_ascii_case(ending)) {
        true => apostrophe,
        false => word.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
    fn characters_include_spaces() {
        assert_eq!(split(TokenizerKind::Characters, "Aé b"), ["a", "é", " ", "b"]);
    }

    #[test]
    fn tags_are_removed_and_stray_angle_brackets_kept() {
        assert_eq!(
            split(TokenizerKind::Whitespace, "a<br/>b <i>c</i> 1 < 2 <x"),
            ["a", "b", "c", "1", "<", "2", "<x"]
        );
        assert_eq!(split(TokenizerKind::Whitespace, "<b <br>"), ["<b"]);
    }

    #[test]
    fn spans_cover_the_original_characters() {
        let text = "A<br />ÇA’s ΣΑΣ <x İ!";
        let mut tokenizer = Tokenizer {
            kind: TokenizerKind::Words,
            lowercase: true,
            strip_tags: true,
            buffer: String::new(),
        };
        let mut actual = Vec::new();
        tokenizer
            .tokens_with_spans(text, |token, span| actual.push((token.to_owned(), &text[span])));
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
            expected.iter().map(|(token, source)| ((*token).to_owned(), *source)).collect();
        assert_eq!(actual, expected);
    }

    proptest! {
        #[test]
        fn tokens_with_spans_equal_tokens(
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
            let (mut spanned, mut end) = (Vec::new(), 0);
            tokenizer.tokens_with_spans(&text, |token, span| {
                spanned.push(token.to_owned());
                // Spans are in order and lie on character boundaries.
                assert!(span.start < span.end && text.get(span.clone()).is_some());
                assert!(span.end >= end);
                end = span.end;
            });
            prop_assert_eq!(spanned, tokens);
        }
    }

    fn essence(text: &str) -> String {
        let mut out = String::new();
        Tokenizer::append_essence(text, &mut out);
        out
    }

    #[test]
    fn the_essence_of_a_text_is_its_words() {
        for text in ["A  caf\u{e9}<br />bar ", "a cafe\u{301} bar", "(A) \u{a0}CAF\u{c9}-bar!"] {
            assert_eq!(essence(text), "a caf\u{e9} bar ", "{text}");
        }
        assert_eq!(essence("It’s"), essence("it's"));
        assert_ne!(essence("fine 😀"), essence("fine 😡"));
        assert_eq!(
            (essence(" :) "), essence(""), essence("<br/>")),
            (":)".into(), String::new(), String::new())
        );
    }

    proptest! {
        /// The essence is a function of the tokens of any tokenizer.
        #[test]
        fn texts_with_equal_tokens_have_the_same_essence(
            texts in prop::collection::vec("([ab]|A|É|e\u{301}|’|'|n't|-|!|  ?|<br />|\u{a0}){0,4}", 2..30),
            kind in prop::sample::select(vec![
                TokenizerKind::Words,
                TokenizerKind::Keras,
                TokenizerKind::Whitespace,
                TokenizerKind::Characters,
            ]),
            lowercase: bool,
        ) {
            let mut tokenizer = Tokenizer { kind, lowercase, strip_tags: true, buffer: String::new() };
            let mut essences: HashMap<Vec<String>, (String, &str)> = HashMap::new();
            for text in &texts {
                // A text without words keeps its punctuation, which keras ignores.
                let mut tokens = Vec::new();
                tokenizer.tokens(text, |token| tokens.push(token.to_owned()));
                if !tokens.iter().any(|token| token.contains(char::is_alphanumeric)) {
                    continue;
                }
                let (first, other) = essences.entry(tokens).or_insert((essence(text), text));
                prop_assert_eq!(&*first, &essence(text), "{:?} and {:?}", other, text);
            }
        }
    }

    #[test]
    fn an_empty_text_has_no_tokens() {
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
