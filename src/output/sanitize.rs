//! Untrusted text made safe to print, and to use in file names.

/// Returns true for control characters, which a terminal would execute, and for characters that
/// change the direction of the text around them.
pub fn is_unprintable(character: char) -> bool {
    let is_bidi_control = matches!(
        character,
        '\u{61C}' | '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    );
    is_bidi_control || character.is_control()
}

/// Replaces unprintable characters by spaces.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { ' ' } else { c }).collect()
}

/// Replaces control characters by spaces: TSV has no quoting, so a tab or newline would end the
/// field.
pub fn tsv_field(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Replaces characters by underscores, except letters, digits, hyphens, underscores and dots.
pub fn file_name(text: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    text.chars().map(|c| if is_safe(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::is_unprintable;

    #[test]
    fn letters_are_printable_and_control_characters_are_not() {
        assert!("aß 語ש\u{301}😀".chars().all(|letter| !is_unprintable(letter)));
        assert!("\u{1b}\r\n\t\u{202e}\u{2066}".chars().all(is_unprintable));
    }
}
