//! Leave-one-out: the decrease in log-odds when a word is removed.

use super::alignment::Unit;
use super::encoded_models::EncodedModels;
use crate::text::OOV;

/// Returns the contribution of each unit of each input. A text of one word without it is one unknown
/// word. Truncated tokens count only in n-grams.
pub(super) fn leave_one_out(encoded: &EncodedModels, units: &[Vec<Unit>]) -> Vec<Vec<f64>> {
    let contributions = |input: usize| {
        let counted: Vec<usize> = (0..units[input].len())
            .filter(|unit| encoded.is_read(input, &units[input][*unit]))
            .collect();
        let rows: Vec<Vec<f64>> = encoded
            .iter()
            .enumerate()
            .map(|(index, (model, example))| {
                let without = |unit: usize| {
                    let mut text = example.texts[input].clone();
                    let tokens = units[input][unit].tokens[index].iter();
                    tokens.rev().for_each(|token| text.remove(*token));
                    let mut words = text.words();
                    if words.ids.is_empty() {
                        words.ids.push(OOV);
                    }
                    words
                };
                model.variants(&example.texts, input, &counted, without).concat()
            })
            .collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let combined = encoded.combine(&rows);
        let mut contributions = vec![0.0; units[input].len()];
        for (unit, row) in counted.into_iter().zip(combined.chunks_exact(encoded.classes())) {
            contributions[unit] =
                encoded.log_odds - encoded.labelling().log_odds(row, encoded.class);
        }
        contributions
    };
    (0..units.len()).map(contributions).collect()
}
