//! The data that TensorBoard serves over HTTP for a directory of runs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::{TestDir, assert_fails, csv, examples, python};

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
    // The final scores are in the run directory, the curves below it.
    let scores = ["test_accuracy", "test_loss", "validation_accuracy", "validation_loss"];
    assert_eq!(*tags("adam"), json!(scores.map(|score| format!("best/{score}"))));
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
        count(&config[0][1], ["<pre><code>", "\n  epochs: 2\n", "\n  epochs: 1\n", "\n#", "\n  #"]),
        [1, 1, 0, 0, 0]
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
