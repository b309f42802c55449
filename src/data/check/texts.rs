//! Texts of which a model knows nothing: empty ones, and those without a word of the vocabulary; unknown
//! tokens, and scripts that a tokenizer does not fit.

use crate::config::{Input, Inputs, VocabularySource};
use crate::data::examples::Examples;
use crate::data::finding::{Check, Finding, Level};
use crate::data::text_faults::{is_unsegmented, unfit_tokenizer};
use crate::output::format::{pluralize, share};
use crate::text::{Corpus, Encoder, OOV, TokenizedTexts};

/// Fraction of the texts from which on a note advises what to change.
const MANY: f64 = 0.05;
/// Fraction of the tokens that are unknown from which they are noted.
const MANY_TOKENS: f64 = 0.1;

/// Returns findings on the texts of which the model knows nothing. For each input, `corpora` has the texts
/// as `encoders` encode them. `part` says which texts they are, such as "training ".
///
/// # Errors
/// Returns an error if a process is lost that has some of the texts.
pub fn findings(
    part: &str,
    examples: &Examples,
    inputs: &Inputs,
    encoders: &[Encoder],
    corpora: &[Corpus],
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let (encoder, corpus) = (&encoders[index], &corpora[index]);
        let tokenized = &examples.source.inputs[index];
        let is_empty = |row: &&u32| tokenized.length(**row as usize) == 0;
        let empty = examples.rows.iter().filter(is_empty).count();
        let mut unknown = [encoder.unknown_texts(corpus) as u64];
        if let Some(shards) = tokenized.shards() {
            shards.collective().sum_counts(&mut unknown)?;
        }
        let unknown = unknown[0] as usize - empty;
        let texts = corpus.len();
        let is_many = |count: usize| count as f64 >= MANY * texts as f64;
        let finding = |check: Check, count: usize, [one, several]: [&str; 2], advice: &str| {
            let fault = if count == 1 { one } else { several };
            let texts_shown = share(count, texts, &format!("{part}texts"));
            let message = format!("{}{texts_shown} {fault}{advice}", prefix(input));
            Finding::new(check, message).counted(count, texts)
        };
        if empty > 0 {
            let column = input.field("column");
            let advice = match is_many(empty) {
                true => format!("; remove them, or check {column}"),
                false => String::new(),
            };
            let fault = ["is empty", "are empty"];
            findings.push(finding(Check::EmptyTexts, empty, fault, &advice).setting(column));
        }
        if unknown > 0 {
            let fits = || !is_unsegmented(input, tokenized, &examples.rows);
            let advice = vocabulary_advice(input, encoder).filter(|_| is_many(unknown) && fits());
            let (text, setting) = advice.unzip();
            let fault = ["has no known word", "have no known word"];
            let text = text.unwrap_or_default();
            let found = finding(Check::UnknownTokens, unknown, fault, &text);
            findings.push(Finding { setting, ..found });
        }
    }
    Ok(findings)
}

/// Returns a finding on the share of unknown tokens of each input, with the arguments of [`findings`].
pub fn unknown_tokens(
    part: &str,
    examples: &Examples,
    inputs: &Inputs,
    encoders: &[Encoder],
    corpora: &[Corpus],
) -> Vec<Finding> {
    let finding =
        |((input, encoder), (corpus, texts)): ((&Input, &Encoder), (&Corpus, &TokenizedTexts))| {
            let counts = corpus.id_counts(encoder.vocabulary().len());
            let (unknown, tokens) = (counts[OOV as usize] as usize, corpus.tokens());
            let share = unknown as f64 / tokens.max(1) as f64;
            let is_many = share >= MANY_TOKENS
                && !is_unsegmented(input, texts, &examples.rows)
                && encoder.word_buckets().is_none();
            let (advice, setting) = vocabulary_advice(input, encoder).filter(|_| is_many).unzip();
            let message = format!(
                "{}{:.1} % of the {part}tokens are not in the vocabulary{}",
                prefix(input),
                100.0 * share,
                advice.unwrap_or_default()
            );
            let level = if setting.is_some() { Level::Note } else { Level::Ok };
            let found = Finding::new(Check::UnknownTokens, message).counted(unknown, tokens);
            Finding { setting, level, ..found }
        };
    let inputs = inputs.iter().zip(encoders);
    inputs.zip(corpora.iter().zip(&examples.source.inputs)).map(finding).collect()
}

fn prefix(input: &Input) -> String {
    input.name.as_ref().map_or(String::new(), |name| format!("{name}: "))
}

/// Returns a finding on each input whose tokenizer does not fit the script of these examples.
pub fn script_findings(examples: &Examples, inputs: &Inputs) -> Vec<Finding> {
    let finding = |(input, texts): (&Input, &TokenizedTexts)| {
        let (message, field) = unfit_tokenizer(input, texts, &examples.rows)?;
        Some(Finding::new(Check::Script, message).setting(field))
    };
    inputs.iter().zip(&examples.source.inputs).filter_map(finding).collect()
}

/// Returns advice on the setting that gives more words an id, and the setting.
fn vocabulary_advice(input: &Input, encoder: &Encoder) -> Option<(String, String)> {
    let text = &input.text;
    let field = |name: &str| input.field(&format!("text.{name}"));
    if text.vocabulary != VocabularySource::Counted {
        let field = field("vocabulary");
        Some((format!("; does {field} fit these texts?"), field))
    } else if encoder.vocabulary().len() >= text.vocabulary_size {
        let field = field("vocabulary_size");
        Some((format!("; increase {field}"), field))
    } else if text.min_count > 1 {
        let times = pluralize(text.min_count as usize, "time");
        let field = field("min_count");
        let advice = format!("; lower {field}, which drops words that occur less than {times}");
        Some((advice, field))
    } else {
        None
    }
}
