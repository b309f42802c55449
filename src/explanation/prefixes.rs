//! What a model says word by word.

use super::Explainer;
use crate::text::Corpus;

impl Explainer {
    /// For each input the probability of every class, [T, C], after each of the words that are read:
    /// what the model would say of the words read so far alone, the other inputs being whole. `texts`
    /// has the text of each column of the inputs.
    pub fn word_by_word(&self, texts: &[String]) -> Vec<Vec<Vec<f64>>> {
        let columns: Vec<Vec<String>> = texts.iter().map(|text| vec![text.clone()]).collect();
        let ids: Vec<Vec<u32>> = self
            .encoders
            .encode(&columns)
            .iter()
            .map(|corpus: &Corpus| corpus.text(0).to_vec())
            .collect();
        let probabilities = |changed: usize| {
            let whole = &ids[changed];
            let rows = self.variants(&ids, changed, whole.len(), |word| whole[..=word].to_vec());
            rows.into_iter().map(|row| row.iter().map(|value| value.exp()).collect()).collect()
        };
        (0..ids.len()).map(probabilities).collect()
    }
}
