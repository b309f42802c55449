//! TensorBoard's view of a run: the event files as its own package reads them, and the data that it serves
//! over HTTP.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use lstmtext::events::{self, EventWriter, SubRun};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::{TestDir, assert_fails, csv, examples, python};
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

const TAGS: [&str; 9] = [
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

/// Everything that TensorBoard serves for the runs in a directory.
struct Served(Value);

impl Served {
    fn of(dir: &TestDir, directory: &str) -> Self {
        Self(python("tensorboard_http.py", &[dir.path(directory).to_str().unwrap()]))
    }

    fn of_run(&self, plugin: &str, run: &str) -> &Value {
        &self.0[plugin][run]
    }

    /// Returns the row of a run in the HParams dashboard.
    fn session(&self, run: &str) -> Session<'_> {
        let groups = self.0["hparams"]["groups"].as_array().unwrap();
        let group = groups.iter().find(|group| group["name"] == run).unwrap();
        let [session] = &group["sessions"].as_array().unwrap()[..] else { panic!("one session") };
        Session { group, session }
    }

    /// Returns the hyperparameters that differ between runs.
    fn differing(&self) -> Vec<&str> {
        let infos = self.0["hparams"]["experiment"]["hparamInfos"].as_array().unwrap();
        let differing = infos.iter().filter(|info| info["differs"] == json!(true));
        differing.map(|info| info["name"].as_str().unwrap()).collect()
    }
}

struct Session<'a> {
    group: &'a Value,
    session: &'a Value,
}

impl Session<'_> {
    fn hyperparameter(&self, name: &str) -> &Value {
        &self.group["hparams"][name]
    }

    fn metric(&self, sub_run: &str, tag: &str) -> (u64, f64) {
        let metrics = self.session["metricValues"].as_array().unwrap();
        let name = json!({"group": sub_run, "tag": tag});
        let metric = metrics.iter().find(|metric| metric["name"] == name).unwrap();
        (metric["trainingStep"].as_u64().unwrap(), metric["value"].as_f64().unwrap())
    }

    fn status(&self) -> &str {
        self.session["status"].as_str().unwrap()
    }
}

/// Trains two classes in a resumed run; the same with another optimizer; twelve classes and two inputs;
/// and a run that fails.
fn runs_of_every_kind() -> TestDir {
    let labels: Vec<String> = (0..12).map(|class| format!("c{class}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let many = "\
data: {train: many.csv, label_column: label}
inputs: {left: {column: text}, right: {column: text, embedding: {size: 4}}}
model: {embedding: {size: 6}, lstm: {units: 6}}
train: {epochs: 1, tensorboard: {predictions: 3}}
";
    let dir = TestDir::with_data()
        .file("many.yaml", many)
        .file("many.csv", csv(&examples(&labels, 600, 3)));
    let all = "--set train.tensorboard.histograms=10 --set train.tensorboard.projector=20";
    dir.train(&format!("small.yaml --out runs/adam --set train.epochs=1 {all}"));
    dir.train("--resume runs/adam --set train.epochs=2");
    dir.train(&format!(
        "small.yaml --out runs/rmsprop --set train.optimizer=rmsprop --set train.epochs=2 {all}"
    ));
    dir.train(&format!("many.yaml --out runs/many {all}"));
    let failing = "train small.yaml --out runs/failed --set train.learning_rate=1e300 \
                   --set train.gradient_clip=null --set train.optimizer=sgd";
    assert_fails(dir.lstmtext(failing), 1, &["diverged"]);
    dir
}

#[test]
fn tensorboard_serves_every_plugin() {
    let dir = runs_of_every_kind();
    let served = Served::of(&dir, "runs");
    for plugin in ["scalars", "hparams", "pr_curves", "text", "images", "histograms", "projector"] {
        assert!(served.0["plugins"].as_array().unwrap().contains(&json!(plugin)), "{plugin}");
    }
    check_scalars(&served);
    check_hparams(&dir, &served);
    check_texts(&served);
    check_precision_recall(&dir, &served);
    check_images(&served);
    check_histograms(&served);
    check_projector(&served);
}

/// Training and validation are separate runs with the same tags, so that TensorBoard overlays them.
fn check_scalars(served: &Served) {
    let tags = |run: &str| served.of_run("scalars", run);
    let step = ["accuracy", "gradient_norm", "learning_rate", "loss", "tokens_per_second"];
    assert!(tags("adam").is_null(), "no curves in the run directory itself");
    assert_eq!(*tags("adam/train"), json!(step));
    assert_eq!(*tags("adam/validation"), json!(["accuracy", "loss"]));
    assert_eq!(*tags("adam/test"), json!(["accuracy", "loss"]));
}

fn check_hparams(dir: &TestDir, served: &Served) {
    let differing = served.differing();
    for name in ["train.optimizer", "train.epochs", "train.learning_rate", "inputs"] {
        assert!(differing.contains(&name), "{name} is not in {differing:?}");
    }
    assert!(!differing.contains(&"train.batch_size"));
    let session = served.session("adam");
    assert_eq!(session.hyperparameter("train.epochs"), 2.0, "the resumed configuration");
    assert_eq!(session.hyperparameter("train.optimizer"), "adam");
    assert_eq!(session.hyperparameter("model.lstm.bidirectional"), false);
    assert_eq!(session.hyperparameter("train.token_budget"), "null");
    assert_eq!(session.status(), "STATUS_SUCCESS");
    let (summary, last) = (dir.summary("runs/adam"), &dir.metrics("runs/adam")[1]);
    for (sub_run, tag, expected) in [
        ("test", "accuracy", &summary["test"]["accuracy"]),
        ("test", "loss", &summary["test"]["loss"]),
        ("validation", "accuracy", &last["validation"]["accuracy"]),
    ] {
        let (step, value) = session.metric(sub_run, tag);
        let expected = (34, expected.as_f64().unwrap() as f32);
        assert_eq!((step, value as f32), expected, "{sub_run} {tag}");
    }
    let rows = served.0["hparams"]["groups"].as_array().unwrap();
    assert_eq!(rows.len(), 4, "one row for each run");
    assert_eq!(served.session("many").status(), "STATUS_SUCCESS");
    assert_eq!(served.session("failed").status(), "STATUS_FAILURE");
}

/// Counts the occurrences of each piece in a page.
fn count<'a>(page: &Value, pieces: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
    let page = page.as_str().unwrap();
    pieces.into_iter().map(|piece| page.matches(piece).count()).collect()
}

fn check_texts(served: &Served) {
    let config = &served.of_run("text", "adam")["config"];
    assert_eq!(config.as_array().unwrap().len(), 1);
    assert_eq!(config[0][0], 0);
    assert_eq!(
        count(&config[0][1], ["<pre><code>", "  epochs: 2\n", "epochs: 1", "#"]),
        [1, 1, 0, 0]
    );

    let predictions = &served.of_run("text", "adam/validation")["predictions"];
    assert_eq!([&predictions[0][0], &predictions[1][0]], [17, 34]);
    // A header and 8 examples; the model has learned the words of the classes.
    let pieces = ["<tr>", "<th>", "<td>neg</td>\n<td>neg</td>", "<td>pos</td>\n<td>pos</td>"];
    assert_eq!(count(&predictions[1][1], pieces), [9, 4, 4, 4]);
    assert!(count(&predictions[1][1], [" n1"])[0] > 0, "words of the texts");

    let two_inputs = &served.of_run("text", "many/validation")["predictions"][0][1];
    let pieces = ["<tr>", "<th>left</th>\n<th>right</th>", "<th>text</th>"];
    assert_eq!(count(two_inputs, pieces), [4, 1, 0]);
}

fn check_precision_recall(dir: &TestDir, served: &Served) {
    for run in ["adam", "rmsprop"] {
        let curves =
            &served.of_run("pr_curves", &format!("{run}/validation"))["precision_recall/pos"];
        let records = dir.metrics(&format!("runs/{run}"));
        assert_eq!(curves.as_array().unwrap().len(), 2);
        for (curve, record) in curves.as_array().unwrap().iter().zip(records) {
            assert_eq!(curve["step"], record["step"]);
            let count = |part: &str, at: usize| curve[part][at].as_u64().unwrap();
            let all = [count("true_positives", 0), count("false_positives", 0)];
            assert_eq!(all, [30, 30], "at 0 every example is predicted positive");
            // At 0.5 the predictions are those of the accuracy.
            let right = count("true_positives", 100) + count("true_negatives", 100);
            assert_eq!(curve["thresholds"][100], 0.5);
            assert_eq!(right as f64 / 60.0, record["validation"]["accuracy"].as_f64().unwrap());
            let recall: Vec<f64> = serde_json::from_value(curve["recall"].clone()).unwrap();
            assert!(recall[0] == 1.0 && recall.is_sorted_by(|a, b| a >= b), "{recall:?}");
        }
    }
    let many = served.of_run("pr_curves", "many/validation").as_object().unwrap();
    assert_eq!(many.len(), 10, "at most ten of the twelve classes");
}

fn check_images(served: &Served) {
    let sizes = |run: &str| -> Vec<(u64, u64, u64)> {
        let run = format!("{run}/validation");
        serde_json::from_value(served.of_run("images", &run)["confusion_matrix"].clone()).unwrap()
    };
    let (two, many) = (sizes("adam"), sizes("many"));
    assert_eq!(two.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), [17, 34]);
    assert!(two.iter().all(|(_, width, height)| *width > 200 && *height > 200), "{two:?}");
    assert!(many[0].1 > two[0].1 && many[0].2 > two[0].2, "{many:?}");
}

fn check_histograms(served: &Served) {
    type Series = BTreeMap<String, Vec<(u64, Vec<[f64; 3]>)>>;
    let series = |run: &str| -> Series {
        serde_json::from_value(served.of_run("histograms", &format!("{run}/train")).clone())
            .unwrap()
    };
    let (adam, rmsprop) = (series("adam"), series("rmsprop"));
    assert_eq!(adam.keys().collect::<Vec<_>>(), rmsprop.keys().collect::<Vec<_>>());
    let values =
        |buckets: &[[f64; 3]]| buckets.iter().map(|bucket| bucket[2]).sum::<f64>() as usize;
    for (name, size) in [("head.bias", 1), ("lstm.weight_hh_l0", 4 * 8 * 8)] {
        for kind in ["weights", "gradients"] {
            let tag = format!("{kind}/{name}");
            for series in [&adam, &rmsprop] {
                let steps: Vec<u64> = series[&tag].iter().map(|(step, _)| *step).collect();
                assert_eq!(steps, [10, 20, 30], "{tag}");
                assert!(series[&tag].iter().all(|(_, buckets)| values(buckets) == size), "{tag}");
            }
        }
    }
    let embedding = |kind: &str| values(&adam[&format!("{kind}/embedding.weight")][0].1);
    assert!(embedding("gradients") < embedding("weights"), "only the words of the batch");
}

fn check_projector(served: &Served) {
    for (run, name) in [
        ("adam", "embedding.weight"),
        ("rmsprop", "embedding.weight"),
        ("many", "left.embedding.weight"),
        ("many", "right.embedding.weight"),
    ] {
        let tensor = &served.of_run("projector", run)[name];
        let vectors = tensor["vectors"].as_array().unwrap();
        let weights = served.of_run("embeddings", run)[name].as_array().unwrap();
        assert_eq!(
            vectors[..],
            weights[4..24],
            "{run}: the best checkpoint, without the special ids"
        );
        assert_eq!(tensor["header"], json!(["word", "id", "count"]));
        let words = tensor["words"].as_array().unwrap();
        let ids = words.iter().map(|word| word[1].as_str().unwrap().parse::<usize>().unwrap());
        assert!(ids.eq(4..24));
        let counts = words.iter().map(|word| word[2].as_str().unwrap().parse::<usize>().unwrap());
        assert!(counts.is_sorted_by(|a, b| a >= b) && words[0][0].as_str().unwrap().len() > 1);
    }
    assert!(served.0["projector"].get("failed").is_none());
}
