//! Excerpts of untrusted text for messages.

/// Shortens untrusted text and replaces its control characters, for messages.
pub fn excerpt(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    let mut excerpt: String = shown.take(200).collect();
    if text.chars().nth(200).is_some() {
        excerpt.push('…');
    }
    excerpt
}
