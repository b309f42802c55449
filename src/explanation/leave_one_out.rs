//! Leave-one-out: the decrease in log-odds when a word is removed.

use super::model::{EncodedExample, Model, words};
use crate::objective::log_odds;
use crate::text::OOV;

/// Returns the contribution of each token of each input. A text of one word without it is one
/// unknown word. Truncated tokens count only in n-grams.
pub(super) fn leave_one_out(model: &Model, example: &EncodedExample) -> Vec<Vec<f64>> {
    let contributions = |input: usize| {
        let text = &example.texts[input];
        let tokens: Vec<usize> = match model.encoders[input].ngrams() {
            Some(_) => (0..text.tokens.len()).collect(),
            None => text.read().collect(),
        };
        let without = |token: usize| {
            let mut text = text.clone();
            text.remove(token);
            let (ids, words) = words(&text);
            (if ids.is_empty() { vec![OOV] } else { ids }, words)
        };
        let rows = model.variants(&example.texts, input, &tokens, without);
        let mut contributions = vec![0.0; text.tokens.len()];
        for (token, row) in tokens.into_iter().zip(rows) {
            contributions[token] = example.log_odds - log_odds(&row, example.class);
        }
        contributions
    };
    (0..example.texts.len()).map(contributions).collect()
}
