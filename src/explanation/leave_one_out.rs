//! Leave-one-out: the decrease in log-odds when a word is removed.

use super::model::{EncodedExample, Model};
use crate::objective::log_odds;
use crate::text::OOV;

/// Returns the contribution of each word of each input. A text of one word without it is one
/// unknown word.
pub(super) fn leave_one_out(model: &Model, example: &EncodedExample) -> Vec<Vec<f64>> {
    let contributions = |input: usize| {
        let ids = &example.ids[input];
        let without = |word: usize| -> Vec<u32> {
            let rest = [&ids[..word], &ids[word + 1..]].concat();
            if rest.is_empty() { vec![OOV] } else { rest }
        };
        let rows = model.variants(&example.ids, input, ids.len(), without);
        rows.iter().map(|row| example.log_odds - log_odds(row, example.class)).collect()
    };
    (0..example.ids.len()).map(contributions).collect()
}
