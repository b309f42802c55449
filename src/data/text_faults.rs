//! Faults of the texts of an input from which nothing can be learned: all are empty, or the tokenizer does
//! not fit their script.

use crate::config::{Column, Input, TextConfig, TokenizerKind};
use crate::output::format::{group_digits, join_names};
use crate::text::{TokenizedTexts, is_unspaced};

/// Number of words that are examined to recognize a script.
const SAMPLE: usize = 10_000;

/// Describes the texts at `rows` if all of them are empty. `kind` says which texts they are, such as
/// "training".
pub fn all_empty(
    input: &Input,
    kind: &str,
    texts: &TokenizedTexts,
    rows: &[u32],
) -> Option<String> {
    let is_empty = |row: &u32| texts.length(*row as usize) == 0;
    let columns: Vec<String> = input.columns.0.iter().map(Column::key).collect();
    (!rows.is_empty() && rows.iter().all(is_empty)).then(|| {
        format!(
            "{name}all {count} {kind} texts are empty; check {field}, which is {columns}",
            name = input.name.as_ref().map_or(String::new(), |name| format!("{name}: ")),
            count = group_digits(rows.len()),
            field = input.field("column"),
            columns = join_names(&columns),
        )
    })
}

/// Returns advice if the tokenizer of an input does not fit the script of the texts at `rows`, and the field to
/// change.
pub fn unfit_tokenizer(
    input: &Input,
    texts: &TokenizedTexts,
    rows: &[u32],
) -> Option<(String, String)> {
    is_unsegmented(input, texts, rows).then(|| {
        let (field, value, fit) = match input.text.tokenizer.kind {
            TokenizerKind::Words => {
                let version = input.text.version.to_string();
                ("text.version", version, TextConfig::SPLITS_UNSPACED.to_string())
            }
            kind => ("text.tokenizer", kind.as_str().into(), TokenizerKind::Words.as_str().into()),
        };
        let field = input.field(field);
        let message = format!(
            "the texts are in a script without spaces between words, which {field}: {value} does not split; \
             set {field}: {fit}"
        );
        (message, field)
    })
}

/// Returns true if most words of the texts at `rows` are whole clauses in a script without spaces between
/// words: they are long, or hardly any is beside another one.
pub fn is_unsegmented(input: &Input, texts: &TokenizedTexts, rows: &[u32]) -> bool {
    if input.text.splits_unspaced_scripts() {
        return false;
    }
    let mut seen = Words::default();
    for row in rows {
        let mut follows = false;
        for token in texts.text(*row as usize) {
            let word = &texts.words()[*token as usize];
            follows = seen.add(word, follows);
        }
        if seen.all >= SAMPLE {
            break;
        }
    }
    seen.are_clauses()
}

/// Counts of words.
#[derive(Default)]
struct Words {
    all: usize,
    /// Words in a script without spaces.
    unspaced: usize,
    /// Words without spaces that follow another one.
    adjacent: usize,
    /// Characters of those words.
    characters: usize,
    /// Chinese and Japanese characters among them.
    ideographs: usize,
}

impl Words {
    /// Adds a word, which `follows` one in a script without spaces. Returns true if it is one.
    fn add(&mut self, word: &str, follows: bool) -> bool {
        if !word.contains(char::is_alphanumeric) {
            return false;
        }
        self.all += 1;
        if !word.contains(is_unspaced) {
            return false;
        }
        self.unspaced += 1;
        self.adjacent += usize::from(follows);
        self.characters += word.chars().count();
        self.ideographs += word.chars().filter(|c| *c >= '\u{3040}').count();
        true
    }

    fn are_clauses(&self) -> bool {
        // Means above which words are not words: one in Chinese has fewer than two characters, one in Thai
        // four.
        let longest = if 2 * self.ideographs > self.characters { 3 } else { 6 };
        let long = self.characters > longest * self.unspaced;
        let alone = 4 * self.adjacent < self.unspaced && self.characters > 2 * self.unspaced;
        2 * self.unspaced > self.all && (long || alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn input(tokenizer: &str) -> Input {
        let yaml = format!("data: {{train: x}}\ntext: {{tokenizer: {tokenizer}}}\n");
        config::parse(&yaml, "test", &[]).unwrap().config.inputs[0].clone()
    }

    fn unsegmented(texts: &[&str], tokenizer: &str) -> bool {
        let input = input(tokenizer);
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let rows: Vec<u32> = (0..texts.len() as u32).collect();
        is_unsegmented(&input, &TokenizedTexts::from_texts(&texts, &input.text), &rows)
    }

    #[test]
    fn clauses_without_spaces_are_recognized() {
        for texts in [
            &["导演手法实在平庸呢，画面效果相当平庸了"][..],
            &["很好看", "不好看，太差", "一般般"],
            &["画面不错 剧情很好", "3D 效果不好"],
            &["とても良い", "ひどかった。"],
            &["ภาพยนตร์เรื่องนี้สนุกมาก"],
            &["สนุกมาก", "ไม่ดี"],
        ] {
            for tokenizer in ["words, version: 2", "whitespace", "keras"] {
                assert!(unsegmented(texts, tokenizer), "{tokenizer}: {texts:?}");
            }
            for tokenizer in ["words", "characters"] {
                assert!(!unsegmented(texts, tokenizer), "{tokenizer}: {texts:?}");
            }
        }
        for texts in [
            &["导演 手法 平庸", "很 好看 ， 推荐"][..],
            &["ภาพยนตร์ เรื่อง นี้ สนุก มาก"],
            &["wonderfully 中文 film", "good"],
            &["좋은 영화"],
            &["好", "坏"],
            &["", "!"],
            &[],
        ] {
            for tokenizer in ["words, version: 2", "whitespace", "keras"] {
                assert!(!unsegmented(texts, tokenizer), "{tokenizer}: {texts:?}");
            }
        }
    }

    #[test]
    fn empty_texts_are_reported_with_their_column() {
        let input = input("words");
        let empty = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let rows: Vec<u32> = (0..texts.len() as u32).collect();
            all_empty(&input, "training", &TokenizedTexts::from_texts(&texts, &input.text), &rows)
        };
        let message = "all 2 training texts are empty; check data.text_column, which is text";
        assert_eq!(empty(&["", " <br>"]).as_deref(), Some(message));
        assert_eq!(empty(&["", "a"]), None);
        assert_eq!(empty(&[]), None);
    }
}
