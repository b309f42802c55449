//! Characters of texts that come from anywhere.

/// Whether a character is not to be shown as it is: a control character, which a terminal obeys, or
/// one that changes the direction or order of others around it.
pub fn is_hidden(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61C}' | '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    );
    turns || character.is_control()
}

#[cfg(test)]
mod tests {
    use super::is_hidden;

    #[test]
    fn letters_are_shown_and_commands_are_not() {
        assert!("aß 語ש\u{301}😀".chars().all(|letter| !is_hidden(letter)));
        assert!("\u{1b}\r\n\t\u{202e}\u{2066}".chars().all(is_hidden));
    }
}
