//! Contributions of n-grams, which are exact: the branch over them is linear.

use std::collections::BTreeMap;

use super::attribution::ExplainedNgram;
use super::model::Model;
use crate::model::parameters::{ngram_value_name, ngram_weight_name};
use crate::text::{LocatedText, for_each_ngram};

/// N-grams of the text of an input.
pub(super) struct TextNgrams {
    /// One for each different row of the weights.
    ngrams: Vec<TextNgram>,
    /// Sum of the logits of all n-grams.
    pub logits: Vec<f64>,
}

/// An n-gram of a text.
struct TextNgram {
    /// Logits that it adds.
    logits: Vec<f64>,
    /// Tokens of each occurrence.
    occurrences: Vec<Vec<usize>>,
}

impl TextNgrams {
    /// Looks up the n-grams of a text of the input at `input`; there are none if the input reads none.
    pub fn of(model: &Model, input: usize, text: &LocatedText, logits: usize) -> Self {
        let mut found: BTreeMap<u32, Vec<Vec<usize>>> = BTreeMap::new();
        if let Some(index) = model.encoders[input].ngrams() {
            let (tokens, words): (Vec<usize>, Vec<u64>) = text.located_words().unzip();
            for_each_ngram(&words, index.sizes(), |start, size, hash| {
                if let Some(row) = index.row(hash) {
                    let tokens = tokens[start..start + size].to_vec();
                    found.entry(row).or_default().push(tokens);
                }
            });
        }
        let config = &model.config.inputs[input];
        let tensor = |name: String| {
            model.classifier.weights().find(|tensor| tensor.name == name).map(|t| &t.values[..])
        };
        let weight = tensor(ngram_weight_name(config)).unwrap_or_default();
        let value = tensor(ngram_value_name(config));
        let product =
            |at: usize| f64::from(weight[at]) * value.map_or(1.0, |value| f64::from(value[at]));
        let ngram = |(row, occurrences): (u32, Vec<Vec<usize>>)| {
            let first = row as usize * logits;
            TextNgram { logits: (first..first + logits).map(product).collect(), occurrences }
        };
        let ngrams: Vec<TextNgram> = found.into_iter().map(ngram).collect();
        let mut sums = vec![0.0; logits];
        for ngram in &ngrams {
            sums.iter_mut().zip(&ngram.logits).for_each(|(sum, logit)| *sum += logit);
        }
        Self { ngrams, logits: sums }
    }

    /// Adds the contribution of each n-gram to its words, in equal shares. `slopes` has the derivative of
    /// the log-odds with respect to each logit, averaged over the path. Returns the n-grams by falling
    /// size of their contributions.
    pub fn attribute(
        &self,
        slopes: &[f64],
        text: (&str, &LocatedText),
        contributions: &mut [f64],
    ) -> Vec<ExplainedNgram> {
        let mut explained = Vec::with_capacity(self.ngrams.len());
        for TextNgram { logits, occurrences } in &self.ngrams {
            let contribution: f64 = logits.iter().zip(slopes).map(|(a, b)| a * b).sum();
            for tokens in occurrences {
                let share = contribution / (occurrences.len() * tokens.len()) as f64;
                tokens.iter().for_each(|token| contributions[*token] += share);
            }
            let (text, located) = text;
            let word = |token: &usize| {
                located.tokens[*token].span.clone().map(|span| &text[span]).unwrap_or_default()
            };
            let words: Vec<&str> = occurrences[0].iter().map(word).collect();
            explained.push(ExplainedNgram { ngram: words.join(" "), contribution });
        }
        explained.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        explained
    }
}
