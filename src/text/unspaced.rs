//! Scripts that are written without spaces between words.

use unicode_script::{Script, UnicodeScript};

/// Marks that belong to Chinese and Japanese only, although Unicode gives them to no script: the closing mark
/// 〆, the prolonged sound marks, and the voiced sound marks of half the width.
const MARKS: [char; 5] = ['\u{3006}', '\u{30FC}', '\u{FF70}', '\u{FF9E}', '\u{FF9F}'];

/// Returns true for characters of scripts that separate clauses with spaces or punctuation, but not words:
/// Chinese, Japanese, and those of Southeast Asia whose lines break within a phrase (class SA of Unicode
/// Standard Annex 14). Digits are not included, because they are written as in other scripts. Tibetan is not
/// included, because it separates syllables.
#[inline]
pub fn is_unspaced(character: char) -> bool {
    // Latin to Sinhala have spaces.
    character >= '\u{E00}' && is_unspaced_beyond(character)
}

fn is_unspaced_beyond(character: char) -> bool {
    match character {
        // Latin and Greek additions, punctuation and symbols; Hangul.
        '\u{1E00}'..='\u{2E7F}' | '\u{AC00}'..='\u{D7FF}' => false,
        '\u{4E00}'..='\u{9FFF}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' => true,
        _ => MARKS.contains(&character) || has_unspaced_script(character),
    }
}

fn has_unspaced_script(character: char) -> bool {
    match character.script() {
        // Chinese digits are words.
        Script::Han => true,
        Script::Hiragana
        | Script::Katakana
        | Script::Bopomofo
        | Script::Yi
        | Script::Tangut
        | Script::Nushu
        | Script::Khitan_Small_Script
        | Script::Thai
        | Script::Lao
        | Script::Khmer
        | Script::Myanmar
        | Script::Tai_Le
        | Script::New_Tai_Lue
        | Script::Tai_Tham
        | Script::Tai_Viet
        | Script::Ahom
        | Script::Javanese
        | Script::Balinese => !character.is_numeric(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_without_spaces_are_recognized() {
        for character in "中〇々〆ひゝカヽーｶｰㄅꀀไเๆກကកᥐ𠀀豈".chars()
        {
            assert!(is_unspaced(character), "{character}");
        }
        for character in "aé1жאع한ᄒक๒၂၃៣བ་。「・３Ａ①😀\u{200B}\u{200D}\u{FE0F}\u{301}".chars()
        {
            assert!(!is_unspaced(character), "{character}");
        }
    }

    #[test]
    fn ranges_agree_with_the_scripts() {
        for character in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let expected = MARKS.contains(&character) || has_unspaced_script(character);
            // Two marks of tones, among those for Latin.
            let is_tone = matches!(character, '\u{2EA}' | '\u{2EB}');
            assert_eq!(is_unspaced(character), expected && !is_tone, "{character:?}");
        }
    }
}
