//! What a run writes for TensorBoard, read by TensorBoard itself: its event files, and what it
//! shows over HTTP.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::{Place, assert_fails, csv, examples, python};
use crate::training::{PLATEAU, Training, with_noise};

/// A point of a curve: step, wall time, value.
type Point = (u64, f64, f64);

type Curves = BTreeMap<String, Vec<Point>>;

/// What event files hold.
#[derive(Deserialize)]
struct Events {
    scalars: Curves,
    /// Everything else: step, wall time, hash of the content.
    tensors: BTreeMap<String, Vec<(u64, f64, String)>>,
}

fn events(place: &Place, run: &str) -> Events {
    let run = place.path(run);
    let read = python("tensorboard_events.py", &[run.to_str().unwrap()]);
    serde_json::from_value(read).unwrap()
}

fn curves(place: &Place, run: &str) -> Curves {
    events(place, run).scalars
}

fn steps(curve: &[Point]) -> Vec<u64> {
    curve.iter().map(|(step, _, _)| *step).collect()
}

impl Events {
    /// The steps of everything that is no curve.
    fn tensor_steps(&self) -> BTreeMap<&str, Vec<u64>> {
        let steps =
            |events: &Vec<(u64, f64, String)>| events.iter().map(|(step, _, _)| *step).collect();
        self.tensors.iter().map(|(tag, events)| (tag.as_str(), steps(events))).collect()
    }

    /// The same with what they hold.
    fn contents(&self) -> Vec<(&str, u64, &str)> {
        let all = self.tensors.iter().flat_map(|(tag, events)| {
            events.iter().map(move |(step, _, hash)| (tag.as_str(), *step, hash.as_str()))
        });
        all.collect()
    }
}

/// Two runs have the same points in every curve, those of speed aside, and the same of everything
/// else.
pub fn assert_same_curves(place: &Place, a: &str, b: &str) {
    let (a, b) = (events(place, a), events(place, b));
    assert_eq!(a.contents(), b.contents());
    let (mut a, mut b) = (a.scalars, b.scalars);
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
    let events = events(&place, "run");
    let curves = events.scalars.iter().map(|(tag, curve)| (tag.as_str(), steps(curve)));
    for (tag, steps) in curves.chain(events.tensor_steps()) {
        assert!(steps.is_sorted_by(|a, b| a < b), "{tag}: {steps:?}");
    }
}

/// Settings, begin and end stand there once, as the last session has them.
#[test]
fn a_run_that_goes_on_says_once_what_it_is() {
    let place = Place::with_data();
    place.train("small.yaml --out run --set train.epochs=2 --set train.tensorboard.histograms=20");
    place.train("--resume run --set train.epochs=3");
    let events = events(&place, "run");
    let mut steps = events.tensor_steps();
    let histograms = ["gradients/", "weights/"].map(|kind| format!("{kind}embedding.weight"));
    for tag in &histograms {
        assert_eq!(steps.remove(tag.as_str()).unwrap(), [20, 40], "{tag}");
    }
    steps.retain(|tag, _| !tag.starts_with("gradients/") && !tag.starts_with("weights/"));
    let expected = [
        ("_hparams_/session_end_info", vec![51]),
        ("_hparams_/session_start_info", vec![0]),
        ("config", vec![0]),
        ("confusion_matrix", vec![17, 34, 51]),
        ("precision_recall/pos", vec![17, 34, 51]),
        ("predictions", vec![17, 34, 51]),
    ];
    assert_eq!(steps.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_not_wanted_is_not_written() {
    let place = Place::with_data();
    place.train(
        "small.yaml --out run --set train.tensorboard.pr_curves=false \
         --set train.tensorboard.confusion_matrix=false --set train.tensorboard.predictions=0",
    );
    let events = events(&place, "run");
    let tags: Vec<&str> = events.tensor_steps().into_keys().collect();
    assert_eq!(
        tags,
        ["_hparams_/session_end_info", "_hparams_/session_start_info", "config"],
        "settings are always there"
    );
    assert!(!place.path("run/plugins").exists());
}

#[test]
fn an_interrupted_run_shows_its_vectors_too() {
    let place = with_noise(PLATEAU);
    let mut training =
        Training::start(&place, "long.yaml --out run --set train.tensorboard.projector=10");
    training.wait_for_validations(&place, "run", 1);
    assert_eq!(training.stop(libc::SIGINT).0, Some(130));
    let folder = "run/plugins/org_tensorflow_tensorboard_projector";
    let names = ["embedding.weight.tsv", "embedding.weight.words.tsv", "projector_config.pbtxt"];
    assert_eq!(place.names(folder), names);
}

/// Everything that TensorBoard shows of the runs in a folder.
struct Shown(Value);

impl Shown {
    fn of(place: &Place, folder: &str) -> Self {
        Self(python("tensorboard_http.py", &[place.path(folder).to_str().unwrap()]))
    }

    fn of_run(&self, plugin: &str, run: &str) -> &Value {
        &self.0[plugin][run]
    }

    /// The values of a run in HParams: its settings, metrics and status.
    fn session(&self, run: &str) -> Session<'_> {
        let groups = self.0["hparams"]["groups"].as_array().unwrap();
        let group = groups.iter().find(|group| group["name"] == run).unwrap();
        let [session] = &group["sessions"].as_array().unwrap()[..] else { panic!("one session") };
        Session { group, session }
    }

    /// The settings in which the runs differ.
    fn differing(&self) -> Vec<&str> {
        let settings = self.0["hparams"]["experiment"]["hparamInfos"].as_array().unwrap();
        let differing = settings.iter().filter(|info| info["differs"] == json!(true));
        differing.map(|info| info["name"].as_str().unwrap()).collect()
    }
}

struct Session<'a> {
    group: &'a Value,
    session: &'a Value,
}

impl Session<'_> {
    fn setting(&self, name: &str) -> &Value {
        &self.group["hparams"][name]
    }

    fn metric(&self, tag: &str) -> (u64, f64) {
        let metrics = self.session["metricValues"].as_array().unwrap();
        let metric = metrics.iter().find(|metric| metric["name"]["tag"] == tag).unwrap();
        (metric["trainingStep"].as_u64().unwrap(), metric["value"].as_f64().unwrap())
    }

    fn status(&self) -> &str {
        self.session["status"].as_str().unwrap()
    }
}

/// Two classes on the kernel, gone on with once; the same on libtorch; twelve classes and two
/// inputs; and a run that fails.
fn runs_of_every_kind() -> Place {
    let labels: Vec<String> = (0..12).map(|class| format!("c{class}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let many = "\
data: {train: many.csv, label_column: label}
inputs: {left: {column: text}, right: {column: text, embedding: {size: 4}}}
model: {embedding: {size: 6}, lstm: {units: 6}}
train: {epochs: 1, tensorboard: {predictions: 3}}
";
    let place = Place::with_data()
        .file("many.yaml", many)
        .file("many.csv", csv(&examples(&labels, 600, 3)));
    let all = "--set train.tensorboard.histograms=10 --set train.tensorboard.projector=20";
    place.train(&format!("small.yaml --out runs/native --set train.epochs=1 {all}"));
    place.train("--resume runs/native --set train.epochs=2");
    place.train(&format!(
        "small.yaml --out runs/libtorch --set backend=libtorch --set train.epochs=2 {all}"
    ));
    place.train(&format!("many.yaml --out runs/many {all}"));
    let failing = "train small.yaml --out runs/failed --set train.learning_rate=1e300 \
                   --set train.gradient_clip=null --set train.optimizer=sgd";
    assert_fails(place.lstmtext(failing), 1, &["diverged"]);
    place
}

#[test]
fn tensorboard_shows_every_plugin() {
    let place = runs_of_every_kind();
    let shown = Shown::of(&place, "runs");
    for plugin in ["scalars", "hparams", "pr_curves", "text", "images", "histograms", "projector"] {
        assert!(shown.0["plugins"].as_array().unwrap().contains(&json!(plugin)), "{plugin}");
    }
    check_hparams(&place, &shown);
    check_texts(&shown);
    check_precision_recall(&place, &shown);
    check_pictures(&shown);
    check_histograms(&shown);
    check_projector(&shown);
}

fn check_hparams(place: &Place, shown: &Shown) {
    let differing = shown.differing();
    for name in ["backend", "train.epochs", "train.learning_rate", "inputs"] {
        assert!(differing.contains(&name), "{name} is not in {differing:?}");
    }
    assert!(!differing.contains(&"train.batch_size"));
    let session = shown.session("native");
    assert_eq!(session.setting("train.epochs"), 2.0, "as it was gone on with");
    assert_eq!(session.setting("train.optimizer"), "adam");
    assert_eq!(session.setting("model.lstm.bidirectional"), false);
    assert_eq!(session.setting("train.token_budget"), "null");
    assert_eq!(session.status(), "STATUS_SUCCESS");
    let (summary, last) = (place.summary("runs/native"), &place.metrics("runs/native")[1]);
    for (tag, expected) in [
        ("accuracy/test", &summary["test"]["accuracy"]),
        ("loss/test", &summary["test"]["loss"]),
        ("accuracy/validation", &last["validation"]["accuracy"]),
    ] {
        let (step, value) = session.metric(tag);
        assert_eq!((step, value as f32), (34, expected.as_f64().unwrap() as f32), "{tag}");
    }
    assert_eq!(shown.session("many").status(), "STATUS_SUCCESS");
    assert_eq!(shown.session("failed").status(), "STATUS_FAILURE");
}

/// How often each piece stands in a page.
fn count<'a>(page: &Value, pieces: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
    let page = page.as_str().unwrap();
    pieces.into_iter().map(|piece| page.matches(piece).count()).collect()
}

fn check_texts(shown: &Shown) {
    let config = &shown.of_run("text", "native")["config"];
    assert_eq!(config.as_array().unwrap().len(), 1);
    assert_eq!(config[0][0], 0);
    assert_eq!(
        count(&config[0][1], ["<pre><code>", "  epochs: 2\n", "epochs: 1", "#"]),
        [1, 1, 0, 0]
    );

    let predictions = &shown.of_run("text", "native")["predictions"];
    assert_eq!([&predictions[0][0], &predictions[1][0]], [17, 34]);
    // A heading and 8 examples; the model has learned the words of the classes.
    let pieces = ["<tr>", "<th>", "<td>neg</td>\n<td>neg</td>", "<td>pos</td>\n<td>pos</td>"];
    assert_eq!(count(&predictions[1][1], pieces), [9, 4, 4, 4]);
    assert!(count(&predictions[1][1], [" n1"])[0] > 0, "words of the texts");

    let two_inputs = &shown.of_run("text", "many")["predictions"][0][1];
    let pieces = ["<tr>", "<th>left</th>\n<th>right</th>", "<th>text</th>"];
    assert_eq!(count(two_inputs, pieces), [4, 1, 0]);
}

fn check_precision_recall(place: &Place, shown: &Shown) {
    for run in ["native", "libtorch"] {
        let curves = &shown.of_run("pr_curves", run)["precision_recall/pos"];
        let records = place.metrics(&format!("runs/{run}"));
        assert_eq!(curves.as_array().unwrap().len(), 2);
        for (curve, record) in curves.as_array().unwrap().iter().zip(records) {
            assert_eq!(curve["step"], record["step"]);
            let count = |part: &str, at: usize| curve[part][at].as_u64().unwrap();
            let all = [count("true_positives", 0), count("false_positives", 0)];
            assert_eq!(all, [30, 30], "at 0 every example is said to be positive");
            // At 0.5 the same is decided as for the accuracy.
            let right = count("true_positives", 100) + count("true_negatives", 100);
            assert_eq!(curve["thresholds"][100], 0.5);
            assert_eq!(right as f64 / 60.0, record["validation"]["accuracy"].as_f64().unwrap());
            let recall: Vec<f64> = serde_json::from_value(curve["recall"].clone()).unwrap();
            assert!(recall[0] == 1.0 && recall.is_sorted_by(|a, b| a >= b), "{recall:?}");
        }
    }
    let many = shown.of_run("pr_curves", "many").as_object().unwrap();
    assert_eq!(many.len(), 10, "no more than ten of the twelve classes");
}

fn check_pictures(shown: &Shown) {
    let sizes = |run: &str| -> Vec<(u64, u64, u64)> {
        serde_json::from_value(shown.of_run("images", run)["confusion_matrix"].clone()).unwrap()
    };
    let (two, many) = (sizes("native"), sizes("many"));
    assert_eq!(two.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), [17, 34]);
    assert!(two.iter().all(|(_, width, height)| *width > 200 && *height > 200), "{two:?}");
    assert!(many[0].1 > two[0].1 && many[0].2 > two[0].2, "{many:?}");
}

fn check_histograms(shown: &Shown) {
    type Series = BTreeMap<String, Vec<(u64, Vec<[f64; 3]>)>>;
    let series = |run: &str| -> Series {
        serde_json::from_value(shown.of_run("histograms", run).clone()).unwrap()
    };
    let (native, libtorch) = (series("native"), series("libtorch"));
    assert_eq!(native.keys().collect::<Vec<_>>(), libtorch.keys().collect::<Vec<_>>());
    let numbers =
        |buckets: &[[f64; 3]]| buckets.iter().map(|bucket| bucket[2]).sum::<f64>() as usize;
    for (name, size) in [("head.bias", 1), ("lstm.weight_hh_l0", 4 * 8 * 8)] {
        for kind in ["weights", "gradients"] {
            let tag = format!("{kind}/{name}");
            for series in [&native, &libtorch] {
                let steps: Vec<u64> = series[&tag].iter().map(|(step, _)| *step).collect();
                assert_eq!(steps, [10, 20, 30], "{tag}");
                assert!(series[&tag].iter().all(|(_, buckets)| numbers(buckets) == size), "{tag}");
            }
        }
    }
    let embedding = |kind: &str| numbers(&native[&format!("{kind}/embedding.weight")][0].1);
    assert!(embedding("gradients") < embedding("weights"), "only words of the batch");
}

fn check_projector(shown: &Shown) {
    for (run, name) in [
        ("native", "embedding.weight"),
        ("libtorch", "embedding.weight"),
        ("many", "left.embedding.weight"),
        ("many", "right.embedding.weight"),
    ] {
        let tensor = &shown.of_run("projector", run)[name];
        let vectors = tensor["vectors"].as_array().unwrap();
        let weights = shown.of_run("embeddings", run)[name].as_array().unwrap();
        assert_eq!(vectors[..], weights[4..24], "{run}: the best checkpoint's, special ids aside");
        assert_eq!(tensor["heading"], json!(["word", "id", "count"]));
        let words = tensor["words"].as_array().unwrap();
        let ids = words.iter().map(|word| word[1].as_str().unwrap().parse::<usize>().unwrap());
        assert!(ids.eq(4..24));
        let counts = words.iter().map(|word| word[2].as_str().unwrap().parse::<usize>().unwrap());
        assert!(counts.is_sorted_by(|a, b| a >= b) && words[0][0].as_str().unwrap().len() > 1);
    }
    assert!(shown.0["projector"].get("failed").is_none());
}
