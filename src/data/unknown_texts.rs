//! Texts of which a model knows nothing: empty ones, and those without a word of the vocabulary.

use super::Examples;
use crate::config::{Input, Inputs, TokenizerKind};
use crate::output::format::{group_digits, pluralize};
use crate::text::{Corpus, Encoder};

/// Fraction of the texts from which on a note advises what to change.
const MANY: f64 = 0.05;
/// Number of words that are examined to recognize a script.
const SAMPLE: usize = 10_000;
/// Mean length in characters above which words in a script without spaces are whole clauses.
const CLAUSE: usize = 6;

/// Returns notes on the texts of which the model knows nothing. For each input, `corpora` has the texts
/// as `encoders` encode them. `name` says which texts they are, such as "training texts".
pub fn notes(
    name: &str,
    examples: &Examples,
    inputs: &Inputs,
    encoders: &[Encoder],
    corpora: &[Corpus],
) -> Vec<String> {
    let mut notes = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let (encoder, corpus) = (&encoders[index], &corpora[index]);
        let tokenized = &examples.source.inputs[index];
        let is_empty = |row: &&u32| tokenized.text(**row as usize).is_empty();
        let empty = examples.rows.iter().filter(is_empty).count();
        let unknown = encoder.unknown_texts(corpus) - empty;
        let mut note = |count: usize, fault: &str, advice: &dyn Fn() -> String| {
            let texts = corpus.len();
            let advice = if count as f64 >= MANY * texts as f64 { advice() } else { String::new() };
            let (count, texts) = (group_digits(count), group_digits(texts));
            let input = input.name.as_ref().map_or(String::new(), |name| format!("{name}: "));
            notes.push(format!("{input}{count} of {texts} {name} {fault}{advice}"));
        };
        if empty > 0 {
            let check = || format!("; remove them, or check {}", input.field("column"));
            note(empty, "are empty", &check);
        }
        if unknown > 0 {
            let advice = || match is_unsegmented(tokenized.words(), input) {
                true => String::new(),
                false => vocabulary_advice(input, encoder),
            };
            note(unknown, "have no known word", &advice);
        }
    }
    notes
}

/// Returns a note for each input whose tokenizer does not fit the script of these examples.
pub fn script_notes(examples: &Examples, inputs: &Inputs) -> Vec<String> {
    let note = |input: &Input| {
        format!(
            "the texts are in a script without spaces between words, which {field}: {tokenizer} does not \
             split; set {field}: {characters}",
            field = input.field("text.tokenizer"),
            tokenizer = input.text.tokenizer.as_str(),
            characters = TokenizerKind::Characters.as_str(),
        )
    };
    let tokenized = inputs.iter().zip(&examples.source.inputs);
    let unsegmented = tokenized.filter(|(input, texts)| is_unsegmented(texts.words(), input));
    unsegmented.map(|(input, _)| note(input)).collect()
}

/// Returns the setting that gives more words an id.
fn vocabulary_advice(input: &Input, encoder: &Encoder) -> String {
    let text = &input.text;
    let field = |name: &str| input.field(&format!("text.{name}"));
    if text.vocabulary.is_some() {
        format!("; does {} fit these texts?", field("vocabulary"))
    } else if encoder.vocabulary().len() >= text.vocabulary_size {
        format!("; increase {}", field("vocabulary_size"))
    } else if text.min_count > 1 {
        let times = pluralize(text.min_count as usize, "time");
        format!("; lower {}, which drops words that occur less than {times}", field("min_count"))
    } else {
        String::new()
    }
}

/// Returns true if most words are whole clauses in a script without spaces between words.
fn is_unsegmented(words: &[Box<str>], input: &Input) -> bool {
    if input.text.tokenizer == TokenizerKind::Characters {
        return false;
    }
    let words = || words.iter().take(SAMPLE).filter(|word| word.contains(char::is_alphanumeric));
    let unspaced = || words().filter(|word| word.contains(has_no_spaces));
    let count = unspaced().count();
    let characters: usize = unspaced().map(|word| word.chars().count()).sum();
    2 * count > words().count() && characters > CLAUSE * count
}

/// Returns true for letters of scripts that separate clauses but not words: Thai, Lao, Myanmar, Khmer,
/// Japanese and Chinese.
fn has_no_spaces(character: char) -> bool {
    matches!(
        character,
        '\u{E00}'..='\u{EFF}'
            | '\u{1000}'..='\u{109F}'
            | '\u{1780}'..='\u{17FF}'
            | '\u{3040}'..='\u{30FF}'
            | '\u{3400}'..='\u{4DBF}'
            | '\u{4E00}'..='\u{9FFF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{20000}'..='\u{3FFFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn unsegmented(words: &[&str], tokenizer: &str) -> bool {
        let yaml = format!("data: {{train: x}}\ntext: {{tokenizer: {tokenizer}}}\n");
        let input = &config::parse(&yaml, "test", &[]).unwrap().config.inputs[0];
        let words: Vec<Box<str>> = words.iter().map(|word| (*word).into()).collect();
        is_unsegmented(&words, input)
    }

    #[test]
    fn clauses_without_spaces_are_recognized() {
        let chinese = ["导演手法实在平庸呢", "，", "画面效果相当平庸了"];
        assert!(unsegmented(&chinese, "words") && unsegmented(&chinese, "whitespace"));
        assert!(!unsegmented(&chinese, "characters"));
        assert!(unsegmented(&["ภาพยนตร์เรื่องนี้สนุกมาก"], "words"));
        for segmented in [
            &["导演", "手法", "平庸"][..],
            &["ภาพยนตร์", "นี้", "สนุก", "มาก"],
            &["wonderfully", "中文"],
            &[],
        ] {
            assert!(!unsegmented(segmented, "words"), "{segmented:?}");
        }
    }
}
