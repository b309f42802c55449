//! Numbers, durations, names and lists of names as text.

use std::time::Duration;

use super::width::shorten_names;

/// Formats a number with commas between groups of three digits: 1,234,567.
pub fn group_digits(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a count with its noun: 1 run, 2 runs.
pub fn pluralize(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", group_digits(count))
}

/// Formats a part of a number of things: 3 of 1,200 texts.
pub fn share(count: usize, total: usize, nouns: &str) -> String {
    format!("{} of {} {nouns}", group_digits(count), group_digits(total))
}

/// Formats hours, minutes and seconds as 1:02:03, or as 0:07 below an hour.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Formats a number of bytes in the largest decimal unit: 999 B, 1.5 kB, 120 MB.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Joins names with commas. Only the first eight of a longer list are shown, and long names are shortened.
pub fn join_names(names: &[String]) -> String {
    const SHOWN: usize = 8;
    const WIDTH: usize = 60;
    let short = shorten_names(names.iter().take(SHOWN).map(String::as_str), WIDTH).names.join(", ");
    match names.len() {
        0..=SHOWN => short,
        total => format!("{short}, … ({total} in total)"),
    }
}

/// Returns the shortest suffix of a path that no other of the paths has, or the whole path.
pub fn unique_suffix<'p>(path: &'p [String], paths: &[&[String]]) -> &'p [String] {
    let is_unique =
        |suffix: &&[String]| paths.iter().filter(|path| path.ends_with(suffix)).count() <= 1;
    let mut suffixes = (0..path.len()).rev().map(|start| &path[start..]);
    suffixes.find(is_unique).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_like_a_clock() {
        let format = |seconds| format_duration(Duration::from_secs(seconds));
        assert_eq!([format(7), format(61), format(3_723)], ["0:07", "1:01", "1:02:03"]);
    }

    #[test]
    fn counts_other_than_one_take_the_plural() {
        assert_eq!([0, 1, 2_000].map(|n| pluralize(n, "run")), ["0 runs", "1 run", "2,000 runs"]);
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(group_digits),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn bytes_have_two_digits_at_least() {
        let formatted =
            [0, 999, 1_000, 9_960, 120_400_000, 999_700_000, u64::MAX].map(format_bytes);
        assert_eq!(formatted, ["0 B", "999 B", "1.0 kB", "10 kB", "120 MB", "1.0 GB", "18 EB"]);
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let names: Vec<String> = (1..=9).map(|n| n.to_string()).collect();
        assert_eq!(join_names(&names[..3]), "1, 2, 3");
        assert_eq!(join_names(&["x".repeat(61)]), format!("{}…{}", "x".repeat(29), "x".repeat(30)));
        assert_eq!(join_names(&names), "1, 2, 3, 4, 5, 6, 7, 8, … (9 in total)");
    }
}
