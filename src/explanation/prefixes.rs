//! Predictions for all prefixes of a text.

use super::model::Model;
use crate::objective::Scaling;
use crate::text::{LocatedText, join_columns};

/// Returns the probabilities of all classes after each word, [T, C] for each input: those of the
/// text up to this word, with the other inputs unchanged. `texts` has the text of each column.
pub(super) fn prefix_probabilities(
    model: &Model,
    scaling: &Scaling,
    texts: &[String],
) -> Vec<Vec<Vec<f64>>> {
    let columns: Vec<Vec<String>> = texts.iter().map(|text| vec![text.clone()]).collect();
    let indices = model.config.inputs.column_indices();
    let located: Vec<LocatedText> = indices
        .iter()
        .zip(&*model.encoders)
        .map(|(indices, encoder)| encoder.locate(&join_columns(&columns, indices).concat()))
        .collect();
    let probabilities = |changed: usize| {
        let whole = &located[changed];
        let read: Vec<usize> = whole.read().collect();
        let rows = model.variants(&located, changed, &read, |token| whole.prefix(token).words());
        let scaled = rows.into_iter().map(|mut row| {
            scaling.apply(model.labelling(), &mut row);
            row.iter().map(|value| value.exp()).collect()
        });
        scaled.collect()
    };
    (0..located.len()).map(probabilities).collect()
}
