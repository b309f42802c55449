//! Texts of which a model knows nothing: empty ones, and those without a word of the vocabulary.

use super::Examples;
use super::text_faults::{is_unsegmented, unfit_tokenizer};
use crate::config::{Input, Inputs, VocabularySource};
use crate::output::format::{pluralize, share};
use crate::text::{Corpus, Encoder};

/// Fraction of the texts from which on a note advises what to change.
const MANY: f64 = 0.05;

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
        let mut note = |count: usize, [one, several]: [&str; 2], advice: &dyn Fn() -> String| {
            let texts = corpus.len();
            let advice = if count as f64 >= MANY * texts as f64 { advice() } else { String::new() };
            let fault = if count == 1 { one } else { several };
            let input = input.name.as_ref().map_or(String::new(), |name| format!("{name}: "));
            notes.push(format!("{input}{} {fault}{advice}", share(count, texts, name)));
        };
        if empty > 0 {
            let check = || format!("; remove them, or check {}", input.field("column"));
            note(empty, ["is empty", "are empty"], &check);
        }
        if unknown > 0 {
            let advice = || match is_unsegmented(input, tokenized, &examples.rows) {
                true => String::new(),
                false => vocabulary_advice(input, encoder),
            };
            note(unknown, ["has no known word", "have no known word"], &advice);
        }
    }
    notes
}

/// Returns a note for each input whose tokenizer does not fit the script of these examples.
pub fn script_notes(examples: &Examples, inputs: &Inputs) -> Vec<String> {
    let inputs = inputs.iter().zip(&examples.source.inputs);
    inputs.filter_map(|(input, texts)| unfit_tokenizer(input, texts, &examples.rows)).collect()
}

/// Returns the setting that gives more words an id.
fn vocabulary_advice(input: &Input, encoder: &Encoder) -> String {
    let text = &input.text;
    let field = |name: &str| input.field(&format!("text.{name}"));
    if text.vocabulary != VocabularySource::Counted {
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
