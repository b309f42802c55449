//! Compares networks on the device with the same networks on the CPU.

use tch::{Device, Kind, Tensor};

use lstmtext::backend::{Inference, Learner, StepStats};
use lstmtext::config::Config;
use lstmtext::data::Dataset;
use lstmtext::distributed::Worker;
use lstmtext::model::named_tensors::NamedTensor;
use lstmtext::text::Corpus;
use lstmtext_torch::batch::{Batch, Direction, Padding};
use lstmtext_torch::device_dataset::DeviceDataset;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::libtorch::Numerics;
use lstmtext_torch::model::{Mode, Model};
use lstmtext_torch::tensors::to_named_tensors;
use lstmtext_torch::token_budget;

use crate::case::{Case, OPTIMIZERS, objective, step};
use crate::device;

/// Returns networks with every pooling, direction, number of layers and padding side.
fn networks() -> Vec<String> {
    let mut networks = Vec::new();
    for pad in ["", "# front\n"] {
        for pooling in ["last", "mean", "max", "attention", "[attention, last, max, mean]"] {
            for lstm in [
                "units: 5",
                "units: 40, bidirectional: true",
                "units: 18, layers: 2, bidirectional: true",
                "units: 7, layers: 3",
            ] {
                networks.push(format!(
                    "{pad}model: {{embedding: {{size: 12}}, lstm: {{{lstm}}}, pooling: {pooling}, \
                     head: {{dropout: 0}}}}\n"
                ));
            }
        }
    }
    networks.push(
        "inputs:\n  story: {embedding: {size: 4}, lstm: {units: 5, bidirectional: true}}\n  \
         question: {embedding: {size: 3, trainable: false}, lstm: {units: 2, layers: 2}, pooling: mean}\n"
            .to_owned(),
    );
    networks
}

/// Applies the settings of a case to libtorch, and creates its network on the device.
fn on_device(case: &Case, weights: &[NamedTensor]) -> Model {
    Numerics::new(&case.config).apply().unwrap();
    Model::new(&case.spec(), weights.to_vec(), device()).unwrap()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
#[ignore = "needs a CUDA device"]
fn logits_agree_with_the_cpu() {
    let mut largest = 0.0_f64;
    for network in networks() {
        let case = Case::new(&format!("precision: fp32\n{network}"), 3);
        let on_cpu = case.model();
        let on_device = on_device(&case, &to_named_tensors(on_cpu.state_dict()));
        let logits = |model: &Model| {
            let batch = Batch::gather(&case.corpora, &case.examples(), model.device());
            let logits = model.logits(&batch, Mode::Evaluate).to_device(Device::Cpu);
            Vec::<f64>::try_from(logits.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()
        };
        let difference = largest_difference(&logits(&on_cpu), &logits(&on_device));
        assert!(difference < 1e-4, "{network}: {difference}");
        largest = largest.max(difference);
    }
    println!("logits differ by {largest:.1e} at most");
}

/// Makes ten steps on batches of different lengths.
fn ten_steps(learner: &mut dyn Learner, data: &Dataset) -> Vec<StepStats> {
    let mut prepare = learner.preparer(Worker::ALONE);
    for index in 0..10_u32 {
        let examples: Vec<u32> = (0..6).map(|i| (index * 5 + i * 3) % 19).collect();
        let batch = prepare(data, &examples, u64::from(index));
        step(learner, &batch, Some(0.3), 0.01);
    }
    learner.drain_step_stats()
}

#[test]
#[ignore = "needs a CUDA device"]
fn ten_steps_agree_with_the_cpu() {
    for optimizer in OPTIMIZERS {
        for sparse in [false, true] {
            for network in [
                "model: {embedding: {size: 6}, lstm: {units: 5}, pooling: last, head: {dropout: 0}}\n",
                "# front\nmodel: {embedding: {size: 12}, lstm: {units: 18, layers: 2, bidirectional: true}, \
                 pooling: mean, head: {dropout: 0}}\n",
            ] {
                let case = Case::new(
                    &format!(
                        "precision: fp32\n{network}train: {{sparse_embedding: {sparse}, label_smoothing: \
                         0.1, {optimizer}}}\n"
                    ),
                    3,
                );
                let (data, model) = (case.data(), case.model());
                let device_model = on_device(&case, &to_named_tensors(model.state_dict()));
                let objective = objective(&[1.0, 0.5, 2.0]);
                let mut on_cpu = TorchLearner::new(model, &case.config.train, &objective);
                let mut on_device = TorchLearner::new(device_model, &case.config.train, &objective);
                let at = format!("{optimizer}, sparse: {sparse}, {network}");
                let losses = |steps: Vec<StepStats>| {
                    steps.iter().map(|step| step.loss.mean).collect::<Vec<f64>>()
                };
                let (a, b) = (
                    losses(ten_steps(&mut on_cpu, &data)),
                    losses(ten_steps(&mut on_device, &data)),
                );
                assert!(largest_difference(&a, &b) < 1e-3, "{at}: {a:?} {b:?}");
                // Compare norms, because single weights may differ: Adam turns the sign of a
                // gradient near zero into a whole step.
                let squares =
                    |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
                let all = |learner: &TorchLearner| -> Vec<f32> {
                    learner.weights().into_iter().flat_map(|tensor| tensor.values).collect()
                };
                let (actual, expected) = (all(&on_device), all(&on_cpu));
                let difference = squares(&mut actual.iter().zip(&expected).map(|(a, b)| a - b));
                let error = (difference / squares(&mut expected.iter().copied())).sqrt();
                assert!(error < 1e-3, "{at}: the weights have relative error {error}");
            }
        }
    }
}

/// bf16 and fp16 also must differ from fp32, which proves that the LSTM computes in them.
#[test]
#[ignore = "needs a CUDA device"]
fn every_precision_is_close_to_fp32() {
    let network = "model: {embedding: {size: 64}, lstm: {units: 64, bidirectional: true}, pooling: mean, \
                   head: {dropout: 0}}\n";
    let weights = to_named_tensors(Case::new(network, 3).model().state_dict());
    let learner = |precision: &str| {
        let case = Case::new(&format!("precision: {precision}\n{network}"), 3);
        let model = on_device(&case, &weights);
        let learner = TorchLearner::new(model, &case.config.train, &objective(&[]));
        (case, learner)
    };
    let (case, mut full) = learner("fp32");
    let exact = full.log_probabilities(&case.corpora, &case.examples());
    let losses = ten_steps(&mut full, &case.data());
    for (precision, tolerance) in [("tf32", 2e-2), ("bf16", 5e-2), ("fp16", 2e-2)] {
        let (case, mut rough) = learner(precision);
        let actual = rough.log_probabilities(&case.corpora, &case.examples());
        let difference = largest_difference(&actual, &exact);
        println!("{precision} differs from fp32 by {difference:.1e}");
        assert!(difference < tolerance, "{precision}: {difference}");
        if precision != "tf32" {
            assert!(difference > 0.0, "the LSTM does not compute in {precision}");
        }
        for (exact, rough) in losses.iter().zip(ten_steps(&mut rough, &case.data())) {
            assert!((exact.loss.mean - rough.loss.mean).abs() < tolerance, "{precision}");
        }
    }
}

/// Covers everything whose order of summation may vary between runs: many texts, frequent words,
/// both directions, sparse updates of the embedding, and max pooling.
#[test]
#[ignore = "needs a CUDA device"]
fn deterministic_runs_have_identical_bits() {
    for network in networks().into_iter().chain([LARGE.to_owned()]) {
        for sparse in [false, true] {
            for precision in ["tf32", "bf16"] {
                let fields = format!(
                    "precision: {precision}\ndeterministic: true\n{network}train: {{sparse_embedding: \
                     {sparse}}}\n"
                );
                let case = Case::new(&fields, 3);
                let weights = to_named_tensors(case.model().state_dict());
                let data = repeat_texts(&case);
                let mut runs = (0..2).map(|_| {
                    let model = on_device(&case, &weights);
                    let mut learner = TorchLearner::new(model, &case.config.train, &objective(&[]));
                    let examples: Vec<u32> = (0..data.len() as u32).collect();
                    let mut prepare = learner.preparer(Worker::ALONE);
                    for seed in 0..5 {
                        let batch = prepare(&data, &examples, seed);
                        step(&mut learner, &batch, Some(0.3), 0.01);
                    }
                    let bits = |tensor: NamedTensor| -> Vec<u32> {
                        tensor.values.iter().map(|value| value.to_bits()).collect()
                    };
                    learner.weights().into_iter().map(bits).collect::<Vec<_>>()
                });
                assert!(runs.next() == runs.next(), "{fields}");
            }
        }
    }
}

const LARGE: &str = "model: {embedding: {size: 300, dropout: 0.2, word_dropout: 0.2}, lstm: {units: 256, \
                     bidirectional: true}, pooling: max}\n";

/// Returns a data set that repeats the texts of a case.
fn repeat_texts(case: &Case) -> Dataset {
    let all: Vec<usize> = (0..400).map(|i| i % case.labels.len()).collect();
    let inputs = case.corpora.iter().map(|corpus| {
        let texts: Vec<&[u32]> = all.iter().map(|text| corpus.text(*text)).collect();
        let max_length = (0..case.labels.len()).map(|text| corpus.steps(text)).max().unwrap();
        Corpus::from_texts(corpus.pad(), max_length, texts)
    });
    let inputs = inputs.collect();
    let labels: Vec<u32> = all.iter().map(|text| case.labels[*text]).collect();
    Dataset { inputs, targets: labels.into() }
}

/// Compares batches that are assembled on the device, and batches that are copied to it from pinned
/// memory, with batches on the CPU.
#[test]
#[ignore = "needs a CUDA device"]
fn batches_on_the_device_equal_those_on_the_cpu() {
    for pad in ["", "# front\n"] {
        let case = Case::new(pad, 3);
        let (data, examples) = (case.data(), case.examples());
        let device_dataset = DeviceDataset::try_new(&data, device(), 1 << 30).unwrap();
        let assembled = device_dataset.gather(&data, &examples);
        let copied = Batch::gather(&data.inputs, &examples, device());
        let on_cpu = Batch::gather(&data.inputs, &examples, Device::Cpu);
        let values = |tensor: &Tensor| {
            let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Int64);
            Vec::<i64>::try_from(tensor.flatten(0, -1)).unwrap()
        };
        for batch in [&assembled, &copied] {
            for (actual, expected) in batch.inputs.iter().zip(&on_cpu.inputs) {
                assert_eq!(values(&actual.ids), values(&expected.ids));
                for direction in [Direction::Forward, Direction::Backward] {
                    let mask = |padding: &Padding| values(&padding.mask(direction));
                    assert_eq!(mask(&actual.padding), mask(&expected.padding));
                }
            }
        }
        assert!(DeviceDataset::try_new(&data, device(), 100).is_none());
    }
}

/// The search finds a budget that fits into the device's memory, and steps of that size succeed.
#[test]
#[ignore = "needs a CUDA device"]
fn the_largest_token_budget_is_found() {
    if device() == Device::Cpu {
        return;
    }
    let case = Case::new("model: {embedding: {size: 16384}, lstm: {units: 8}}\n", 3);
    let weights = to_named_tensors(case.model().state_dict());
    // The word vectors of all 20 million tokens fit no device: a million takes 64 GB.
    let texts: Vec<Vec<u32>> = (0..20_000).map(|text| vec![4 + text % 5; 1_000]).collect();
    let inputs =
        vec![Corpus::from_texts(case.corpora[0].pad(), 1_000, texts.iter().map(Vec::as_slice))];
    let labels: Vec<u32> = (0..20_000).map(|text| text % 3).collect();
    let data = Dataset { inputs, targets: labels.into() };
    let learner = |config: &Config| {
        TorchLearner::new(on_device(&case, &weights), &config.train, &objective(&[]))
    };
    let budget =
        token_budget::search(&mut learner(&case.config), &data, &mut |batch| batch, Some(1.0))
            .unwrap();
    println!("the largest budget is {budget} tokens");
    assert!((10_000..10_000_000).contains(&budget), "{budget}");
    let mut learner = learner(&case.config);
    let mut prepare = learner.preparer(Worker::ALONE);
    for seed in 0..3 {
        let examples: Vec<u32> = (0..budget as u32 / 1_000).collect();
        let batch = prepare(&data, &examples, seed);
        step(&mut learner, &batch, Some(1.0), 0.01);
    }
    assert!(learner.drain_step_stats().iter().all(StepStats::is_finite));
}
