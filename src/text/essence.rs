//! The essence of a text: what no tokenizer ignores in it. Texts with the same essence count as duplicates.

use super::splitting::{Rules, words};
use super::tokenizer::Tokenizer;

/// Appends to `out` what no tokenizer ignores in `text`: its words in lower case by these rules (the second or
/// the third), each followed by a space, without punctuation in ASCII and HTML tags. If a text has no words,
/// the punctuation stays. Texts of words that a tokenizer of the same or earlier rules reads alike, without
/// their tags, give the same result.
pub fn append_essence(text: &str, rules: Rules, out: &mut String) {
    let mut normalized = String::new();
    Tokenizer::lenient().normalize(text, &mut normalized);
    let start = out.len();
    match normalized.is_ascii() {
        true => append_ascii_letters(&normalized, out),
        false => append_letters(&normalized, rules, out),
    }
    if out.len() == start {
        normalized.split_whitespace().for_each(|word| *out += word);
    }
}

/// Appends the tokens of [`words`] without punctuation in ASCII, each part followed by a space.
fn append_letters(text: &str, rules: Rules, out: &mut String) {
    words(text, rules, |token| {
        let parts = token.split(|character: char| character.is_ascii_punctuation());
        for part in parts.filter(|part| !part.is_empty()) {
            *out += part;
            out.push(' ');
        }
    });
}

/// Does the same as [`append_letters`] for lowercase ASCII, faster.
fn append_ascii_letters(text: &str, out: &mut String) {
    out.reserve(text.len());
    let mut rest = text;
    while let Some(first) = rest.as_bytes().first() {
        if !first.is_ascii_alphanumeric() {
            let character = char::from(*first);
            if !character.is_ascii_punctuation() && !character.is_whitespace() {
                out.push(character);
                out.push(' ');
            }
            rest = &rest[1..];
            continue;
        }
        let (mut word, tail) = rest.split_at(
            rest.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len()),
        );
        let continues = |tail: &str| {
            let tail = tail.strip_prefix('\'').unwrap_or(tail);
            tail.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        };
        // "n't" is a token of its own.
        if word.len() > 1
            && word.ends_with('n')
            && tail.strip_prefix("'t").is_some_and(|tail| !continues(tail))
        {
            *out += &word[..word.len() - 1];
            out.push(' ');
            word = "n";
        }
        *out += word;
        out.push(' ');
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config;

    fn essence(text: &str) -> String {
        let mut out = String::new();
        append_essence(text, Rules::Third, &mut out);
        out
    }

    fn tokens(text: &str, settings: &str) -> Vec<String> {
        let yaml = format!("data: {{train: x}}\ntext: {{{settings}}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config.text;
        let mut tokens = Vec::new();
        Tokenizer::new(&config).tokens(text, |token| tokens.push(token.to_owned()));
        tokens
    }

    #[test]
    fn the_essence_of_a_text_is_its_words() {
        for text in ["A  caf\u{e9}<br />bar ", "a cafe\u{301} bar", "(A) \u{a0}CAF\u{c9}-bar!"] {
            assert_eq!(essence(text), "a caf\u{e9} bar ", "{text}");
        }
        assert_eq!(essence("It’s"), essence("it's"));
        assert_eq!(essence("can't wait…no"), essence("ca n't wait … no"));
        assert_eq!(essence("很好看3D"), essence("很 好看，3D".replace('，', " ").as_str()));
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
            texts in prop::collection::vec("([ab]|A|É|中|文|ก|\u{e48}|e\u{301}|\u{301}|’|'|n't|-|!|…|😀|  ?|<br />|\u{a0}){0,4}", 2..30),
            kind in prop::sample::select(vec!["words", "keras", "whitespace", "characters"]),
            lowercase: bool,
        ) {
            let settings = format!("tokenizer: {kind}, lowercase: {lowercase}, strip_tags: true");
            let mut essences: HashMap<Vec<String>, (String, &str)> = HashMap::new();
            for text in &texts {
                // A text without words keeps its punctuation, which keras ignores.
                let tokens = tokens(text, &settings);
                if !tokens.iter().any(|token| token.contains(char::is_alphanumeric)) {
                    continue;
                }
                let (first, other) = essences.entry(tokens).or_insert((essence(text), text));
                prop_assert_eq!(&*first, &essence(text), "{:?} and {:?}", other, text);
            }
        }

        #[test]
        fn letters_of_ascii_are_those_of_any_text(
            text in "([a-z0-9 '!\\-<\t\n\u{b}\u{1}\u{1c}]|n't|'s){0,24}"
        ) {
            let (mut fast, mut general) = (String::new(), String::new());
            append_ascii_letters(&text, &mut fast);
            append_letters(&text, Rules::Third, &mut general);
            prop_assert_eq!(fast, general);
        }
    }
}
