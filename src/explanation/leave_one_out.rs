//! The text without each word in turn.

use super::{Explainer, Question};
use crate::backend::Inference;
use crate::backend::native::log_odds;
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
        let rows = self.variants(&question.ids, changed, whole.len(), without);
        rows.iter().map(|row| question.log_odds - log_odds(row, question.class)).collect()
    }

    /// The log probabilities [C] of an example in `count` variants: the ids of input `changed` are
    /// those of `variant`, all others those of `ids`.
    pub(super) fn variants(
        &self,
        ids: &[Vec<u32>],
        changed: usize,
        count: usize,
        variant: impl Fn(usize) -> Vec<u32>,
    ) -> Vec<Vec<f64>> {
        let numbers: Vec<usize> = (0..count).collect();
        let mut found = Vec::with_capacity(count);
        for numbers in numbers.chunks(TOGETHER) {
            let variants: Vec<Vec<u32>> = numbers.iter().map(|number| variant(*number)).collect();
            let corpora: Vec<_> = ids
                .iter()
                .enumerate()
                .map(|(input, ids)| match input == changed {
                    true => self.corpus(input, variants.iter().map(Vec::as_slice)),
                    false => self.corpus(input, numbers.iter().map(|_| ids.as_slice())),
                })
                .collect();
            let examples: Vec<u32> = (0..numbers.len() as u32).collect();
            let batches: Vec<&[u32]> = examples.chunks(BATCH).collect();
            for rows in self.classifier.classify(&corpora, &batches) {
                found.extend(rows.chunks_exact(self.labels.len()).map(<[f64]>::to_vec));
            }
        }
        found
    }
}
