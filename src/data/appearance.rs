//! The appearance of labels: a key by which those are found that a reader would take for the same.

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

/// Returns a key that is the same for labels that look alike or have the same value: other case, other
/// spaces and hyphens, quotes around them, characters of other scripts that look the same (Unicode TR 39),
/// "1", "1.0" and "true", "1,000" and "1000".
pub fn appearance(label: &str) -> String {
    let visible = label.nfkc().filter(|c| !is_invisible(*c)).map(plain_hyphen).collect::<String>();
    let words = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = fold_case(words.trim_matches(is_quote).trim());
    match words.as_str() {
        "true" => "1".to_owned(),
        "false" => "0".to_owned(),
        words => number(words).unwrap_or_else(|| {
            // Both mappings: "O" looks like "0", and "o" is its lower case.
            let words = words.replace([' ', '_'], "-");
            fold_case(&skeleton(&words).collect::<String>())
        }),
    }
}

/// Maps all cases of a letter to one, also where they have several characters (ß and SS, İ and i) or
/// depend on the position (σ and ς).
fn fold_case(text: &str) -> String {
    text.to_uppercase().to_lowercase().replace("i\u{307}", "i")
}

/// Returns the value of a number, with all its digits: two large integers can have the same floating point
/// value.
fn number(text: &str) -> Option<String> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole = without_separators(whole)?;
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(&whole) || !is_digits(fraction) {
        // Such as 1e3.
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
        return Some((value + 0.0).to_string());
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let is_zero = whole.is_empty() && fraction.is_empty();
    let sign = if text.starts_with('-') && !is_zero { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// Removes separators of thousands. `None` if they are elsewhere.
fn without_separators(whole: &str) -> Option<String> {
    let mut groups = whole.split([',', '\'', '_', ' ']);
    let first = groups.next()?;
    let is_separated =
        (1..=3).contains(&first.len()) && groups.clone().all(|group| group.len() == 3);
    (whole.len() == first.len() || is_separated)
        .then(|| std::iter::once(first).chain(groups).collect())
}

/// Returns true for characters without width, such as a byte order mark within a file.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

/// Replaces minus signs, dashes and other hyphens with the one of ASCII.
fn plain_hyphen(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        other => other,
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '\u{AB}' | '\u{BB}' | '\u{2018}'..='\u{201F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_look_alike_have_one_appearance() {
        let alike: [&[&str]; 14] = [
            &["neg", "Neg", "NEG", "\"neg\"", "'neg'", "“neg”", " neg"],
            &["1", "1.0", "true", "01", "\"1\"", "+1", "1e0"],
            &["very  good", "very good", "very\u{a0}good", "very_good", "very-good", "Very–Good"],
            &["fine", "ﬁne", "fi\u{200b}ne"],
            // The second has a Cyrillic "о".
            &["pos", "p\u{43e}s"],
            &["O1", "o1"],
            &["Spaß", "SPASS", "spass"],
            &["İyi", "iyi", "i\u{307}yi"],
            &["λόγος", "ΛΌΓΟΣ", "λόγοσ"],
            &["-1", "\u{2212}1", "\u{2212}1.0", "–1"],
            &["1000", "1,000", "1'000", "1_000", "1 000", "1e3", "1,000.00"],
            &["0", "-0", "0.0", "false", "\u{2212}0"],
            &["0.5", ".5", "00.50"],
            &["12345678901234567890", "12,345,678,901,234,567,890.0"],
        ];
        for labels in alike {
            for label in labels {
                assert_eq!(appearance(label), appearance(labels[0]), "{label}");
            }
        }
        let mut different = [
            "neg",
            "pos",
            "-1",
            "1",
            "0",
            "10",
            "no",
            "false positive",
            "é",
            "e",
            "B",
            "B-",
            "B+",
            "12345678901234567890",
            "12345678901234567891",
            "1,00",
            "100",
            "1.1",
            "11",
            "\"",
            "-",
            ".",
            "inf",
            "infinity",
            "nan",
            "1e400",
        ]
        .map(appearance);
        different.sort();
        for pair in different.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
    }
}
