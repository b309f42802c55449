//! Unicode normalization: canonically equivalent texts are read alike.

use std::borrow::Cow;

use unicode_normalization::char::{canonical_combining_class, decompose_canonical};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Returns a text with its characters composed (Unicode Normalization Form C). Text is usually composed
/// already, which costs a scan.
pub fn composed(text: &str) -> Cow<'_, str> {
    if is_composed(text) {
        return Cow::Borrowed(text);
    }
    // Only words with marks are composed, one by one, because that takes much longer than the scan. A space
    // joins marks behind it, so that it begins a word.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let space = rest.bytes().skip(1).position(|byte| byte == b' ');
        let (word, tail) = rest.split_at(space.map_or(rest.len(), |space| space + 1));
        match is_composed(word) {
            true => out.push_str(word),
            false => out.extend(word.nfc()),
        }
        rest = tail;
    }
    Cow::Owned(out)
}

/// Returns true if a text certainly is composed.
fn is_composed(text: &str) -> bool {
    text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

/// Returns a text in lower case, like [`str::to_lowercase`], which is slow for scripts without case.
pub fn lowercase(text: &str) -> String {
    match text.chars().all(is_caseless) {
        true => text.to_ascii_lowercase(),
        false => text.to_lowercase(),
    }
}

/// Returns true for ASCII, and for the blocks without case from Hebrew to Myanmar and in East Asia.
fn is_caseless(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x7F' | '\u{590}'..='\u{109F}' | '\u{2E80}'..='\u{A63F}' | '\u{AC00}'..='\u{D7FF}'
    )
}

/// Returns true if composition never joins `character` with what is before it, so that a text can be
/// composed in parts that begin with such characters.
pub fn begins_part(character: char) -> bool {
    let mut first = None;
    decompose_canonical(character, |part| first = first.or(Some(part)));
    let first = first.unwrap_or(character);
    canonical_combining_class(first) == 0
        && is_nfc_quick(std::iter::once(first)) != IsNormalized::Maybe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equivalent_texts_are_composed_alike() {
        for (text, expected) in [
            ("cafe\u{301}", "café"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("\u{212B}", "Å"),
            ("\u{928}\u{93C}", "\u{929}"),
            ("plain", "plain"),
        ] {
            assert_eq!(composed(text), expected);
        }
        assert!(matches!(composed("café 中文"), Cow::Borrowed(_)));
    }

    #[test]
    fn blocks_without_case_have_none() {
        for character in (0x80..=u32::from(char::MAX)).filter_map(char::from_u32) {
            if is_caseless(character) {
                assert!(character.to_lowercase().eq([character]), "{character:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_composed_and_in_lower_case(
            text in "([A-Ea-eİΣ ]|[\u{300}-\u{330}\u{900}-\u{97F}\u{1100}-\u{11FF}]|[가-각中É]|\\PC){0,24}",
        ) {
            prop_assert_eq!(composed(&text), text.nfc().collect::<String>());
            prop_assert_eq!(lowercase(&text), text.to_lowercase());
        }

        #[test]
        fn parts_are_composed_on_their_own(text in "[a-eİ\u{300}-\u{330}\u{900}-\u{94F}\u{F70}-\u{F83}\u{1100}-\u{11FF}가-각\u{338}<>]{0,12}") {
            let mut parts: Vec<String> = Vec::new();
            for character in text.chars() {
                match parts.last_mut() {
                    Some(part) if !begins_part(character) => part.push(character),
                    _ => parts.push(character.into()),
                }
            }
            let separately: String = parts.iter().map(|part| composed(part)).collect();
            prop_assert_eq!(composed(&text), separately);
        }
    }
}
