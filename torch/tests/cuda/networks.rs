//! Networks on the device beside the same on the CPU.

use tch::{Device, Kind, Tensor};

use lstmtext::backend::{Inference, Learner, StepStats};
use lstmtext::config::Config;
use lstmtext::data::Dataset;
use lstmtext::model::named_tensors::NamedTensor;
use lstmtext::text::Corpus;
use lstmtext_torch::batch::{Batch, Direction};
use lstmtext_torch::device_dataset::DeviceDataset;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::libtorch::Numerics;
use lstmtext_torch::model::{Mode, Model};
use lstmtext_torch::tensors::to_named_tensors;
use lstmtext_torch::token_budget;

use crate::case::{Case, objective, step};
use crate::device;

/// Every pooling, direction, depth and side of padding.
fn networks() -> Vec<String> {
    let mut networks = Vec::new();
    for pad in ["", "# front\n"] {
        for pooling in ["last", "mean", "max"] {
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

/// The same weights on the device; sets how it computes.
fn on_device(case: &Case, weights: &[NamedTensor]) -> Model {
    Numerics::of(&case.config).set().unwrap();
    Model::new(&case.spec(), weights.to_vec(), device()).unwrap()
}

fn data(case: &Case) -> Dataset {
    Dataset { inputs: case.corpora.clone(), targets: case.labels.clone().into() }
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
#[ignore = "needs a CUDA device"]
fn logits_are_those_of_the_cpu() {
    let mut largest = 0.0_f64;
    for network in networks() {
        let case = Case::new(&format!("precision: fp32\n{network}"), 3);
        let here = case.model();
        let there = on_device(&case, &to_named_tensors(here.state()));
        let logits = |model: &Model| {
            let batch = Batch::gather(&case.corpora, &case.examples(), model.device());
            let logits = model.logits(&batch, Mode::Evaluate).to_device(Device::Cpu);
            Vec::<f64>::try_from(logits.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()
        };
        let difference = largest_difference(&logits(&here), &logits(&there));
        assert!(difference < 1e-4, "{network}: {difference}");
        largest = largest.max(difference);
    }
    println!("logits differ by {largest:.1e} at most");
}

/// Ten steps on batches of several lengths.
fn ten_steps(learner: &mut dyn Learner, data: &Dataset) -> Vec<StepStats> {
    let mut prepare = learner.preparer();
    for number in 0..10_u32 {
        let examples: Vec<u32> = (0..6).map(|i| (number * 5 + i * 3) % 19).collect();
        let batch = prepare(data, &examples, u64::from(number));
        step(learner, &batch, Some(0.3), 0.01);
    }
    learner.drain_step_stats()
}

#[test]
#[ignore = "needs a CUDA device"]
fn ten_steps_are_those_of_the_cpu() {
    for optimizer in [
        "optimizer: adam, weight_decay: 0.01",
        "optimizer: adamw",
        "optimizer: rmsprop",
        "optimizer: rmsprop, rmsprop: {momentum: 0.5}",
        "optimizer: adadelta",
        "optimizer: sgd, sgd: {momentum: 0.9, nesterov: true}",
    ] {
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
                let (data, model) = (data(&case), case.model());
                let there = on_device(&case, &to_named_tensors(model.state()));
                let weights = [1.0, 0.5, 2.0];
                let mut here = TorchLearner::new(model, &case.config.train, &objective(&weights));
                let mut there = TorchLearner::new(there, &case.config.train, &objective(&weights));
                let at = format!("{optimizer}, sparse: {sparse}, {network}");
                let losses = |steps: Vec<StepStats>| {
                    steps.iter().map(|step| step.loss.mean).collect::<Vec<f64>>()
                };
                let (a, b) =
                    (losses(ten_steps(&mut here, &data)), losses(ten_steps(&mut there, &data)));
                assert!(largest_difference(&a, &b) < 1e-3, "{at}: {a:?} {b:?}");
                // Adam makes a whole step of the sign of a gradient that is nearly zero.
                let (there, here) = (there.weights(), here.weights());
                let squares =
                    |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
                let all = |arrays: &[NamedTensor]| -> Vec<f32> {
                    arrays.iter().flat_map(|array| array.values.clone()).collect()
                };
                let (there, here) = (all(&there), all(&here));
                let difference = squares(&mut there.iter().zip(&here).map(|(a, b)| a - b));
                let error = (difference / squares(&mut here.iter().copied())).sqrt();
                assert!(error < 1e-3, "{at}: weights are off by {error}");
            }
        }
    }
}

/// Not nearer to fp32 than their digits allow: they are computed in.
#[test]
#[ignore = "needs a CUDA device"]
fn every_precision_comes_near_to_fp32() {
    let network = "model: {embedding: {size: 64}, lstm: {units: 64, bidirectional: true}, pooling: mean, \
                   head: {dropout: 0}}\n";
    let weights = to_named_tensors(Case::new(network, 3).model().state());
    let learner = |precision: &str| {
        let case = Case::new(&format!("precision: {precision}\n{network}"), 3);
        let model = on_device(&case, &weights);
        let learner = TorchLearner::new(model, &case.config.train, &objective(&[]));
        (case, learner)
    };
    let (case, mut full) = learner("fp32");
    let exact = full.log_probabilities(&case.corpora, &case.examples());
    let losses = ten_steps(&mut full, &data(&case));
    for (precision, most) in [("tf32", 2e-2), ("bf16", 5e-2), ("fp16", 2e-2)] {
        let (case, mut rough) = learner(precision);
        let found = rough.log_probabilities(&case.corpora, &case.examples());
        let difference = largest_difference(&found, &exact);
        println!("{precision} differs from fp32 by {difference:.1e}");
        assert!(difference < most, "{precision}: {difference}");
        if precision != "tf32" {
            assert!(difference > 0.0, "{precision} is not computed in");
        }
        for (exact, rough) in losses.iter().zip(ten_steps(&mut rough, &data(&case))) {
            assert!((exact.loss.mean - rough.loss.mean).abs() < most, "{precision}");
        }
    }
}

/// What gives other sums at every run: many texts, words that come often, both directions, rows of
/// the embedding, a maximum.
#[test]
#[ignore = "needs a CUDA device"]
fn deterministic_runs_are_the_same_bit_by_bit() {
    for network in networks().into_iter().chain([LARGE.to_owned()]) {
        for sparse in [false, true] {
            for precision in ["tf32", "bf16"] {
                let fields = format!(
                    "precision: {precision}\ndeterministic: true\n{network}train: {{sparse_embedding: \
                     {sparse}}}\n"
                );
                let case = Case::new(&fields, 3);
                let weights = to_named_tensors(case.model().state());
                let data = many(&case);
                let mut ends = (0..2).map(|_| {
                    let model = on_device(&case, &weights);
                    let mut learner = TorchLearner::new(model, &case.config.train, &objective(&[]));
                    let examples: Vec<u32> = (0..data.len() as u32).collect();
                    let mut prepare = learner.preparer();
                    for number in 0..5 {
                        let batch = prepare(&data, &examples, number);
                        step(&mut learner, &batch, Some(0.3), 0.01);
                    }
                    let bits = |array: NamedTensor| -> Vec<u32> {
                        array.values.iter().map(|value| value.to_bits()).collect()
                    };
                    learner.weights().into_iter().map(bits).collect::<Vec<_>>()
                });
                assert!(ends.next() == ends.next(), "{fields}");
            }
        }
    }
}

const LARGE: &str = "model: {embedding: {size: 300, dropout: 0.2, word_dropout: 0.2}, lstm: {units: 256, \
                     bidirectional: true}, pooling: max}\n";

/// The texts of a case many times over.
fn many(case: &Case) -> Dataset {
    let all: Vec<usize> = (0..400).map(|i| i % case.labels.len()).collect();
    let inputs = case.corpora.iter().map(|corpus| {
        let texts: Vec<&[u32]> = all.iter().map(|text| corpus.text(*text)).collect();
        let width = (0..case.labels.len()).map(|text| corpus.steps(text)).max().unwrap();
        Corpus::from_texts(corpus.pad(), width, texts)
    });
    let inputs = inputs.collect();
    let labels: Vec<u32> = all.iter().map(|text| case.labels[*text]).collect();
    Dataset { inputs, targets: labels.into() }
}

/// Batches made on the device of examples that lie there, and copied there from pinned memory.
#[test]
#[ignore = "needs a CUDA device"]
fn batches_are_the_same_however_they_come_there() {
    for pad in ["", "# front\n"] {
        let case = Case::new(pad, 3);
        let (data, examples) = (data(&case), case.examples());
        let resident = DeviceDataset::where_it_fits(&data, device(), 1 << 30).unwrap();
        let (there, labels) = resident.gather(&data, &examples);
        let copied = Batch::gather(&data.inputs, &examples, device());
        let here = Batch::gather(&data.inputs, &examples, Device::Cpu);
        let numbers = |tensor: &Tensor| {
            let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Int64);
            Vec::<i64>::try_from(tensor.flatten(0, -1)).unwrap()
        };
        let expected: Vec<i64> = examples
            .iter()
            .map(|i| i64::from(data.targets.labels().unwrap()[*i as usize]))
            .collect();
        assert_eq!(numbers(&labels), expected);
        for batch in [&there, &copied] {
            for (found, expected) in batch.inputs.iter().zip(&here.inputs) {
                assert_eq!(numbers(&found.ids), numbers(&expected.ids));
                for direction in [Direction::Forward, Direction::Backward] {
                    let real = |positions: &lstmtext_torch::batch::Positions| {
                        numbers(&positions.real(direction))
                    };
                    assert_eq!(real(&found.positions), real(&expected.positions));
                }
            }
        }
        assert!(DeviceDataset::where_it_fits(&data, device(), 100).is_none());
    }
}

/// The search ends with a budget that does not fill the device, and a step of that size works.
#[test]
#[ignore = "needs a CUDA device"]
fn the_largest_token_budget_is_found() {
    if device() == Device::Cpu {
        return;
    }
    let case = Case::new("model: {embedding: {size: 16384}, lstm: {units: 8}}\n", 3);
    let weights = to_named_tensors(case.model().state());
    // So many tokens that the vectors of all of them fit no device: 64 GB a million.
    let texts: Vec<Vec<u32>> = (0..20_000).map(|text| vec![4 + text % 5; 1_000]).collect();
    let inputs =
        vec![Corpus::from_texts(case.corpora[0].pad(), 1_000, texts.iter().map(Vec::as_slice))];
    let labels: Vec<u32> = (0..20_000).map(|text| text % 3).collect();
    let data = Dataset { inputs, targets: labels.into() };
    let learner = |config: &Config| {
        TorchLearner::new(on_device(&case, &weights), &config.train, &objective(&[]))
    };
    let budget = token_budget::search(&mut learner(&case.config), &data, Some(1.0)).unwrap();
    println!("{budget} tokens fit");
    assert!((10_000..10_000_000).contains(&budget), "{budget}");
    let mut learner = learner(&case.config);
    let mut prepare = learner.preparer();
    for number in 0..3 {
        let examples: Vec<u32> = (0..budget as u32 / 1_000).collect();
        let batch = prepare(&data, &examples, number);
        step(&mut learner, &batch, Some(1.0), 0.01);
    }
    assert!(learner.drain_step_stats().iter().all(StepStats::is_finite));
}
