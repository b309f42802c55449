use std::collections::HashMap;
use std::path::Path;

use super::observers::{Observer, StepMetrics};
use super::{Trainer, setup};
use crate::backend::native::NativeLearner;
use crate::backend::{
    Inference, LanguageModelSettings, Learner, PreparedBatch, Preparer, StepStats, Times,
};
use crate::config;
use crate::data::prepared::PreparedData;
use crate::distributed::{Collective, Group, Worker};
use crate::events::{GRADIENT_NORM, LEARNING_RATE, LOSS, Scalar, SubRun, scalars};
use crate::model::{LanguageModelSpec, NamedTensor};
use crate::run::directory::RunDirectory;
use crate::run::new_run::NewRun;
use crate::run::records::ValidationRecord;
use crate::system::signals::Interrupt;
use crate::text::Corpus;

/// A learner that returns its measurements every 5 steps, like one on a CUDA device.
struct DeferredStats(NativeLearner);

impl Inference for DeferredStats {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.0.log_probabilities(inputs, examples)
    }
}

impl Learner for DeferredStats {
    fn preparer(&self, worker: Worker) -> Preparer {
        self.0.preparer(worker)
    }
    fn unlabelled_preparer(&self, worker: Worker) -> Preparer {
        self.0.unlabelled_preparer(worker)
    }
    fn compute_gradients(&mut self, batch: &PreparedBatch) -> anyhow::Result<()> {
        self.0.compute_gradients(batch)
    }
    fn sum_gradients(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()> {
        self.0.sum_gradients(batch, group)
    }
    fn join_language_model(
        &mut self,
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<()> {
        self.0.join_language_model(spec, settings, weights)
    }
    fn add_language_model(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()> {
        self.0.add_language_model(batch, group)
    }
    fn clip_gradients(&mut self, limit: Option<f64>) -> anyhow::Result<()> {
        self.0.clip_gradients(limit)
    }
    fn update(&mut self, learning_rate: f64) -> anyhow::Result<()> {
        self.0.update(learning_rate)
    }
    fn ngram_log_probabilities(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.0.ngram_log_probabilities(inputs, batches)
    }
    fn drain_step_stats(&mut self) -> Vec<StepStats> {
        self.0.drain_step_stats()
    }
    fn stats_interval(&self) -> usize {
        5
    }
    fn gradients(&self) -> Vec<NamedTensor> {
        self.0.gradients()
    }
    fn use_raw_weights(&mut self) {
        self.0.use_raw_weights();
    }
    fn start_averaging(&mut self) {
        self.0.start_averaging();
    }
    fn use_averages(&mut self) {
        self.0.use_averages();
    }
    fn weights(&self) -> Vec<NamedTensor> {
        self.0.weights()
    }
    fn raw_weights(&self) -> Option<Vec<NamedTensor>> {
        self.0.raw_weights()
    }
    fn optimizer_state(&mut self) -> Vec<NamedTensor> {
        self.0.optimizer_state()
    }
    fn load_optimizer_state(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.0.load_optimizer_state(state)
    }
    fn load_weights(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.0.load_weights(tensors)
    }
    fn set_rate_factors(&mut self, factors: &HashMap<String, f64>) {
        self.0.set_rate_factors(factors);
    }
    fn parameter_count(&self) -> usize {
        self.0.parameter_count()
    }
    fn times(&self) -> Times {
        self.0.times()
    }
}

/// Writes a small data set to a directory, and prepares it.
fn prepared(directory: &Path, fields: &str) -> PreparedData {
    let csv = directory.join("data.csv");
    let rows =
        (0..230).map(|i| format!("w{} w{} {}\n", i % 7, i % 3, ["bad,neg", "good,pos"][i % 2]));
    std::fs::write(&csv, format!("text,label\n{}", rows.collect::<String>())).unwrap();
    let yaml = format!(
        "data: {{train: {}}}\ntext: {{min_count: 1}}\n\
         model: {{embedding: {{size: 4}}, lstm: {{units: 4}}}}\n\
         train: {{epochs: 3, batch_size: 16, {fields}}}\n",
        csv.display()
    );
    PreparedData::prepare(config::parse(&yaml, "test", &[]).unwrap()).unwrap()
}

fn native(data: &PreparedData) -> NativeLearner {
    let weights = setup::starting_weights(data).unwrap();
    let objective = setup::objective(data).unwrap();
    NativeLearner::new(&setup::model_spec(data), &objective, weights).unwrap()
}

fn trained<L: Learner + 'static>(
    directory: &Path,
    fields: &str,
    learner: impl Fn(&PreparedData) -> L,
) -> (Vec<ValidationRecord>, [Vec<Scalar>; 3]) {
    let data = prepared(directory, fields);
    let run = RunDirectory::open(&directory.join("run"));
    NewRun::create(run.path(), &data.resolved.to_yaml()).unwrap().begin();
    let mut trainer =
        Trainer::new(&data, setup::objective(&data).unwrap(), Box::new(learner(&data)), None)
            .unwrap();
    setup::add_observers(&mut trainer, &data, &run).unwrap();
    trainer.train(&Interrupt::default()).unwrap();
    let tags = [LOSS, GRADIENT_NORM, LEARNING_RATE];
    (run.records().unwrap(), scalars(run.path(), SubRun::Train, tags).unwrap())
}

#[test]
fn late_measurements_give_the_same_logs() {
    for fields in
        ["log_every: 2", "validate_every: 7, checkpoint_every: 4, schedule: {name: linear}"]
    {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let at_once = trained(directories[0].path(), fields, native);
        let deferred = trained(directories[1].path(), fields, |data| DeferredStats(native(data)));
        assert_eq!(at_once.0, deferred.0, "{fields}");
        assert_eq!(at_once.1, deferred.1, "{fields}");
        assert!(at_once.1[0].len() > 15);
    }
}

/// Counts the measured steps, and fails at one of them.
struct Counter<'a> {
    steps: &'a std::cell::Cell<u64>,
    failed: &'a std::cell::Cell<bool>,
    fail_at: u64,
}

impl Observer for Counter<'_> {
    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        anyhow::ensure!(metrics.step != self.fail_at, "the disk is full");
        self.steps.set(self.steps.get() + 1);
        Ok(())
    }
    fn failed(&mut self, _: u64) {
        self.failed.set(true);
    }
}

/// The trainer needs none of the usual observers.
#[test]
fn an_error_of_an_observer_ends_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let data = prepared(directory.path(), "log_every: 1");
    let steps_per_epoch = data.train.len().div_ceil(16) as u64;
    for (fail_at, expected) in [(0, 3 * steps_per_epoch), (5, 4)] {
        let (steps, failed) = Default::default();
        let mut trainer =
            Trainer::new(&data, setup::objective(&data).unwrap(), Box::new(native(&data)), None)
                .unwrap();
        trainer.add_observer(Counter { steps: &steps, failed: &failed, fail_at });
        let ended = trainer.train(&Interrupt::default());
        assert_eq!(steps.get(), expected);
        assert_eq!((ended.is_err(), failed.get()), (fail_at > 0, fail_at > 0));
        if let Err(error) = ended {
            assert_eq!(error.to_string(), "the disk is full");
        }
    }
}

/// A group of two processes, the other of which does not respond.
#[derive(Debug)]
struct BrokenGroup;

impl Collective for BrokenGroup {
    fn worker(&self) -> Worker {
        Worker { rank: 0, world_size: 2 }
    }
    fn library(&self) -> &str {
        "none"
    }
    fn all_reduce(&self, _: &mut [f32]) -> anyhow::Result<()> {
        anyhow::bail!("process 1 does not respond")
    }
    fn all_reduce_f64(&self, _: &mut [f64]) -> anyhow::Result<()> {
        anyhow::bail!("process 1 does not respond")
    }
    fn broadcast(&self, _: &mut [u8]) -> anyhow::Result<()> {
        anyhow::bail!("process 1 does not respond")
    }
    fn all_gather(&self, _: &[u8], _: &mut [u8]) -> anyhow::Result<()> {
        anyhow::bail!("process 1 does not respond")
    }
    fn all_to_all(&self, _: &[f32], _: &[usize], _: &mut [f32], _: &[usize]) -> anyhow::Result<()> {
        anyhow::bail!("process 1 does not respond")
    }
}

#[test]
fn gradients_are_summed_by_the_collective_of_the_trainer() {
    let directory = tempfile::tempdir().unwrap();
    let data = prepared(directory.path(), "log_every: 1");
    let objective = setup::objective(&data).unwrap();
    let mut trainer = Trainer::new(&data, objective, Box::new(native(&data)), None).unwrap();
    trainer.set_collective(&BrokenGroup);
    let error = trainer.train(&Interrupt::default()).err().unwrap();
    assert_eq!(error.to_string(), "process 1 does not respond");
}
