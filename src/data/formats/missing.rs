//! Messages about columns and keys that a file does not have.

use super::excerpt::excerpt;

/// Minimum Jaro-Winkler similarity of a suggestion.
const SIMILAR: f64 = 0.8;
/// Maximum number of characters of a name that is compared.
const MAX_LENGTH: usize = 64;

/// Returns the message that a file has no column or key, as `kind` says, of this name: those that it has, and
/// the one that is most probably meant.
pub fn missing<'a>(kind: &str, name: &str, others: impl Iterator<Item = &'a str>) -> String {
    let others: Vec<&str> = others.collect();
    let found = excerpt(&others.join(", "));
    format!("expected a {kind} \"{name}\", found {found}{}", suggestion(name, &others))
}

/// Returns the question after the name that is most similar to `name`; empty if there is none.
pub fn suggestion(name: &str, others: &[&str]) -> String {
    let is_short = |name: &str| name.chars().take(MAX_LENGTH + 1).count() <= MAX_LENGTH;
    if !is_short(name) {
        return String::new();
    }
    let lower = name.to_lowercase();
    let others = others.iter().filter(|other| is_short(other));
    let scored = others.map(|other| (strsim::jaro_winkler(&lower, &other.to_lowercase()), *other));
    match scored.filter(|(score, _)| *score >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, other)) => format!("; did you mean {}?", excerpt(other)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested() {
        let columns = ["id", "review", "Stars", "a very long name that nobody types"];
        let message = |name: &str| missing("column", name, columns.into_iter());
        let list = "found id, review, Stars, a very long name that nobody types";
        for (name, suggestion) in [
            ("revew", "; did you mean review?"),
            ("REVIEW", "; did you mean review?"),
            ("star", "; did you mean Stars?"),
            ("weather", ""),
            ("", ""),
        ] {
            let expected = format!("expected a column \"{name}\", {list}{suggestion}");
            assert_eq!(message(name), expected);
        }
        let long = "review".repeat(1 << 16);
        assert!(!message(&long).contains("did you mean"));
    }
}
