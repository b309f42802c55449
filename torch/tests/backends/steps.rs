//! Steps whose losses are read later, and steps that must change nothing.

use std::cell::OnceCell;
use std::path::Path;

use lstmtext::backend::native::NativeLearner;
use lstmtext::backend::{Inference, Learner, Preparer, StepStats, Times};
use lstmtext::config;
use lstmtext::data::Dataset;
use lstmtext::data::prepared::PreparedData;
use lstmtext::events::scalars;
use lstmtext::model::named_tensors::NamedTensor;
use lstmtext::run::directory::{Record, RunDirectory};
use lstmtext::system::signals::Interrupt;
use lstmtext::text::Corpus;
use lstmtext::train::trainer::Trainer;
use lstmtext_torch::learner::{TorchLearner, to_arrays};
use lstmtext_torch::training::native_learner;

use crate::{Case, steps};

/// A step whose gradient is no number leaves weights and memory as they were.
#[test]
fn what_is_no_number_changes_nothing() {
    for optimizer in [
        "optimizer: adam",
        "optimizer: adamw",
        "optimizer: rmsprop, weight_decay: 0.1",
        "optimizer: rmsprop, rmsprop: {momentum: 0.5}",
        "optimizer: adadelta",
        "optimizer: sgd, sgd: {momentum: 0.9}",
    ] {
        for sparse in [false, true] {
            let case = Case::new(
                &format!(
                    "model: {{embedding: {{size: 6}}, lstm: {{units: 5}}}}\n\
                     train: {{sparse_embedding: {sparse}, {optimizer}}}\n"
                ),
                3,
            );
            let data =
                Dataset { inputs: case.corpora.clone(), targets: case.labels.clone().into() };
            let model = case.model();
            let weights = to_arrays(model.state());
            let mut native =
                NativeLearner::new(&case.config, &case.vocabularies, 3, weights, vec![]).unwrap();
            let mut torch = TorchLearner::new(model, &case.config.train, &[]);
            stays_as_it_is(&mut native, &data, optimizer);
            stays_as_it_is(&mut torch, &data, optimizer);
        }
    }
}

fn stays_as_it_is(learner: &mut impl Learner, data: &Dataset, what: &str) {
    steps(learner, data);
    assert!(learner.measured().iter().all(StepStats::is_finite));
    let sound = learner.weights();
    let mut broken = sound.clone();
    let bias = broken.iter_mut().find(|array| array.name == "head.bias").unwrap();
    bias.values[0] = f32::NAN;
    learner.load(broken.clone()).unwrap();
    let memory = learner.memory();
    steps(learner, data);
    let measured = learner.measured();
    assert!(measured.len() == 3 && !measured.iter().any(StepStats::is_finite), "{measured:?}");
    let bits = |arrays: &[NamedTensor]| -> Vec<Vec<u32>> {
        arrays.iter().map(|array| array.values.iter().map(|x| x.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&learner.weights()), bits(&broken), "{what}");
    assert_eq!(bits(&learner.memory()), bits(&memory), "{what}");
    learner.load(sound).unwrap();
    steps(learner, data);
    assert!(learner.measured().iter().all(StepStats::is_finite), "{what}: it goes on");
}

/// As a learner on a device, which is asked only now and then.
struct Late(NativeLearner);

impl Inference for Late {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.0.log_probabilities(inputs, examples)
    }
}

impl Learner for Late {
    type Batch = <NativeLearner as Learner>::Batch;

    fn preparer(&self) -> Preparer<Self::Batch> {
        self.0.preparer()
    }
    fn step(&mut self, batch: &Self::Batch, limit: Option<f64>, rate: f64) -> anyhow::Result<()> {
        self.0.step(batch, limit, rate)
    }
    fn measured(&mut self) -> Vec<StepStats> {
        self.0.measured()
    }
    fn stats_interval(&self) -> usize {
        5
    }
    fn gradients(&self) -> Vec<NamedTensor> {
        self.0.gradients()
    }
    fn weights(&self) -> Vec<NamedTensor> {
        self.0.weights()
    }
    fn memory(&mut self) -> Vec<NamedTensor> {
        self.0.memory()
    }
    fn restore(&mut self, memory: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.0.restore(memory)
    }
    fn load(&mut self, weights: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.0.load(weights)
    }
    fn parameter_count(&self) -> usize {
        self.0.parameter_count()
    }
    fn times(&self) -> Times {
        self.0.times()
    }
}

fn trained<L: Learner>(
    folder: &Path,
    fields: &str,
    learner: impl Fn(&PreparedData) -> L,
) -> (Vec<Record>, [Vec<lstmtext::events::Scalar>; 3]) {
    let csv = folder.join("data.csv");
    let rows =
        (0..230).map(|i| format!("w{} w{} {}\n", i % 7, i % 3, ["bad,neg", "good,pos"][i % 2]));
    std::fs::write(&csv, format!("text,label\n{}", rows.collect::<String>())).unwrap();
    let yaml = format!(
        "data: {{train: {}}}\ntext: {{min_count: 1}}\n\
         model: {{embedding: {{size: 4}}, lstm: {{units: 4}}}}\n\
         train: {{epochs: 3, batch_size: 16, {fields}}}\n",
        csv.display()
    );
    let resolved = config::parse(&yaml, "test", &[]).unwrap();
    let run = RunDirectory::create(&folder.join("run"), &resolved.to_yaml()).unwrap();
    let experiment = PreparedData::prepare(resolved).unwrap();
    let trainer = Trainer::new(&experiment, run.clone(), learner(&experiment), None).unwrap();
    trainer.train(&Interrupt::default()).unwrap();
    let tags = ["loss/train", "train/gradient_norm", "train/learning_rate"];
    (run.records().unwrap(), scalars(run.path(), tags).unwrap())
}

/// Reading late changes nothing that is written, whatever else is due in between.
#[test]
fn reading_late_writes_the_same() {
    for fields in
        ["log_every: 2", "validate_every: 7, checkpoint_every: 4, schedule: {name: linear}"]
    {
        // Drawn once: libtorch has one random generator for all threads.
        let weights = OnceCell::new();
        let native = |experiment: &PreparedData| {
            let drawn = || native_learner(experiment, None).unwrap().weights();
            let weights: Vec<NamedTensor> = weights.get_or_init(drawn).clone();
            let (config, words) = (&experiment.resolved.config, experiment.encoders.sizes());
            NativeLearner::new(config, &words, 2, weights, vec![]).unwrap()
        };
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let at_once = trained(folders[0].path(), fields, native);
        let late = trained(folders[1].path(), fields, |experiment| Late(native(experiment)));
        assert_eq!(at_once.0, late.0, "{fields}");
        assert_eq!(at_once.1, late.1, "{fields}");
        assert!(at_once.1[0].len() > 15);
    }
}
