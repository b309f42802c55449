//! Numbers as people read them.

use std::time::Duration;

/// A number with commas between its thousands.
pub fn grouped(number: usize) -> String {
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

/// So many things, in words: 1 run, 2 runs.
pub fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// Hours, minutes and seconds, as 1:02:03 or 0:07.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn times_read_like_a_clock() {
        let clock = |seconds| super::clock(Duration::from_secs(seconds));
        assert_eq!([clock(7), clock(61), clock(3_723)], ["0:07", "1:01", "1:02:03"]);
    }

    #[test]
    fn more_than_one_thing_has_a_plural() {
        assert_eq!(
            [0, 1, 2_000].map(|n| super::counted(n, "run")),
            ["0 runs", "1 run", "2,000 runs"]
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(super::grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
