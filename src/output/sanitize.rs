//! Untrusted text made safe to print, and to use in file names.
//!
//! Labels, words, paths and keys come from files that others wrote. A terminal executes control
//! characters, bidirectional controls reorder the text around them, and invisible characters make two
//! names look alike. All of them are shown as escapes.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns true for control characters, which a terminal executes, for characters that change the
/// direction of the text around them, for line separators, and for characters without a glyph (Unicode's
/// `Default_Ignorable_Code_Point`).
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
                | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{FFFE}'..='\u{FFFF}'
                | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// Makes a text safe to print in a line: line breaks and tabs become spaces, other unprintable
/// characters escapes such as `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |_| false, |out, c| if breaks_fields(c) { out.push(' ') } else { visible(out, c) })
}

/// Makes a text of several lines safe to print: unprintable characters other than newlines and tabs
/// become escapes.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'), visible)
}

/// Makes a text safe as a field of a TSV file, and leaves it as it is otherwise. TSV has no quoting, so
/// tabs and line breaks become spaces. Other control characters become escapes.
pub fn tsv_field(text: &str) -> Cow<'_, str> {
    let keep = |c: char| !c.is_control() && !breaks_fields(c);
    escape(text, keep, |out, c| if breaks_fields(c) { out.push(' ') } else { visible(out, c) })
}

/// Escapes control characters other than newlines and tabs, and leaves the rest as it is.
pub fn without_controls(text: &str) -> Cow<'_, str> {
    escape(text, |c| !c.is_control() || matches!(c, '\n' | '\t'), visible)
}

/// Escapes unprintable characters in the strings of a JSON document. The document keeps its meaning.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    escape(
        json,
        |c| matches!(c, '\n' | '\t'),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// Quotes a text for YAML, with escapes for unprintable characters.
pub fn yaml_string(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    // Beyond U+FFFF, YAML has no surrogate pairs.
    escape(
        &json,
        |_| false,
        |out, c| {
            let _ = match u32::from(c) {
                short @ ..=0xFFFF => write!(out, "\\u{short:04x}"),
                long => write!(out, "\\U{long:08x}"),
            };
        },
    )
    .into_owned()
}

/// Replaces characters by underscores, except letters, digits, hyphens, underscores and dots.
pub fn file_name(text: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    text.chars().map(|c| if is_safe(c) { c } else { '_' }).collect()
}

/// Passes the unprintable characters of a text to `write`, except those that `keep` accepts and those
/// that have an effect on the characters beside them.
fn escape(
    text: &str,
    keep: impl Fn(char) -> bool,
    write: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.chars().any(|c| is_unprintable(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut previous = None;
    while let Some(c) = characters.next() {
        match is_unprintable(c) && !keep(c) && !has_effect(previous, c, characters.peek().copied())
        {
            true => write(&mut out, c),
            false => out.push(c),
        }
        previous = Some(c);
    }
    Cow::Owned(out)
}

/// Returns true for joiners within words of the scripts that need them and within emoji, and for
/// variation selectors after a symbol or an ideograph.
fn has_effect(previous: Option<char>, character: char, next: Option<char>) -> bool {
    // Hebrew is the first script after those whose letters are never joined.
    let is_complex = |c: char| c >= '\u{590}' && !is_unprintable(c);
    let is_selector = |c: char| matches!(c, '\u{FE00}'..='\u{FE0F}');
    let Some(previous) = previous else { return false };
    match character {
        '\u{200C}' | '\u{200D}' => {
            (is_complex(previous) || is_selector(previous)) && next.is_some_and(is_complex)
        }
        _ if is_selector(character) => {
            let is_symbol = !previous.is_alphabetic() && !previous.is_whitespace();
            is_complex(previous) || (is_symbol && !is_unprintable(previous))
        }
        _ => false,
    }
}

/// Returns true for the characters that end a line or a field.
fn breaks_fields(character: char) -> bool {
    matches!(character, '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Writes an escape such as `\r` or `\u{1b}`.
fn visible(out: &mut String, character: char) {
    out.extend(character.escape_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character of each kind that must not reach a terminal.
    const UNPRINTABLE: &str =
        "\u{1b}\u{7}\r\u{7f}\u{9b}\u{202e}\u{2066}\u{200b}\u{feff}\u{ad}\u{2028}\u{3164}\u{e0041}";

    #[test]
    fn letters_are_printable_and_control_characters_are_not() {
        assert!("aß 語ש\u{301}😀".chars().all(|letter| !is_unprintable(letter)));
        assert!(UNPRINTABLE.chars().chain(['\n', '\t']).all(is_unprintable));
    }

    #[test]
    fn unprintable_characters_are_shown_as_escapes() {
        assert_eq!(printable("a\u{1b}]0;b\u{7}\r\n\tc\u{9b}"), "a\\u{1b}]0;b\\u{7}   c\\u{9b}");
        assert_eq!(printable_lines("a\r\n\tb\u{202e}"), "a\\r\n\tb\\u{202e}");
        for escape in [printable, printable_lines] {
            assert!(!escape(UNPRINTABLE).chars().any(is_unprintable));
        }
        assert!(matches!(printable("plain \\ text"), Cow::Borrowed("plain \\ text")));
    }

    #[test]
    fn joiners_and_selectors_that_change_a_glyph_are_kept() {
        for text in [
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩\u{200d}🔬",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3}",
        ] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable("pa\u{200d}y\u{200c}"), "pa\\u{200d}y\\u{200c}");
        assert_eq!(printable("pay\u{fe0f}"), "pay\\u{fe0f}");
        assert_eq!(printable("語\u{200d}\u{200d}語"), "語\\u{200d}\\u{200d}語");
    }

    #[test]
    fn tsv_fields_have_no_control_characters_and_are_otherwise_unchanged() {
        assert_eq!(tsv_field("a\tb\r\nc\u{2028}\u{1b}\u{85}"), "a b  c \\u{1b} ");
        assert_eq!(tsv_field("\u{200f}x\u{ad}"), "\u{200f}x\u{ad}");
        assert_eq!(without_controls("a\tb\nc\u{1b}\u{200f}"), "a\tb\nc\\u{1b}\u{200f}");
    }

    #[test]
    fn escaped_json_and_yaml_have_the_same_value() {
        let json = serde_json::to_string_pretty(&[UNPRINTABLE, "\"\\"]).unwrap();
        let escaped = printable_json(&json);
        assert!(!escaped.chars().any(|c| is_unprintable(c) && c != '\n'), "{escaped}");
        assert_eq!(serde_json::from_str::<[String; 2]>(&escaped).unwrap(), [UNPRINTABLE, "\"\\"]);
        let yaml = yaml_string(UNPRINTABLE);
        assert!(!yaml.chars().any(is_unprintable), "{yaml}");
        assert_eq!(serde_yaml::from_str::<String>(&yaml).unwrap(), UNPRINTABLE);
    }
}
