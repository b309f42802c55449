//! Predictions for all prefixes of a text.

use super::model::Model;
use crate::text::Corpus;

/// Returns the probabilities of all classes after each word, [T, C] for each input: those of the
/// text up to this word, with the other inputs unchanged. `texts` has the text of each column.
pub(super) fn prefix_probabilities(model: &Model, texts: &[String]) -> Vec<Vec<Vec<f64>>> {
    let columns: Vec<Vec<String>> = texts.iter().map(|text| vec![text.clone()]).collect();
    let corpora = model.encoders.encode(&columns);
    let ids: Vec<Vec<u32>> =
        corpora.iter().map(|corpus: &Corpus| corpus.text(0).to_vec()).collect();
    let probabilities = |changed: usize| {
        let whole = &ids[changed];
        let rows = model.variants(&ids, changed, whole.len(), |word| whole[..=word].to_vec());
        rows.into_iter().map(|row| row.iter().map(|value| value.exp()).collect()).collect()
    };
    (0..ids.len()).map(probabilities).collect()
}
