//! The steps of a language model that is being trained.

use std::time::Instant;

use super::report::{Amount, Round};
use super::workload::{RunRound, Workload};
use crate::backend::{Backend, LanguageModelLearner};
use crate::config::{Input, Resolved};
use crate::distributed::Group;
use crate::pretrain::PretrainingTexts;
use crate::pretrain::language_model::{self, Rows, TokenStream};

/// The texts and batches on which language models are trained.
pub struct LanguageModelSteps {
    resolved: Resolved,
    texts: PretrainingTexts,
    rows: Rows,
    steps: usize,
}

impl LanguageModelSteps {
    /// Reads the texts. At most `steps` batches make a round.
    ///
    /// # Errors
    /// Returns an error if they cannot be read, or if they are too few.
    pub fn new(resolved: Resolved, steps: usize) -> anyhow::Result<Self> {
        language_model::check(&resolved.config.inputs[0])?;
        let texts = PretrainingTexts::load(&resolved.config, true, None)?;
        let rows = language_model::rows(&resolved.config, &texts)?;
        Ok(Self { steps: steps.min(rows.batches()), resolved, texts, rows })
    }

    fn round(
        &self,
        stream: &TokenStream,
        learner: &mut dyn LanguageModelLearner,
    ) -> anyhow::Result<Round> {
        let mut round = Round { prepares_meanwhile: false, ..Round::new() };
        let before = learner.times();
        let directions = self.input().lstm.directions();
        learner.reset_states();
        let begun = Instant::now();
        for step in 0..self.steps {
            let start = Instant::now();
            let batch = stream.batch(&self.rows, step, directions);
            round.prepare += start.elapsed().as_secs_f64();
            // With this learning rate, the weights hardly change, and the step takes as long as any other.
            learner.step(&batch, step as u64, 1e-9, Group::ALONE)?;
        }
        round.seconds = begun.elapsed().as_secs_f64();
        round.add_parts(&before, learner.times());
        Ok(round)
    }

    fn input(&self) -> &Input {
        &self.resolved.config.inputs[0]
    }
}

impl Workload for LanguageModelSteps {
    fn start<'a>(&'a self, backend: &'a dyn Backend) -> anyhow::Result<RunRound<'a>> {
        let config = &self.resolved.config;
        let mut learner = language_model::new_learner(backend, config, &self.texts, self.rows)?;
        let stream = TokenStream::shuffled(&self.texts.train, config.train.seed, 0);
        Ok(Box::new(move || self.round(&stream, &mut *learner)))
    }

    /// A token that both directions read counts once.
    fn amount(&self) -> Amount {
        let tokens = self.steps * self.rows.count * self.rows.steps;
        let negatives = self.resolved.config.pretrain.language_model.negatives;
        let operations = tokens as f64 * operations(self.input(), negatives);
        Amount { steps: self.steps, tokens, operations }
    }
}

/// Computes the nominal number of operations per token in training: three products with every weight of the LSTMs and
/// of the projection, and with the vector of every negative and of the target.
fn operations(input: &Input, negatives: usize) -> f64 {
    let (units, size) = (input.lstm.units, input.embedding.size);
    let layer = |layer: usize| {
        let inputs = if layer == 0 { size } else { units };
        4 * units * (inputs + units)
    };
    let layers = if input.lstm.bidirectional { 1 } else { input.lstm.layers };
    let weights = (0..layers).map(layer).sum::<usize>() + units * size + (negatives + 1) * size;
    (input.lstm.directions() * 3 * 2 * weights) as f64
}
