//! The steps of a classifier that is being trained.

use std::time::Instant;

use super::report::{Amount, Round};
use super::workload::{RunRound, Workload};
use crate::backend::{Backend, Learner};
use crate::config::{Input, Resolved};
use crate::data::batch_plan::{BatchPlan, Bucketing};
use crate::data::prepared::PreparedData;
use crate::distributed::{Group, SingleProcess, Worker};
use crate::run::checkpoint::Checkpoint;
use crate::train::AddedTexts;
use crate::train::setup::{self, Beginning};

/// The examples and batches on which classifiers are trained.
pub struct ClassifierSteps {
    data: PreparedData,
    plan: BatchPlan,
    steps: usize,
}

impl ClassifierSteps {
    /// Reads the examples. At most `steps` batches make a round.
    ///
    /// # Errors
    /// Returns an error if they cannot be read.
    pub fn new(resolved: Resolved, backend: &dyn Backend, steps: usize) -> anyhow::Result<Self> {
        let known = Checkpoint::source_encoders(&resolved.config)?;
        let mut data = PreparedData::prepare_with(resolved, &known, None)?;
        setup::resolve_token_budget(backend, &mut data, &SingleProcess)?;
        let train = &data.resolved.config.train;
        let plan = Bucketing::new(train).plan(&data.train.lengths(), train.seed, 0);
        let steps = steps.min(plan.len());
        Ok(Self { data, plan, steps })
    }

    fn round(&self, learner: &mut dyn Learner) -> anyhow::Result<Round> {
        let config = &self.data.resolved.config.train;
        learner.start_averaging();
        let before = learner.times();
        let mut prepare = learner.preparer(Worker::ALONE);
        let mut added = AddedTexts::of(&self.data)?.batches(learner);
        let mut round = Round::new();
        let between = learner.stats_interval();
        let begun = Instant::now();
        for step in 0..self.steps {
            let start = Instant::now();
            let batch = prepare(&self.data.train, self.plan.batch(step), step as u64);
            let batch = added.add_to(batch, step as u64);
            round.prepare += start.elapsed().as_secs_f64();
            let start = Instant::now();
            // With this learning rate, the weights hardly change, and the step takes as long as any other.
            learner.step(&batch, Group::ALONE, config.gradient_clip, 1e-9)?;
            if (step + 1).is_multiple_of(between) || step + 1 == self.steps {
                learner.drain_step_stats();
            }
            round.seconds += start.elapsed().as_secs_f64();
        }
        if between > 1 {
            // The device computes asynchronously, so the times of the parts are those of the host only.
            (round.seconds, round.prepares_meanwhile) = (begun.elapsed().as_secs_f64(), false);
        } else {
            round.add_parts(&before, learner.times());
        }
        Ok(round)
    }
}

impl Workload for ClassifierSteps {
    fn start<'a>(&'a self, backend: &'a dyn Backend) -> anyhow::Result<RunRound<'a>> {
        let mut learner = setup::learner(backend, &self.data, Beginning::New)?;
        Ok(Box::new(move || self.round(&mut *learner)))
    }

    fn amount(&self) -> Amount {
        let batches = (0..self.steps).flat_map(|step| self.plan.batch(step).iter().copied());
        let examples: Vec<u32> = batches.collect();
        let train = &self.data.train;
        let inputs = self.data.resolved.config.inputs.iter().zip(&train.inputs);
        let operations = inputs.map(|(input, corpus)| {
            let tokens: usize = examples.iter().map(|i| corpus.steps(*i as usize)).sum();
            tokens as f64 * operations(input)
        });
        Amount {
            steps: self.steps,
            tokens: train.tokens_of(&examples),
            operations: operations.sum(),
        }
    }
}

/// Computes the nominal number of operations per token in training: three products with every weight of
/// the LSTM.
fn operations(input: &Input) -> f64 {
    let directions = if input.lstm.bidirectional { 2 } else { 1 };
    let units = input.lstm.units;
    let layer = |layer: usize| {
        let inputs = if layer == 0 { input.embedding.size } else { directions * units };
        (3 * 8 * units * (inputs + units) * directions) as f64
    };
    (0..input.lstm.layers).map(layer).sum()
}
