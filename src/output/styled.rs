//! Text with colors, which only this program can put into it.

use std::fmt::Display;

use anstyle::Style;

use super::sanitize::printable_lines;

/// Text with colors for a terminal. Unprintable characters in what is appended become escapes.
#[derive(Clone, Debug)]
pub struct StyledText {
    text: String,
    colored: bool,
}

impl StyledText {
    /// Creates an empty text, which ignores styles unless it is `colored`.
    pub fn new(colored: bool) -> Self {
        Self { text: String::new(), colored }
    }

    /// Appends a text without a style.
    pub fn push(&mut self, text: impl Display) {
        self.text += &printable_lines(&text.to_string());
    }

    /// Appends a text in a style.
    pub fn push_styled(&mut self, style: Style, text: impl Display) {
        match self.colored {
            true => {
                self.text += &style.render().to_string();
                self.push(text);
                self.text += &style.render_reset().to_string();
            }
            false => self.push(text),
        }
    }

    /// Returns the text with the control sequences of its styles.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_styles_have_control_sequences() {
        let text = |colored| {
            let mut text = StyledText::new(colored);
            text.push("a\u{1b}[1m\n");
            text.push_styled(Style::new().bold(), "b\u{1b}[0m");
            text
        };
        assert_eq!(text(true).as_str(), "a\\u{1b}[1m\n\u{1b}[1mb\\u{1b}[0m\u{1b}[0m");
        assert_eq!(text(false).as_str(), "a\\u{1b}[1m\nb\\u{1b}[0m");
    }
}
