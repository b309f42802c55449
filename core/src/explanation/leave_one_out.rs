//! The text without each word in turn.

use super::{Explainer, Question};
use crate::backend::Classifier;
use crate::native::log_odds;
use crate::text::OOV;

/// Texts that are in memory together.
const TOGETHER: usize = 1024;
/// Texts that are computed together.
const BATCH: usize = 64;

impl Explainer {
    /// For each input what each of its words adds to the log-odds. A text of one word becomes one
    /// without words, which is read as an unknown word.
    pub(super) fn leave_one_out(&self, question: &Question) -> Vec<Vec<f64>> {
        let inputs = 0..question.ids.len();
        inputs.map(|input| self.leave_one_out_of(input, question)).collect()
    }

    fn leave_one_out_of(&self, changed: usize, question: &Question) -> Vec<f64> {
        let whole = &question.ids[changed];
        let without = |place: usize| -> Vec<u32> {
            let rest = [&whole[..place], &whole[place + 1..]].concat();
            if rest.is_empty() { vec![OOV] } else { rest }
        };
        let places: Vec<usize> = (0..whole.len()).collect();
        let mut contributions = Vec::with_capacity(whole.len());
        for places in places.chunks(TOGETHER) {
            let shorter: Vec<Vec<u32>> = places.iter().map(|place| without(*place)).collect();
            let corpora: Vec<_> = question
                .ids
                .iter()
                .enumerate()
                .map(|(input, ids)| match input == changed {
                    true => self.corpus(input, shorter.iter().map(Vec::as_slice)),
                    false => self.corpus(input, places.iter().map(|_| ids.as_slice())),
                })
                .collect();
            let examples: Vec<u32> = (0..places.len() as u32).collect();
            let batches: Vec<&[u32]> = examples.chunks(BATCH).collect();
            for rows in self.classifier.classify(&corpora, &batches) {
                let fall = |row| question.log_odds - log_odds(row, question.class);
                contributions.extend(rows.chunks_exact(self.labels.len()).map(fall));
            }
        }
        contributions
    }
}
