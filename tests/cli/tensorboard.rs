//! The event files of a run, as TensorBoard's own package reads them.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use lstmtext::events::{self, EventWriter, SubRun};
use serde::Deserialize;
use serde_json::Value;

use crate::common::{TestDir, python};
use crate::label_sets;
use crate::training::{PLATEAU, Training, with_noise};

/// A point of a curve: step, wall time, value.
type Point = (u64, f64, f64);

type Curves = BTreeMap<String, Vec<Point>>;

/// The contents of a run's event files. Tags of sub-runs are prefixed: `train/loss`.
#[derive(Deserialize)]
struct Events {
    scalars: Curves,
    /// Everything else: step, wall time, hash of the tensor.
    tensors: BTreeMap<String, Vec<(u64, f64, String)>>,
}

fn read_events(dir: &TestDir, run: &str) -> Events {
    let run = dir.path(run);
    let read = python("tensorboard_events.py", &[run.to_str().unwrap()]);
    serde_json::from_value(read).unwrap()
}

fn curves(dir: &TestDir, run: &str) -> Curves {
    read_events(dir, run).scalars
}

fn steps(curve: &[Point]) -> Vec<u64> {
    curve.iter().map(|(step, _, _)| *step).collect()
}

impl Events {
    /// Returns the steps of everything but the curves.
    fn tensor_steps(&self) -> BTreeMap<&str, Vec<u64>> {
        let steps =
            |events: &Vec<(u64, f64, String)>| events.iter().map(|(step, _, _)| *step).collect();
        self.tensors.iter().map(|(tag, events)| (tag.as_str(), steps(events))).collect()
    }

    /// Returns tag, step and hash of everything but the curves.
    fn contents(&self) -> Vec<(&str, u64, &str)> {
        let all = self.tensors.iter().flat_map(|(tag, events)| {
            events.iter().map(move |(step, _, hash)| (tag.as_str(), *step, hash.as_str()))
        });
        all.collect()
    }
}

/// Checks that two runs have the same points in every curve but that of the throughput, and the same tensors.
pub fn assert_same_curves(dir: &TestDir, a: &str, b: &str) {
    let (a, b) = (read_events(dir, a), read_events(dir, b));
    assert_eq!(a.contents(), b.contents());
    let (mut a, mut b) = (a.scalars, b.scalars);
    let throughput = "train/tokens_per_second";
    let (throughput_a, throughput_b) =
        (a.remove(throughput).unwrap(), b.remove(throughput).unwrap());
    assert_eq!(steps(&throughput_a), steps(&throughput_b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (tag, curve) in &a {
        assert_eq!(stored(curve), stored(&b[tag]), "{tag}");
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Returns a curve's points from `metrics.jsonl`, rounded as TensorBoard stores them.
fn recorded(records: &[Value], pointer: &str) -> Vec<(u64, f32)> {
    let value = |record: &Value| record.pointer(pointer).unwrap().as_f64().unwrap() as f32;
    records.iter().map(|record| (record["step"].as_u64().unwrap(), value(record))).collect()
}

fn stored(curve: &[Point]) -> Vec<(u64, f32)> {
    curve.iter().map(|(step, _, value)| (*step, *value as f32)).collect()
}

const TAGS: [&str; 13] = [
    "best/test_accuracy",
    "best/test_loss",
    "best/validation_accuracy",
    "best/validation_loss",
    "test/accuracy",
    "test/loss",
    "train/accuracy",
    "train/gradient_norm",
    "train/learning_rate",
    "train/loss",
    "train/tokens_per_second",
    "validation/accuracy",
    "validation/loss",
];

#[test]
fn tensorboard_reads_every_curve() {
    let dir = TestDir::with_data();
    let start = now();
    dir.train("small.yaml --out run --set train.validate_every=10");
    let end = now();
    let (curves, records, summary) = (curves(&dir, "run"), dir.metrics("run"), dir.summary("run"));
    assert_eq!(curves.keys().collect::<Vec<_>>(), TAGS);

    let last = records.last().unwrap()["step"].as_u64().unwrap();
    let every: Vec<u64> = (1..=last).collect();
    for (tag, curve) in &curves {
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{tag}: {curve:?}");
        for (_, time, value) in curve {
            assert!((start..=end).contains(time), "{tag} at {time}");
            assert!(value.is_finite(), "{tag}");
        }
        if tag.starts_with("train/") {
            assert_eq!(steps(curve), every, "{tag}");
        }
    }
    for score in ["loss", "accuracy"] {
        let validation = recorded(&records, &format!("/validation/{score}"));
        assert_eq!(stored(&curves[&format!("validation/{score}")]), validation);
        let test = summary["test"][score].as_f64().unwrap() as f32;
        assert_eq!(stored(&curves[&format!("test/{score}")]), [(last, test)]);
    }
    // metrics.jsonl has the learning rate of the last step before each validation.
    let rates = &curves["train/learning_rate"];
    for (step, rate) in recorded(&records, "/learning_rate") {
        assert_eq!(rates[step as usize - 1].2 as f32, rate);
    }
    assert!(curves["train/gradient_norm"].iter().all(|point| point.2 > 0.0));
    assert!(curves["train/tokens_per_second"].iter().all(|point| point.2 > 0.0));
}

/// All batches have the same size, so the mean over steps is the mean over examples.
#[test]
fn training_metrics_are_the_mean_of_the_training_curve() {
    let dir = TestDir::with_data();
    // 512 training examples make 16 full batches.
    dir.train("small.yaml --out run --set data.split.validation=88");
    let (curves, records) = (curves(&dir, "run"), dir.metrics("run"));
    for score in ["loss", "accuracy"] {
        let curve = &curves[&format!("train/{score}")];
        assert_eq!(curve.len(), 16 * records.len());
        for (epoch, record) in curve.chunks(16).zip(&records) {
            let mean = epoch.iter().map(|point| point.2).sum::<f64>() / 16.0;
            let expected = record["train"][score].as_f64().unwrap();
            assert!((mean - expected).abs() < 1e-6, "{score}: {mean} {expected}");
        }
    }
}

#[test]
fn log_every_sets_the_distance_of_points() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.log_every=5 --set train.epochs=2");
    let curves = curves(&dir, "run");
    assert_eq!(steps(&curves["train/loss"]), [5, 10, 15, 20, 25, 30]);
    assert_eq!(steps(&curves["validation/loss"]), [17, 34]);
}

#[test]
fn a_resumed_run_continues_its_curves() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.epochs=2");
    dir.train("--resume run --set train.epochs=3");
    let curves = curves(&dir, "run");
    assert_eq!(steps(&curves["train/loss"]), (1..=51).collect::<Vec<_>>());
    assert_eq!(steps(&curves["validation/loss"]), [17, 34, 51]);
    assert_eq!(steps(&curves["test/loss"]), [34, 51]);
}

/// A killed run repeats the steps after its last checkpoint.
#[test]
fn a_killed_and_resumed_run_has_every_step_once() {
    let dir = with_noise(PLATEAU);
    let mut training = Training::start(&dir, "long.yaml --out run");
    training.wait_for_validations(&dir, "run", 4);
    training.stop(libc::SIGKILL);
    dir.train("--resume run --set train.epochs=5");
    let events = read_events(&dir, "run");
    let curves = events.scalars.iter().map(|(tag, curve)| (tag.as_str(), steps(curve)));
    for (tag, steps) in curves.chain(events.tensor_steps()) {
        assert!(steps.is_sorted_by(|a, b| a < b), "{tag}: {steps:?}");
    }
}

/// Configuration, start and end are those of the last session.
#[test]
fn a_resumed_run_has_one_configuration_and_one_session() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.epochs=2 --set train.tensorboard.histograms=20");
    dir.train("--resume run --set train.epochs=3");
    let events = read_events(&dir, "run");
    let mut steps = events.tensor_steps();
    let histograms = ["gradients", "weights"].map(|kind| format!("train/{kind}/embedding.weight"));
    for tag in &histograms {
        assert_eq!(steps.remove(tag.as_str()).unwrap(), [20, 40], "{tag}");
    }
    steps.retain(|tag, _| !tag.starts_with("train/"));
    let expected = [
        ("_hparams_/session_end_info", vec![51]),
        ("_hparams_/session_start_info", vec![0]),
        ("config", vec![0]),
        ("validation/confusion_matrix", vec![17, 34, 51]),
        ("validation/precision_recall/pos", vec![17, 34, 51]),
        ("validation/predictions", vec![17, 34, 51]),
    ];
    assert_eq!(steps.into_iter().collect::<Vec<_>>(), expected);
}

/// An earlier version wrote all curves to the run directory: `loss/train`, `train/learning_rate`.
fn convert_to_the_legacy_layout(dir: &TestDir, run: &str) {
    let run = dir.path(run);
    let now = SystemTime::now();
    let mut legacy = EventWriter::create(&run, now).unwrap();
    let score = [events::LOSS, events::ACCURACY];
    let step_only = [events::LEARNING_RATE, events::GRADIENT_NORM, events::TOKENS_PER_SECOND];
    let mut copy = |sub_run: SubRun, tag: &str, legacy_tag: &str| {
        let [curve] = events::scalars(&run, sub_run, [tag]).unwrap();
        for point in curve {
            legacy.scalar(legacy_tag, point.value, point.step, now).unwrap();
        }
    };
    for sub_run in SubRun::ALL {
        for tag in score {
            copy(sub_run, tag, &format!("{tag}/{}", sub_run.as_str()));
        }
    }
    for tag in step_only {
        copy(SubRun::Train, tag, &format!("train/{tag}"));
    }
    legacy.flush().unwrap();
    for sub_run in SubRun::ALL {
        fs::remove_dir_all(sub_run.directory(&run)).unwrap();
    }
}

#[test]
fn runs_of_earlier_versions_can_be_plotted_and_resumed() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.epochs=2");
    let plot = || {
        dir.lstmtext("plot run --no-words").assert().success();
        dir.read("run/curves.svg")
    };
    let picture = plot();
    convert_to_the_legacy_layout(&dir, "run");
    assert_eq!(curves(&dir, "run").keys().filter(|tag| tag.starts_with("loss/")).count(), 3);
    assert!(plot() == picture, "the picture depends on the layout");

    dir.train("--resume run --set train.epochs=3");
    let tags = [events::LOSS, events::TOKENS_PER_SECOND];
    for curve in events::scalars(&dir.path("run"), SubRun::Train, tags).unwrap() {
        let steps: Vec<u64> = curve.iter().map(|point| point.step).collect();
        assert_eq!(steps, (1..=51).collect::<Vec<_>>());
    }
    let curves = curves(&dir, "run");
    assert_eq!(steps(&curves["loss/validation"]), [17, 34]);
    assert_eq!(steps(&curves["validation/loss"]), [51]);
    assert!(plot() != picture);
}

#[test]
fn each_of_several_labels_has_curves() {
    let dir = label_sets::directory();
    dir.train("config.yaml --out run --set train.epochs=2");
    let events = read_events(&dir, "run");
    for tag in ["macro_f1", "micro_f1", "f1/anger", "f1/joy", "f1/love"] {
        assert_eq!(events.scalars[&format!("validation/{tag}")].len(), 2, "{tag}");
    }
    let steps = events.tensor_steps();
    for tag in ["precision_recall/anger", "precision_recall/love", "labels", "predictions"] {
        assert_eq!(steps[&*format!("validation/{tag}")].len(), 2, "{tag}");
    }
    assert!(!steps.contains_key("validation/confusion_matrix"));
    // The metric of the run is written once.
    dir.train(
        "config.yaml --out ranked --set train.epochs=2 --set train.early_stopping.metric=micro_f1",
    );
    assert_eq!(read_events(&dir, "ranked").scalars["validation/micro_f1"].len(), 2);
}

#[test]
fn disabled_summaries_are_not_written() {
    let dir = TestDir::with_data();
    dir.train(
        "small.yaml --out run --set train.tensorboard.pr_curves=false \
         --set train.tensorboard.confusion_matrix=false --set train.tensorboard.predictions=0",
    );
    let events = read_events(&dir, "run");
    let tags: Vec<&str> = events.tensor_steps().into_keys().collect();
    assert_eq!(
        tags,
        ["_hparams_/session_end_info", "_hparams_/session_start_info", "config"],
        "the configuration is always written"
    );
    assert!(!dir.path("run/plugins").exists());
}

#[test]
fn an_interrupted_run_writes_its_vectors() {
    let dir = with_noise(PLATEAU);
    let mut training =
        Training::start(&dir, "long.yaml --out run --set train.tensorboard.projector=10");
    training.wait_for_validations(&dir, "run", 1);
    assert_eq!(training.stop(libc::SIGINT).0, Some(130));
    let directory = "run/plugins/org_tensorflow_tensorboard_projector";
    let names = ["embedding.weight.tsv", "embedding.weight.words.tsv", "projector_config.pbtxt"];
    assert_eq!(dir.names(directory), names);
}
