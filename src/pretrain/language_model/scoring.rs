//! Scores of single texts by a language model.

use crate::backend::{LanguageModelBatch, LanguageModelLearner};
use crate::run::language_model::Perplexity;
use crate::text::{Corpus, START};

/// Score of a text. Each direction predicts all of its tokens and its end.
#[derive(Clone, Debug, PartialEq)]
pub struct TextScore {
    /// Number of predictions of each direction: one more than the text has tokens.
    pub predictions: usize,
    /// Sum of the negative log-probabilities of the predictions of each direction in nats.
    pub losses: Vec<f64>,
}

impl TextScore {
    /// Perplexity of each direction.
    pub fn perplexity(&self) -> Perplexity {
        Perplexity::of(self.losses.iter().map(|loss| loss / self.predictions as f64))
    }

    /// Adds up the scores of texts.
    pub fn total<'a>(scores: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        scores.into_iter().cloned().reduce(|mut sum, score| {
            sum.predictions += score.predictions;
            sum.losses.iter_mut().zip(score.losses).for_each(|(sum, loss)| *sum += loss);
            sum
        })
    }
}

/// Maximum number of predictions of a row in a batch.
const STEPS: usize = 64;
/// Maximum number of texts that are scored side by side.
const ROWS: usize = 64;

/// Scores each text of a corpus on its own. Texts of the same length are scored side by side.
///
/// # Errors
/// Returns the errors of the backend.
pub fn score_texts(
    learner: &mut dyn LanguageModelLearner,
    corpus: &Corpus,
    directions: usize,
) -> anyhow::Result<Vec<TextScore>> {
    let mut order: Vec<usize> = (0..corpus.len()).collect();
    order.sort_by_key(|text| corpus.text(*text).len());
    let mut scores: Vec<Option<TextScore>> = vec![None; corpus.len()];
    for alike in order.chunk_by(|a, b| corpus.text(*a).len() == corpus.text(*b).len()) {
        for texts in alike.chunks(ROWS) {
            let predictions = corpus.text(texts[0]).len() + 1;
            let mut sums = vec![vec![0.0; texts.len()]; directions];
            for from in (0..predictions).step_by(STEPS) {
                let steps = STEPS.min(predictions - from);
                let batch = batch(corpus, texts, from, steps, directions);
                let losses = learner.score(&batch, from == 0)?;
                for (sums, losses) in sums.iter_mut().zip(losses) {
                    sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
                }
            }
            for (row, text) in texts.iter().enumerate() {
                let losses = sums.iter().map(|sums| sums[row]).collect();
                scores[*text] = Some(TextScore { predictions, losses });
            }
        }
    }
    Ok(scores.into_iter().flatten().collect())
}

/// Returns a batch with `steps` predictions of these texts, from the prediction at index `from` on. START stands before
/// and after each text.
fn batch(
    corpus: &Corpus,
    texts: &[usize],
    from: usize,
    steps: usize,
    directions: usize,
) -> LanguageModelBatch {
    let ids = (0..directions).map(|direction| {
        let rows = texts.iter().flat_map(|text| {
            let text = corpus.text(*text);
            (from..=from + steps).map(move |position| match position.checked_sub(1) {
                Some(index) if index < text.len() && direction == 0 => text[index],
                Some(index) if index < text.len() => text[text.len() - 1 - index],
                _ => START,
            })
        });
        rows.collect()
    });
    LanguageModelBatch { ids: ids.collect(), rows: texts.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{LanguageModelStats, Times};
    use crate::config::PadSide;
    use crate::distributed::Group;
    use crate::model::NamedTensor;

    /// Scores a prediction by its id, and remembers how many rows continued.
    #[derive(Default)]
    struct ById {
        batches: Vec<(usize, bool)>,
    }

    impl LanguageModelLearner for ById {
        fn step(
            &mut self,
            _: &LanguageModelBatch,
            _: u64,
            _: f64,
            _: Group,
        ) -> anyhow::Result<LanguageModelStats> {
            anyhow::bail!("not trained")
        }
        fn score(
            &mut self,
            batch: &LanguageModelBatch,
            starts: bool,
        ) -> anyhow::Result<Vec<Vec<f64>>> {
            self.batches.push((batch.rows, starts));
            let width = batch.steps() + 1;
            let row = |ids: &[u32]| ids[1..].iter().map(|id| f64::from(*id)).sum();
            Ok(batch.ids.iter().map(|ids| ids.chunks_exact(width).map(row).collect()).collect())
        }
        fn reset_states(&mut self) {}
        fn weights(&self) -> Vec<NamedTensor> {
            Vec::new()
        }
        fn optimizer_state(&mut self) -> Vec<NamedTensor> {
            Vec::new()
        }
        fn load_optimizer_state(&mut self, _: Vec<NamedTensor>) -> anyhow::Result<()> {
            Ok(())
        }

        fn times(&self) -> Times {
            Times::default()
        }
    }

    #[test]
    fn every_token_and_the_end_are_predicted_once() {
        let long: Vec<u32> = (0..100).map(|index| 4 + index % 7).collect();
        let texts: [&[u32]; 4] = [&[4, 5], &long, &[6, 7], &[9]];
        let corpus = Corpus::from_texts(PadSide::Back, usize::MAX, texts);
        let mut model = ById::default();
        let scores = score_texts(&mut model, &corpus, 2).unwrap();
        for (score, text) in scores.iter().zip(texts) {
            let sum = f64::from(text.iter().sum::<u32>() + START);
            let expected = TextScore { predictions: text.len() + 1, losses: vec![sum, sum] };
            assert_eq!(*score, expected);
        }
        assert_eq!(model.batches, [(1, true), (2, true), (1, true), (1, false)]);
        let total = TextScore::total(&scores).unwrap();
        assert_eq!(total.predictions, 3 + 101 + 3 + 2);
    }
}
