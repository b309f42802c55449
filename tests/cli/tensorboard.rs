//! The curves of a run, read by TensorBoard itself.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::common::{Place, python};
use crate::training::{PLATEAU, Training, with_noise};

/// A point of a curve: step, wall time, value.
type Point = (u64, f64, f64);

type Curves = BTreeMap<String, Vec<Point>>;

fn curves(place: &Place, run: &str) -> Curves {
    let run = place.path(run);
    let read = python("tensorboard_scalars.py", &[run.to_str().unwrap()]);
    serde_json::from_value(read).unwrap()
}

fn steps(curve: &[Point]) -> Vec<u64> {
    curve.iter().map(|(step, _, _)| *step).collect()
}

/// Two runs have the same points in every curve, those of speed aside.
pub fn assert_same_curves(place: &Place, a: &str, b: &str) {
    let (mut a, mut b) = (curves(place, a), curves(place, b));
    let speed = "train/tokens_per_second";
    let (speed_a, speed_b) = (a.remove(speed).unwrap(), b.remove(speed).unwrap());
    assert_eq!(steps(&speed_a), steps(&speed_b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (tag, curve) in &a {
        assert_eq!(stored(curve), stored(&b[tag]), "{tag}");
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The points that `metrics.jsonl` has for a curve, as TensorBoard stores numbers.
fn recorded(records: &[Value], pointer: &str) -> Vec<(u64, f32)> {
    let value = |record: &Value| record.pointer(pointer).unwrap().as_f64().unwrap() as f32;
    records.iter().map(|record| (record["step"].as_u64().unwrap(), value(record))).collect()
}

fn stored(curve: &[Point]) -> Vec<(u64, f32)> {
    curve.iter().map(|(step, _, value)| (*step, *value as f32)).collect()
}

const TAGS: [&str; 9] = [
    "accuracy/test",
    "accuracy/train",
    "accuracy/validation",
    "loss/test",
    "loss/train",
    "loss/validation",
    "train/gradient_norm",
    "train/learning_rate",
    "train/tokens_per_second",
];

#[test]
fn tensorboard_reads_every_curve() {
    let place = Place::with_data();
    let begun = now();
    place.train("small.yaml --out run --set train.validate_every=10");
    let ended = now();
    let (curves, records, summary) =
        (curves(&place, "run"), place.metrics("run"), place.summary("run"));
    assert_eq!(curves.keys().collect::<Vec<_>>(), TAGS);

    let last = records.last().unwrap()["step"].as_u64().unwrap();
    let every: Vec<u64> = (1..=last).collect();
    for (tag, curve) in &curves {
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{tag}: {curve:?}");
        for (_, time, value) in curve {
            assert!((begun..=ended).contains(time), "{tag} at {time}");
            assert!(value.is_finite(), "{tag}");
        }
        if !tag.ends_with("/validation") && !tag.ends_with("/test") {
            assert_eq!(steps(curve), every, "{tag}");
        }
    }
    for score in ["loss", "accuracy"] {
        let validation = recorded(&records, &format!("/validation/{score}"));
        assert_eq!(stored(&curves[&format!("{score}/validation")]), validation);
        let test = summary["test"][score].as_f64().unwrap() as f32;
        assert_eq!(stored(&curves[&format!("{score}/test")]), [(last, test)]);
    }
    // metrics.jsonl has the learning rate of the last step before each validation.
    let rates = &curves["train/learning_rate"];
    for (step, rate) in recorded(&records, "/learning_rate") {
        assert_eq!(rates[step as usize - 1].2 as f32, rate);
    }
    assert!(curves["train/gradient_norm"].iter().all(|point| point.2 > 0.0));
    assert!(curves["train/tokens_per_second"].iter().all(|point| point.2 > 0.0));
}

/// Every batch of an epoch but the last has as many examples, so a plain mean will do.
#[test]
fn the_training_curve_is_what_metrics_average() {
    let place = Place::with_data();
    // 512 training examples make 16 full batches.
    place.train("small.yaml --out run --set data.split.validation=88");
    let (curves, records) = (curves(&place, "run"), place.metrics("run"));
    for score in ["loss", "accuracy"] {
        let curve = &curves[&format!("{score}/train")];
        assert_eq!(curve.len(), 16 * records.len());
        for (epoch, record) in curve.chunks(16).zip(&records) {
            let mean = epoch.iter().map(|point| point.2).sum::<f64>() / 16.0;
            let expected = record["train"][score].as_f64().unwrap();
            assert!((mean - expected).abs() < 1e-6, "{score}: {mean} {expected}");
        }
    }
}

#[test]
fn fewer_points_can_be_asked_for() {
    let place = Place::with_data();
    place.train("small.yaml --out run --set train.log_every=5 --set train.epochs=2");
    let curves = curves(&place, "run");
    assert_eq!(steps(&curves["loss/train"]), [5, 10, 15, 20, 25, 30]);
    assert_eq!(steps(&curves["loss/validation"]), [17, 34]);
}

#[test]
fn a_run_that_goes_on_goes_on_in_its_curves() {
    let place = Place::with_data();
    place.train("small.yaml --out run --set train.epochs=2");
    place.train("--resume run --set train.epochs=3");
    let curves = curves(&place, "run");
    assert_eq!(steps(&curves["loss/train"]), (1..=51).collect::<Vec<_>>());
    assert_eq!(steps(&curves["loss/validation"]), [17, 34, 51]);
    assert_eq!(steps(&curves["loss/test"]), [34, 51]);
}

/// Steps after the last checkpoint are lost and taken again: once each in a curve.
#[test]
fn a_killed_run_that_goes_on_has_no_step_twice_in_its_curves() {
    let place = with_noise(PLATEAU);
    let mut training = Training::start(&place, "long.yaml --out run");
    training.wait_for_validations(&place, "run", 4);
    training.stop(libc::SIGKILL);
    place.train("--resume run --set train.epochs=5");
    for (tag, curve) in curves(&place, "run") {
        let steps = steps(&curve);
        assert!(steps.is_sorted_by(|a, b| a < b), "{tag}: {steps:?}");
    }
}
