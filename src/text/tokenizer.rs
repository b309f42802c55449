//! Splits texts into tokens.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use unicode_normalization::char::{canonical_combining_class, decompose_canonical};

use super::normalization::{begins_part, composed, lowercase};
use super::splitting::{Rules, characters, clusters, keras, words};
use crate::config::{TextConfig, TokenizerKind};
use crate::subwords::Subwords;
use crate::subwords::pieces::{MARKER, pieces};

/// Maximum length of an HTML tag in bytes. Anything longer is text with a stray "<".
const MAX_TAG_LENGTH: usize = 200;

/// COMBINING DOT ABOVE.
const DOT_ABOVE: char = '\u{307}';

/// Splits texts into tokens, reusing a buffer for the normalized text.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: TokenizerKind,
    lowercase: bool,
    strip_tags: bool,
    rules: Rules,
    /// Subwords into which texts are split.
    subwords: Option<Arc<Subwords>>,
    buffer: String,
}

impl Tokenizer {
    /// Creates the configured tokenizer. Its subwords are known, if it has any (see [`Tokenizer::of_pieces`]).
    pub fn new(config: &TextConfig) -> Self {
        let mut tokenizer = Self::of_pieces(config);
        tokenizer.subwords = config.tokenizer.subwords().cloned();
        if let Some(lowercase) =
            tokenizer.subwords.as_ref().and_then(|subwords| subwords.normalization())
        {
            tokenizer.lowercase = lowercase;
        }
        tokenizer
    }

    /// Creates the configured tokenizer, except that `bpe` yields pieces: the words that its subwords are parts
    /// of, each with a marker at the start of a word.
    pub(super) fn of_pieces(config: &TextConfig) -> Self {
        let setting = &config.tokenizer;
        let subwords = match setting.kind {
            TokenizerKind::File => setting.subwords().cloned(),
            _ => None,
        };
        Self {
            kind: setting.kind,
            lowercase: match subwords.as_ref().and_then(|subwords| subwords.normalization()) {
                Some(lowercase) => lowercase,
                None => config.lowercase,
            },
            strip_tags: config.strip_tags,
            rules: match setting.has_subwords() {
                true => Rules::Third,
                false => Rules::of(config.version),
            },
            subwords,
            buffer: String::new(),
        }
    }

    /// Subwords into which texts are split.
    pub fn subwords(&self) -> Option<&Arc<Subwords>> {
        self.subwords.as_ref()
    }

    /// Returns true if the subwords' own tokenizer normalizes texts.
    fn is_raw(&self) -> bool {
        self.subwords.as_ref().is_some_and(|subwords| subwords.normalization().is_none())
    }

    /// Creates the tokenizer of words that ignores the most: case and HTML tags.
    pub(super) fn lenient() -> Self {
        Self {
            kind: TokenizerKind::Words,
            lowercase: true,
            strip_tags: true,
            rules: Rules::Third,
            subwords: None,
            buffer: String::new(),
        }
    }

    /// Calls `each` with every token of `text` in order.
    pub fn tokens(&mut self, text: &str, mut each: impl FnMut(&str)) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.normalize(text, &mut buffer);
        match &self.subwords {
            Some(subwords) => subwords.split(&buffer, |token, _| each(token)),
            None => self.split(&buffer, each),
        }
        self.buffer = buffer;
    }

    /// Calls `each` with every token of `text` and its byte range in the text.
    pub fn tokens_with_spans(&mut self, text: &str, mut each: impl FnMut(&str, Range<usize>)) {
        let mut normalized = String::new();
        self.normalize(text, &mut normalized);
        // Origin of every normalized byte. The span of a token runs from the origin of its first byte
        // to that of its last.
        let mut origins: Vec<Range<usize>> = Vec::with_capacity(normalized.len());
        self.segments(text, |segment| match segment {
            Segment::Text(start, text) => self.parts(text, |part, length| {
                let origin = start + part.start..start + part.end;
                origins.resize(origins.len() + length, origin);
            }),
            Segment::Tag(origin) => origins.push(origin),
        });
        debug_assert_eq!(origins.len(), normalized.len());
        origins.resize(normalized.len(), text.len()..text.len());
        self.split_located(&normalized, |token, range| {
            let (from, to) = (&origins[range.start], &origins[range.end - 1]);
            each(token, from.start..to.end);
        });
    }

    /// Calls `each` with every token of a normalized text and its byte range.
    fn split_located(&self, text: &str, mut each: impl FnMut(&str, Range<usize>)) {
        match (&self.subwords, self.kind) {
            (Some(subwords), _) => subwords.split(text, each),
            (None, TokenizerKind::Bpe | TokenizerKind::File) => marked_pieces(text, each),
            (None, _) => {
                let begin = text.as_ptr() as usize;
                self.split(text, |token| {
                    // Tokens are slices of `text`.
                    let first = token.as_ptr() as usize - begin;
                    each(token, first..first + token.len());
                });
            }
        }
    }

    /// Splits a text into parts that are normalized independently of each other, and calls `each` with
    /// the byte range of every part and the length of the normalized part.
    fn parts(&self, text: &str, mut each: impl FnMut(Range<usize>, usize)) {
        let begins_part = |character: char| {
            self.has_first_rules()
                || self.is_raw()
                || begins_part(character) && !is_invisible(character)
        };
        let mut buffer = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let start = text.len() - rest.len();
            let after = &rest[first.len_utf8()..];
            let length = rest.len() - after.len() + after.find(begins_part).unwrap_or(after.len());
            buffer.clear();
            self.push(&rest[..length], &mut buffer);
            // A sigma may have another form than in the whole text, of the same length.
            self.compose(&mut buffer);
            each(start..start + length, buffer.len());
            rest = &rest[length..];
        }
    }

    fn has_first_rules(&self) -> bool {
        self.rules == Rules::First
    }

    fn split(&self, text: &str, each: impl FnMut(&str)) {
        match self.kind {
            TokenizerKind::Keras => keras(text, each),
            TokenizerKind::Words => words(text, self.rules, each),
            TokenizerKind::Whitespace => text.split_whitespace().for_each(each),
            TokenizerKind::Characters if self.has_first_rules() => characters(text, each),
            TokenizerKind::Characters => clusters(text, each),
            TokenizerKind::Bpe | TokenizerKind::File => {
                let mut each = each;
                marked_pieces(text, |token, _| each(token));
            }
        }
    }

    /// Appends the normalized text to `out`.
    pub(super) fn normalize(&self, text: &str, out: &mut String) {
        self.segments(text, |segment| match segment {
            Segment::Text(_, text) => self.push(text, out),
            Segment::Tag(_) => out.push(' '),
        });
        self.compose(out);
    }

    fn compose(&self, text: &mut String) {
        if !self.has_first_rules()
            && !self.is_raw()
            && let Cow::Owned(composed) = composed(text)
        {
            *text = composed;
        }
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
        if self.is_raw() {
            out.push_str(text);
            return;
        }
        if text.is_ascii() {
            let start = out.len();
            out.push_str(text);
            if self.lowercase {
                out[start..].make_ascii_lowercase();
            }
            return;
        }
        // `words` splits contractions at the ASCII apostrophe only.
        let is_words = self.kind == TokenizerKind::Words;
        if self.has_first_rules() {
            for character in text.chars() {
                match character {
                    '’' if is_words => out.push('\''),
                    _ if self.lowercase => out.extend(character.to_lowercase()),
                    _ => out.push(character),
                }
            }
            return;
        }
        let text = match self.lowercase {
            true => Cow::Owned(lowercase(text)),
            false => Cow::Borrowed(text),
        };
        // The lower case of the Turkish İ is i; Unicode, and Keras with it, keep the dot as a mark.
        let drops_dots =
            self.lowercase && self.kind != TokenizerKind::Keras && text.contains(DOT_ABOVE);
        if !is_words && !drops_dots {
            out.push_str(&text);
            return;
        }
        let mut after_i = false;
        for character in text.chars() {
            match character {
                DOT_ABOVE if after_i => continue,
                _ if is_words && is_invisible(character) => continue,
                '’' if is_words => out.push('\''),
                _ => out.push(character),
            }
            after_i = drops_dots && is_after_i(after_i, character);
        }
    }
}

/// Calls `each` with every piece of a text, with the marker at the start of a word, and its byte range.
fn marked_pieces(text: &str, mut each: impl FnMut(&str, Range<usize>)) {
    let mut piece = String::new();
    pieces(text, |range, begins_word| {
        piece.clear();
        piece.extend(begins_word.then_some(MARKER));
        piece.push_str(&text[range.clone()]);
        each(&piece, range);
    });
}

/// Returns true if a mark above would stand directly above an i after `character`, given whether it would
/// before: the marks between them, if any, are not above (the condition After_I of the Unicode Standard,
/// section 3.13).
fn is_after_i(before: bool, character: char) -> bool {
    /// Canonical combining class of marks above a letter.
    const ABOVE: u8 = 230;
    let mut after = before;
    decompose_canonical(character, |part| match canonical_combining_class(part) {
        0 => after = part == 'i',
        ABOVE => after = false,
        _ => {}
    });
    after
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

/// Returns true for characters that neither are shown nor change a word: marks of the writing direction,
/// soft hyphens and other marks of possible line breaks.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{AD}'
            | '\u{61C}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{FEFF}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    const KINDS: [TokenizerKind; 4] = [
        TokenizerKind::Words,
        TokenizerKind::Keras,
        TokenizerKind::Whitespace,
        TokenizerKind::Characters,
    ];

    fn tokenizer(kind: TokenizerKind, rules: Rules) -> Tokenizer {
        let buffer = String::new();
        Tokenizer { kind, lowercase: true, strip_tags: true, rules, subwords: None, buffer }
    }

    fn tokens(tokenizer: &mut Tokenizer, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        tokenizer.tokens(text, |token| tokens.push(token.to_owned()));
        tokens
    }

    fn split(kind: TokenizerKind, text: &str) -> Vec<String> {
        tokens(&mut tokenizer(kind, Rules::Third), text)
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
            ["ça", "va", ",", "σας", "中", "文"]
        );
    }

    #[test]
    fn characters_of_unspaced_scripts_are_words() {
        for (text, expected) in [
            ("我看3D电影's好！", "我 看 3d 电 影 ' s 好 ！"),
            ("二〇〇八年，人々", "二 〇 〇 八 年 ， 人 々"),
            ("すごーいスーパーｶﾞ", "す ご ー い ス ー パ ー ｶﾞ"),
            ("か\u{3099}葛\u{E0100}飾", "が 葛\u{E0100} 飾"),
            ("ดีที่สุด ปี๒๕๖๐", "ดี ที่ สุ ด ปี ๒๕๖๐"),
            ("ភាសា ມື້ မြန်မာ", "ភា សា ມື້ မြ န် မာ"),
            ("ខ្មែរ ဗုဒ္ဓ", "ខ្មែ រ ဗု ဒ္ဓ"),
            // Syllables and words that are separated.
            ("བོད་ཡིག 좋은 영화", "བོད ་ ཡིག 좋은 영화"),
        ] {
            assert_eq!(split(TokenizerKind::Words, text).join(" "), expected);
        }
        assert_eq!(split(TokenizerKind::Whitespace, "中文 好"), ["中文", "好"]);
        assert_eq!(split(TokenizerKind::Keras, "中文 好"), ["中文", "好"]);
    }

    /// Models of the second version have the vocabulary of these rules.
    #[test]
    fn the_second_rules_are_unchanged() {
        let second = |text| tokens(&mut tokenizer(TokenizerKind::Words, Rules::Second), text);
        assert_eq!(second("我看3D电影！好's"), ["我看3d电影", "！", "好", "'s"]);
        assert_eq!(second("ดีที่สุด か\u{3099}"), ["ดีที่สุด", "が"]);
    }

    #[test]
    fn marks_and_joiners_stay_with_their_letters() {
        for word in [
            "क़िस्मत",           // Hindi, with nukta and virama
            "நல்ல",             // Tamil
            "می\u{200C}خواهم", // Persian, with a zero-width non-joiner
            "كِتَابٌ",            // Arabic, with vowels
            "שָׁלוֹם",            // Hebrew, with vowels
            "ශ්\u{200D}රී",      // Sinhala, with a zero-width joiner
            "j\u{30C}a",       // becomes ǰa
            "x\u{331}y",
        ] {
            let text = format!("{word} {word}, {word}");
            let expected = composed(word).into_owned();
            let [word, punctuation] = [expected.as_str(), ","];
            assert_eq!(split(TokenizerKind::Words, &text), [word, word, punctuation, word]);
        }
    }

    #[test]
    fn emoji_are_single_tokens() {
        let emoji =
            ["❤\u{FE0F}", "👨\u{200D}👩\u{200D}👧", "👍🏽", "🇫🇷", "🏴\u{E0067}\u{E0062}\u{E007F}"];
        for kind in [TokenizerKind::Words, TokenizerKind::Characters] {
            assert_eq!(split(kind, &emoji.concat()), emoji);
        }
    }

    #[test]
    fn invisible_characters_do_not_break_words() {
        assert_eq!(
            split(
                TokenizerKind::Words,
                "\u{FEFF}Ge\u{AD}schwin\u{AD}dig\u{AD}keit\u{200F}! a\u{200B}b"
            ),
            ["geschwindigkeit", "!", "a", "b"]
        );
    }

    #[test]
    fn the_turkish_i_has_a_lower_case() {
        for text in ["İyi", "I\u{307}yi", "iyi"] {
            for kind in [TokenizerKind::Words, TokenizerKind::Whitespace] {
                assert_eq!(split(kind, text), ["iyi"]);
            }
        }
        // Canonically equivalent texts, with a mark below the letter.
        for text in ["İ\u{316}", "I\u{307}\u{316}", "I\u{316}\u{307}"] {
            assert_eq!(split(TokenizerKind::Words, text), ["i\u{316}"]);
        }
        for text in ["İ\u{328}", "I\u{328}\u{307}", "\u{12E}\u{307}"] {
            assert_eq!(split(TokenizerKind::Words, text), ["\u{12F}"]);
        }
        assert_eq!(split(TokenizerKind::Words, "I\u{301}\u{307}"), ["\u{ED}\u{307}"]);
        // As "İyi".lower() in Python.
        assert_eq!(split(TokenizerKind::Keras, "İyi"), ["i\u{307}yi"]);
    }

    /// Models of lstmtext 0.1 have the vocabulary of these rules.
    #[test]
    fn the_first_rules_are_unchanged() {
        let first = |kind, text| tokens(&mut tokenizer(kind, Rules::First), text);
        assert_eq!(first(TokenizerKind::Words, "İ ΣΑΣ"), ["i", "\u{307}", "σασ"]);
        assert_eq!(first(TokenizerKind::Words, "cafe\u{301}’s"), ["cafe", "\u{301}", "'", "s"]);
        assert_eq!(first(TokenizerKind::Words, "नल्ल"), ["नल", "\u{94D}", "ल"]);
        assert_eq!(first(TokenizerKind::Characters, "e\u{301}\r\n"), ["e", "\u{301}", "\r", "\n"]);
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
        assert_eq!(split(TokenizerKind::Characters, "e\u{301}\r\n한"), ["é", "\r", "\n", "한"]);
        assert_eq!(split(TokenizerKind::Characters, "हिन्दी"), ["हि", "न्दी"]);
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
        let text = "A<br />C\u{327}A’s ΣΑΣ <x İ e\u{AD}\u{301}!";
        let mut tokenizer = tokenizer(TokenizerKind::Words, Rules::Third);
        let mut actual = Vec::new();
        tokenizer
            .tokens_with_spans(text, |token, span| actual.push((token.to_owned(), &text[span])));
        let expected = [
            ("a", "A"),
            ("ça", "C\u{327}A"),
            ("'s", "’s"),
            ("σας", "ΣΑΣ"),
            ("<", "<"),
            ("x", "x"),
            ("i", "İ"),
            ("é", "e\u{AD}\u{301}"),
            ("!", "!"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(token, source)| ((*token).to_owned(), *source)).collect();
        assert_eq!(actual, expected);
    }

    proptest! {
        #[test]
        fn tokens_with_spans_equal_tokens(
            text in "([a-zA-Z0-9<>/' ’ÉİΣß中กตか\u{e48}ー゙é\\-]|[\\PC]|[\u{300}-\u{345}\u{AD}\u{200B}-\u{200F}]|<br />|n't){0,24}",
            kind in prop::sample::select(KINDS.to_vec()),
            lowercase: bool,
            strip_tags: bool,
            rules in prop::sample::select(vec![Rules::First, Rules::Second, Rules::Third]),
        ) {
            let mut tokenizer =
                Tokenizer { lowercase, strip_tags, ..tokenizer(kind, rules) };
            let tokens = tokens(&mut tokenizer, &text);
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

        #[test]
        fn equivalent_texts_have_the_same_tokens(
            // No ">", which a combining solidus can follow only in one of the forms.
            text in "([a-zA-Z0-9</' ’ÉİΣßẖǰ中กがー한क़é\\-]|[\u{300}-\u{337}\u{900}-\u{97F}\u{1100}-\u{11FF}]|n't){0,24}",
            kind in prop::sample::select(KINDS.to_vec()),
            lowercase: bool,
        ) {
            let mut tokenizer = Tokenizer { lowercase, ..tokenizer(kind, Rules::Third) };
            let [composed, decomposed]: [String; 2] =
                [text.nfc().collect(), text.nfd().collect()];
            prop_assert_eq!(tokens(&mut tokenizer, &composed), tokens(&mut tokenizer, &decomposed));
        }
    }

    #[test]
    fn an_empty_text_has_no_tokens() {
        for kind in KINDS {
            assert!(split(kind, "").is_empty());
        }
    }
}
