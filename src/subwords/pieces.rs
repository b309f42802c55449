//! Splits a text into pieces: words, numbers and runs of other characters, within which subwords are formed.

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

/// Marks the start of a word in place of the space before it, as in SentencePiece.
pub const MARKER: char = '▁';
/// Maximum number of characters of a piece, without the marker.
pub const LONGEST: usize = 64;
/// Joiners within words: ZERO WIDTH NON-JOINER and ZERO WIDTH JOINER.
const JOINERS: [char; 2] = ['\u{200C}', '\u{200D}'];
const APOSTROPHES: [char; 2] = ['\'', '’'];

/// Regular expression of the pieces of a text whose spaces are markers, for other programs.
pub fn expression() -> String {
    let more = LONGEST - 1;
    let letters = r"\p{Alphabetic}";
    let [left, right] = JOINERS;
    format!(
        "{MARKER}?{letters}(?:[{letters}\\p{{M}}{left}{right}]|['’](?={letters})){{0,{more}}}\
         |{MARKER}?\\p{{N}}{{1,{LONGEST}}}|{MARKER}?[^{MARKER}{letters}\\p{{N}}]{{1,{LONGEST}}}|{MARKER}"
    )
}

/// Returns true for characters between pieces.
fn is_space(character: char) -> bool {
    character.is_whitespace() || character == MARKER
}

/// Calls `each` with the byte range of every piece of `text`, and whether it begins a word: the first piece
/// of the text, and the first one after a space, does.
pub fn pieces(text: &str, mut each: impl FnMut(Range<usize>, bool)) {
    let mut start = 0;
    let mut begins_word = true;
    while let Some(first) = text[start..].chars().next() {
        if is_space(first) {
            begins_word = true;
            start += first.len_utf8();
            continue;
        }
        let end = start + length(&text[start..], first);
        each(start..end, begins_word);
        begins_word = false;
        start = end;
    }
}

/// Returns the length of the piece at the start of `text`, which begins with `first`.
fn length(text: &str, first: char) -> usize {
    let continues: fn(char, Option<char>) -> bool = match first {
        _ if first.is_alphabetic() => continues_word,
        _ if first.is_numeric() => |character, _| character.is_numeric(),
        _ => |character, _| {
            !is_space(character) && !character.is_alphabetic() && !character.is_numeric()
        },
    };
    let mut characters = text.char_indices().skip(1).take(LONGEST).peekable();
    let mut count = 1;
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        // The character after the last one matters to an apostrophe.
        let next = next.or_else(|| text[at + character.len_utf8()..].chars().next());
        if count == LONGEST || !continues(character, next) {
            return at;
        }
        count += 1;
    }
    text.len()
}

fn continues_word(character: char, next: Option<char>) -> bool {
    match character {
        _ if character.is_alphabetic() => true,
        _ if character.is_ascii() || APOSTROPHES.contains(&character) => {
            APOSTROPHES.contains(&character) && next.is_some_and(char::is_alphabetic)
        }
        _ => is_combining_mark(character) || JOINERS.contains(&character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        pieces(text, |range, begins_word| {
            let marker = if begins_word { "▁" } else { "" };
            found.push(format!("{marker}{}", &text[range]));
        });
        found
    }

    #[test]
    fn pieces_are_words_numbers_and_other_characters() {
        for (text, expected) in [
            ("I don't know!!! 10/10 :)", "▁I|▁don't|▁know|!!!|▁10|/|10|▁:)"),
            (" 'tis\n\tit’s' ▁a▁", "▁'|tis|▁it’s|'|▁a"),
            ("很好看，3D电影", "▁很好看|，|3|D电影"),
            ("नल्ल ดีที่สุด می\u{200C}خواهم 👍🏽", "▁नल्ल|▁ดีที่สุด|▁می\u{200C}خواهم|▁👍🏽"),
            ("", ""),
        ] {
            assert_eq!(split(text).join("|"), expected);
        }
    }

    #[test]
    fn long_runs_are_cut() {
        for (text, count) in [("a", 130), ("é", 130), ("1", 64), ("!", 65), ("a'", 200)] {
            let long = text.repeat(count);
            let found = split(&long);
            assert!(found.iter().all(|piece| piece.chars().count() <= LONGEST + 1), "{found:?}");
            assert_eq!(found.concat(), format!("▁{long}"));
        }
        assert_eq!(split(&"a".repeat(65)).len(), 2);
        assert_eq!(split(&"a".repeat(64)).len(), 1);
    }
}
