//! Texts that contain their label, such as one that is joined from a column with the label.

use std::collections::HashMap;

use crate::config::Input;
use crate::data::examples::Examples;
use crate::data::finding::{Check, Finding};
use crate::data::targets::Target;
use crate::output::format::share;
use crate::text::{TokenizedTexts, Tokenizer};

/// Maximum number of texts that are looked at.
const SAMPLE: usize = 10_000;
/// Fraction of the texts that contain their label from which it is noted.
const MANY: f64 = 0.5;
/// Number of texts with their own label for each one that has another label from which it is noted: a word
/// such as "a" or "1" is in texts of any label.
const OWN_TO_OTHERS: usize = 4;

/// Returns a finding on each input whose texts contain their label. Texts of other processes are not looked at.
pub fn findings(examples: &Examples, labels: &[String], inputs: &[Input]) -> Vec<Finding> {
    let inputs = inputs.iter().zip(&examples.source.inputs);
    inputs.filter_map(|(input, texts)| finding(input, texts, examples, labels)).collect()
}

fn finding(
    input: &Input,
    texts: &TokenizedTexts,
    examples: &Examples,
    labels: &[String],
) -> Option<Finding> {
    let sequences = token_sequences(input, texts, labels);
    if sequences.iter().all(Option::is_none) {
        return None;
    }
    let step = examples.len().div_ceil(SAMPLE).max(1);
    let (mut own, mut others, mut looked_at) = (0, 0, 0);
    for (row, target) in examples.rows.iter().zip(examples.targets.iter()).step_by(step) {
        let of_example = match &target {
            Target::Label(label) => std::slice::from_ref(label),
            Target::LabelSet(set) => set,
            Target::Probabilities(_) | Target::Distilled { .. } => return None,
        };
        let Some(last) = of_example.last() else { continue };
        if !texts.has_text(*row as usize) {
            continue;
        }
        let text = texts.text(*row as usize);
        looked_at += 1;
        let contains = |label: &u32| {
            sequences[*label as usize]
                .as_ref()
                .is_some_and(|tokens| text.windows(tokens.len()).any(|window| window == tokens))
        };
        own += usize::from(of_example.iter().any(contains));
        // As many other labels stand for all.
        let following = (1..labels.len()).map(|step| (*last + step as u32) % labels.len() as u32);
        let mut following =
            following.filter(|label| !of_example.contains(label)).take(of_example.len());
        others += usize::from(following.any(|label| contains(&label)));
    }
    if looked_at == 0 {
        return None;
    }
    let is_leak = own as f64 >= MANY * looked_at as f64 && own >= OWN_TO_OTHERS * others;
    is_leak.then(|| {
        let field = input.field("column");
        let texts = share(own, looked_at, "training texts");
        let message = format!(
            "{texts} contain their label as a word, so that a model need not learn anything else; check {field}"
        );
        Finding::new(Check::LabelInText, message).counted(own, looked_at).setting(field)
    })
}

/// Returns the tokens of each label among those of the texts; `None` if it has none, or if one of them is in
/// no text.
fn token_sequences(
    input: &Input,
    texts: &TokenizedTexts,
    labels: &[String],
) -> Vec<Option<Vec<u32>>> {
    let mut tokenizer = Tokenizer::new(&input.text);
    let mut words_of = |label: &String| {
        let mut words = Vec::new();
        tokenizer.tokens(label, |token| words.push(token.to_owned()));
        words
    };
    let words: Vec<Vec<String>> = labels.iter().map(&mut words_of).collect();
    let mut indices: HashMap<&str, Option<u32>> =
        words.iter().flatten().map(|word| (word.as_str(), None)).collect();
    for (index, word) in texts.words().iter().enumerate() {
        if let Some(slot) = indices.get_mut(&**word) {
            *slot = Some(index as u32);
        }
    }
    let sequence = |words: &Vec<String>| -> Option<Vec<u32>> {
        let tokens = words.iter().map(|word| indices[word.as_str()]);
        tokens.collect::<Option<Vec<u32>>>().filter(|tokens| !tokens.is_empty())
    };
    words.iter().map(sequence).collect()
}
