//! Unicode normalization: canonically equivalent texts are read alike.

use std::borrow::Cow;

use unicode_normalization::char::{canonical_combining_class, decompose_canonical};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Returns a text with its characters composed (Unicode Normalization Form C). Text is usually composed
/// already, which costs a scan.
pub fn composed(text: &str) -> Cow<'_, str> {
    match text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.nfc().collect()),
    }
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

    proptest! {
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
