//! The rules that split a normalized text into tokens.

use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

use super::unspaced::is_unspaced;

/// Characters that Keras's `Tokenizer` replaces with spaces.
const KERAS_FILTERS: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n";

/// Endings of English contractions, such as "'ve", that become tokens of their own.
const CONTRACTIONS: [&str; 6] = ["s", "re", "ve", "ll", "d", "m"];

/// Joiners within words: ZERO WIDTH NON-JOINER and ZERO WIDTH JOINER.
const JOINERS: [char; 2] = ['\u{200C}', '\u{200D}'];
/// Marks that put the next consonant below: MYANMAR SIGN VIRAMA, KHMER SIGN COENG and TAI THAM SIGN SAKOT.
const STACKERS: [char; 3] = ['\u{1039}', '\u{17D2}', '\u{1A60}'];
/// ZERO WIDTH SPACE, which separates words where no space is shown, as in Khmer.
const ZERO_WIDTH_SPACE: char = '\u{200B}';

/// Rules by which texts are tokenized (`text.version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rules {
    /// Rules of lstmtext 0.1, which neither compose characters nor keep marks with their letters.
    First,
    /// Marks and joiners stay with their letters. A run of characters in a script without spaces is a word.
    Second,
    /// Every character of a script without spaces is a word.
    Third,
}

impl Rules {
    /// Returns the rules of a version.
    pub fn of(version: u64) -> Self {
        match version {
            1 => Self::First,
            2 => Self::Second,
            _ => Self::Third,
        }
    }
}

/// Splits off words as Keras's `Tokenizer` does.
pub fn keras(text: &str, each: impl FnMut(&str)) {
    let separator = |c: char| c == ' ' || (c.is_ascii() && KERAS_FILTERS.contains(c));
    text.split(separator).filter(|token| !token.is_empty()).for_each(each);
}

/// Splits off characters.
pub fn characters(text: &str, mut each: impl FnMut(&str)) {
    for (start, character) in text.char_indices() {
        each(&text[start..start + character.len_utf8()]);
    }
}

/// Splits off grapheme clusters: letters with their marks, syllables, whole emoji. Every ASCII character
/// is on its own, unless a mark follows it.
pub fn clusters(text: &str, mut each: impl FnMut(&str)) {
    let mut rest = text;
    while !rest.is_empty() {
        let (ascii, tail) = rest.split_at(ascii_length(rest));
        (0..ascii.len()).for_each(|index| each(&ascii[index..=index]));
        // One iterator for many clusters is faster than one for each.
        let (mixed, tail) = tail.split_at(mixed_length(tail));
        mixed.graphemes(true).for_each(&mut each);
        rest = tail;
    }
}

/// Returns the length of the ASCII characters at the start of `text` that no other character follows.
fn ascii_length(text: &str) -> usize {
    match text.bytes().position(|byte| !byte.is_ascii()) {
        Some(length) => length.saturating_sub(1),
        None => text.len(),
    }
}

/// Returns the length of `text` up to two ASCII characters, between which clusters end. The second one is
/// not included.
fn mixed_length(text: &str) -> usize {
    let pairs = text.as_bytes().windows(2);
    let end = pairs.into_iter().position(|pair| pair.is_ascii());
    end.map_or(text.len(), |end| end + 1)
}

/// Splits off words, and every other character except white space. Contractions are split as in the
/// Penn Treebank: "don't" becomes "do" and "n't", "it's" becomes "it" and "'s". Other apostrophes
/// within a word remain part of it. Except by the first rules, combining marks and joiners are part of
/// the word or the character before them. By the third rules, every character of a script without spaces
/// between words is a word, with its marks.
pub fn words(text: &str, rules: Rules, mut each: impl FnMut(&str)) {
    let first_rules = rules == Rules::First;
    let is_word_itself = |character: char| rules == Rules::Third && is_unspaced(character);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if is_word_itself(first) {
            let stays = |c: char| is_unspaced(c) || continues_word(c);
            let length = rest.find(|c: char| !stays(c)).unwrap_or(rest.len());
            let (run, tail) = rest.split_at(length);
            syllables(run, &mut each);
            rest = tail;
            continue;
        }
        if !first.is_alphanumeric() {
            let is_space = first.is_whitespace() || !first_rules && first == ZERO_WIDTH_SPACE;
            let length = match first_rules || is_space {
                true => first.len_utf8(),
                false => cluster_length(rest),
            };
            let (token, tail) = rest.split_at(length);
            if !is_space {
                each(token);
            }
            rest = tail;
            continue;
        }
        let (word, tail) = rest.split_at(word_length(rest, rules));
        rest = tail;
        let stem = &word[..stem_length(word)];
        each(stem);
        if stem.len() < word.len() {
            each(&word[stem.len()..]);
        }
    }
}

/// Splits off the characters of a script without spaces, with their marks. Grapheme clusters leave some marks of
/// Burmese alone, and consonants that are written below others.
fn syllables(text: &str, each: &mut impl FnMut(&str)) {
    let mut start = 0;
    for (at, cluster) in text.grapheme_indices(true).skip(1) {
        let is_mark = cluster.chars().next().is_some_and(is_combining_mark);
        if !is_mark && !text[start..at].ends_with(STACKERS) {
            each(&text[start..at]);
            start = at;
        }
    }
    each(&text[start..]);
}

/// Returns the length of the grapheme cluster at the start of `text`.
fn cluster_length(text: &str) -> usize {
    match text.as_bytes() {
        [first] | [first, 0..=0x7F, ..] if first.is_ascii() => 1,
        _ => text.graphemes(true).next().map_or(text.len(), str::len),
    }
}

/// Returns the length of the word at the start of `text`, including apostrophes between letters.
fn word_length(text: &str, rules: Rules) -> usize {
    let is_letter = |c: char| c.is_alphanumeric() && !(rules == Rules::Third && is_unspaced(c));
    let continues = |c: char| is_letter(c) || rules != Rules::First && continues_word(c);
    let mut end = 0;
    loop {
        end += text[end..].find(|c: char| !continues(c)).unwrap_or(text.len() - end);
        let joins =
            text[end..].starts_with('\'') && text[end + 1..].chars().next().is_some_and(is_letter);
        if !joins {
            return end;
        }
        end += 1;
    }
}

/// Returns true for combining marks, such as the virama of Hindi and the tones of Thai, and for joiners.
fn continues_word(character: char) -> bool {
    !character.is_ascii() && (is_combining_mark(character) || JOINERS.contains(&character))
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn clusters_are_those_at_the_start_of_the_rest(
            text in "([a-c \r\n]|[\u{900}-\u{97F}\u{200D}\u{FE0F}]|[é한\u{301}\u{600}\u{1F1E6}-\u{1F1E8}👩❤🏽]|\\PC){0,24}",
        ) {
            let (mut expected, mut rest) = (Vec::new(), &*text);
            while !rest.is_empty() {
                let (token, tail) = rest.split_at(cluster_length(rest));
                expected.push(token.to_owned());
                rest = tail;
            }
            let mut tokens = Vec::new();
            clusters(&text, |token| tokens.push(token.to_owned()));
            prop_assert_eq!(tokens, expected);
        }
    }
}
