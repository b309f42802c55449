//! `lstmtext runs` and `lstmtext runs diff`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::common::{TestDir, assert_fails, stderr, stdout, stdout_json};
use crate::training::{ENDLESS, PLATEAU, Training, with_noise};

/// Returns the entries of `runs --json`.
fn list(dir: &TestDir, line: &str) -> Vec<Value> {
    let done = dir.lstmtext(&format!("runs {line} --json")).assert().success().stderr("");
    stdout_json(&done).as_array().unwrap().clone()
}

fn names(runs: &[Value]) -> Vec<&str> {
    runs.iter().map(|run| run["name"].as_str().unwrap()).collect()
}

/// Returns the printed table, and checks that its lines fit into 80 columns.
fn table(dir: &TestDir, line: &str) -> String {
    let text = stdout(&dir.lstmtext(&format!("runs {line}")).assert().success());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    text
}

fn row<'t>(table: &'t str, run: &str) -> Vec<&'t str> {
    let line = table.lines().find(|line| line.starts_with(&format!("{run} ")));
    line.unwrap_or_else(|| panic!("{run} is not in\n{table}")).split_whitespace().collect()
}

#[test]
fn runs_are_listed_with_scores_and_differences() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out runs/a");
    dir.train("small.yaml --out runs/deep/b --set train.seed=2 --set train.epochs=2");
    dir.train("small.yaml --out runs/c --set model.lstm.units=16");
    let runs = list(&dir, "");
    let loss = |run: &Value| run["validation"]["loss"].as_f64().unwrap();
    assert!(runs.is_sorted_by(|a, b| loss(a) <= loss(b)), "{runs:?}");
    assert_eq!(runs.len(), 3);
    for run in &runs {
        let name = run["name"].as_str().unwrap();
        let summary = dir.summary(&format!("runs/{name}"));
        for field in ["parameters", "best_epoch", "validation", "test", "seconds"] {
            assert_eq!(run[field], summary[field], "{field} of {name}");
        }
        assert_eq!((&run["state"], &run["error"]), (&"finished".into(), &Value::Null));
        assert_eq!(run["epoch"], run["epochs"], "{name}");
        assert_eq!(run["differs"].as_object().unwrap().len(), 3);
        assert!(run["begun"].as_u64().unwrap() > 1_700_000_000);
    }
    let b = runs.iter().find(|run| run["name"] == "deep/b").unwrap();
    let expected = [("model.lstm.units", 8), ("train.epochs", 2), ("train.seed", 2)];
    for (field, value) in expected {
        assert_eq!(b["differs"][field], value);
    }

    // Three more columns do not fit. The most common values are printed once.
    let text = table(&dir, "");
    let a = row(&text, "a");
    let accuracy = 100.0 * dir.summary("runs/a")["validation"]["accuracy"].as_f64().unwrap();
    assert_eq!(a[1..3], ["finished", &format!("{accuracy:.2}")]);
    assert!(text.contains("\n  epochs 2, seed 2\n") && text.contains("\n  units 16\n"), "{text}");
    assert!(text.ends_with("\n  all others: units 8, epochs 4, seed 1\n"), "{text}");

    // One more column fits.
    fs::remove_dir_all(dir.path("runs/deep")).unwrap();
    let text = table(&dir, "runs");
    assert!(text.lines().nth(1).unwrap().ends_with("parameters  units"), "{text}");
    assert_eq!(row(&text, "c").last().unwrap(), &"16");
}

/// In a pipe. A terminal shows the start and the end of a long name.
#[test]
fn long_names_are_whole_for_scripts() {
    let dir = TestDir::with_data();
    let name = "experiment-".repeat(8);
    for suffix in ["a", "b"] {
        dir.train(&format!("small.yaml --out runs/{name}{suffix}"));
    }
    let table = stdout(&dir.lstmtext("runs runs").assert().success());
    assert!(
        table.contains(&format!("{name}a ")) && table.contains(&format!("{name}b ")),
        "{table}"
    );
}

#[test]
fn runs_are_sorted_by_any_key() {
    let dir = TestDir::with_data();
    for (name, units, epochs) in [("x", 12, 1), ("y", 8, 3), ("z", 10, 2)] {
        dir.train(&format!(
            "small.yaml --out runs/{name} --set model.lstm.units={units} --set train.epochs={epochs}"
        ));
    }
    // This run has no validation, so it has neither a score nor parameters.
    let yaml = fs::read_to_string(dir.path("runs/x/config.yaml")).unwrap();
    let dir = dir.file("runs/new/config.yaml", yaml.replace("units: 12", "units: 9"));
    let order = |line: &str| names(&list(&dir, line)).join(" ");
    assert_eq!(order("--sort name"), "new x y z");
    assert_eq!(order("--sort name --reverse"), "z y x new");
    assert_eq!(order("--sort parameters"), "y z x new");
    assert_eq!(order("--sort parameters --reverse"), "x z y new");
    assert_eq!(order("--sort model.lstm.units"), "y new z x");
    assert_eq!(order("--sort state"), "x y z new");
    assert!(order("--sort loss").ends_with("new") && order("--sort date").ends_with("new"));
    assert_fails(dir.lstmtext("runs --sort model.lstm"), 2, &["accuracy", "train.learning_rate"]);
}

#[test]
fn running_runs_are_listed_without_affecting_them() {
    let dir = with_noise(PLATEAU);
    let mut training = Training::start(&dir, &format!("long.yaml --out runs/it {ENDLESS}"));
    training.wait_for_checkpoint(&dir, "runs/it");
    training.wait_for_validations(&dir, "runs/it", 1);
    for _ in 0..5 {
        let [run] = &list(&dir, "")[..] else { panic!("expected one run") };
        assert_eq!(run["state"], "running");
        assert!(run["seconds"].as_f64().unwrap() > 0.0 && run["faults"] == serde_json::json!([]));
        assert_eq!(run["epochs"], 100_000);
    }
    training.stop(libc::SIGKILL);
    let [run] = &list(&dir, "")[..] else { panic!("expected one run") };
    assert_eq!(run["state"], "stopped");
    assert_eq!(row(&table(&dir, ""), "it")[1], "stopped");

    // The parameters are counted from the configuration, as no summary exists.
    let parameters = run["parameters"].clone();
    dir.train("--resume runs/it --set train.epochs=1");
    assert_eq!(parameters, dir.summary("runs/it")["parameters"]);
}

#[test]
fn the_error_of_a_failed_run_is_kept_until_it_resumes() {
    let dir = TestDir::with_data();
    let diverges = "--set train.optimizer=sgd --set train.learning_rate=1e38 \
                    --set train.gradient_clip=null --set train.schedule.name=constant";
    let line = format!("train small.yaml --out runs/native {diverges}");
    assert_fails(dir.lstmtext(&line), 1, &["training diverged"]);
    assert!(dir.read("runs/native/error.txt").starts_with("training diverged at step "));
    let runs = list(&dir, "");
    assert!(runs.iter().all(|run| run["state"] == "failed"), "{runs:?}");
    assert!(runs[0]["error"].as_str().unwrap().starts_with("training diverged at step "));
    let text = table(&dir, "");
    assert!(text.contains("\n    error: training diverged at step "), "{text}");

    assert_fails(
        dir.lstmtext("train --resume runs/native --set model.pooling=no"),
        2,
        &["pooling"],
    );
    assert!(dir.path("runs/native/error.txt").exists());
    let stable = "--set train.learning_rate=0.05 --set train.gradient_clip=1.0";
    dir.train(&format!("--resume runs/native {stable}"));
    assert!(!dir.path("runs/native/error.txt").exists());
    assert_eq!(row(&table(&dir, ""), "native")[1], "finished");
}

#[test]
fn read_only_runs_are_listed() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out runs/a --set train.epochs=1");
    let mode = |bits| {
        let permissions = fs::Permissions::from_mode(bits);
        fs::set_permissions(dir.path("runs/a"), permissions).unwrap();
    };
    let before = dir.names("runs/a");
    mode(0o555);
    assert_eq!(row(&table(&dir, ""), "a")[1], "finished");
    mode(0o755);
    assert_eq!(dir.names("runs/a"), before);
}

#[test]
fn damaged_runs_are_listed_with_their_errors() {
    let dir = TestDir::with_data();
    for name in ["whole", "damaged"] {
        dir.train(&format!("small.yaml --out runs/{name} --set train.epochs=1"));
    }
    let dir = dir
        .file("runs/damaged/config.yaml", "train: [")
        .file("runs/damaged/summary.json", "{\"parameters\": ")
        .file("runs/notes/config.yaml", "port: 80\n");
    let text = table(&dir, "");
    assert_eq!(row(&text, "whole")[1], "finished");
    assert_eq!(row(&text, "damaged")[1], "stopped");
    assert!(text.contains("    damaged: config.yaml:"), "{text}");
    assert!(text.contains("    damaged: cannot parse \"summary.json\": "), "{text}");
    assert!(!text.contains("notes"), "{text}");
    dir.lstmtext("runs diff whole damaged")
        .assert()
        .success()
        .stderr(contains("note: damaged: config.yaml:"))
        .stdout(contains("a configuration cannot be read").and(contains("validation accuracy")));
}

#[test]
fn diff_compares_two_runs() {
    let dir = TestDir::with_data().file("long/er/path/of/train.csv", "");
    dir.train("small.yaml --out runs/a");
    let copy = "long/er/path/of/train.csv";
    fs::copy(dir.path("train.csv"), dir.path(copy)).unwrap();
    dir.train(&format!("small.yaml --out runs/b --set train.epochs=2 --set data.train={copy}"));
    let text = table(&dir, "diff runs/a runs/b");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["field", "runs/a", "runs/b"]);
    assert!(rows.contains(&vec!["train.epochs", "4", "2"]), "{text}");
    let values = rows.iter().position(|row| row == &["data.train"]).unwrap();
    assert!(rows[values + 1][0].ends_with("/train.csv"), "{text}");
    assert!(rows[values + 2][0].ends_with("/long/er/path/of/train.csv"), "{text}");
    let accuracy = |run| 100.0 * dir.summary(run)["test"]["accuracy"].as_f64().unwrap();
    let (a, b) = (accuracy("runs/a"), accuracy("runs/b"));
    let expected = format!("test accuracy {a:.2} % {b:.2} % {:+.2}", b - a);
    assert!(rows.contains(&expected.split_whitespace().collect()), "{expected:?}: {text}");

    assert_eq!(table(&dir, "diff a b").lines().count(), text.lines().count());
    assert!(table(&dir, "diff a runs/a").starts_with("the configurations are equal\n"));
    let runs = list(&dir, "diff a b");
    assert_eq!(names(&runs), ["a", "b"]);
    assert_eq!(
        (&runs[0]["differs"]["train.epochs"], &runs[1]["differs"]["train.epochs"]),
        (&4.into(), &2.into())
    );
}

#[test]
fn directories_that_are_not_runs_are_errors() {
    let dir = TestDir::with_run().file("empty/readme", "");
    assert_fails(dir.lstmtext("runs none"), 1, &["no directory", "none"]);
    assert_fails(dir.lstmtext("runs"), 1, &["no directory \"runs\""]);
    assert_fails(dir.lstmtext("runs diff run none"), 1, &["no directory", "none"]);
    assert_fails(dir.lstmtext("runs diff run empty"), 1, &["empty", "is not a run"]);
    assert_fails(dir.lstmtext("runs diff run run/best"), 1, &["run/best", "is a checkpoint"]);
    assert_fails(dir.lstmtext("runs diff run"), 2, &["<B>"]);
    let done = dir.lstmtext("runs empty").assert().success().stdout("");
    assert_eq!(stderr(&done), "no runs in \"empty\"\n");
    assert_eq!(list(&dir, "empty").len(), 0);
    // If the directory is itself a run, its own name is shown.
    assert_eq!(names(&list(&dir, "run")), ["run"]);
    assert_fails(dir.lstmtext("runs ./diff"), 1, &["no directory \"./diff\""]);
}

/// A lower loss on other examples does not make a run better.
#[test]
fn runs_with_other_validation_examples_are_ranked_by_themselves() {
    let dir = TestDir::with_data();
    for (name, fields) in [
        ("a", "train.seed=1"),
        ("b", "data.split.seed=2"),
        ("c", "train.seed=2"),
        ("d", "data.split.seed=2 --set train.seed=2"),
    ] {
        dir.train(&format!("small.yaml --out runs/{name} --set train.epochs=1 --set {fields}"));
    }
    for (name, loss) in [("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4)] {
        let path = format!("runs/{name}/summary.json");
        let mut summary = dir.json(&path);
        summary["validation"]["loss"] = loss.into();
        fs::write(dir.path(&path), summary.to_string()).unwrap();
    }
    let runs = list(&dir, "");
    assert_eq!(names(&runs), ["a", "c", "b", "d"]);
    assert!(runs[0]["validation_data"].as_str().unwrap().starts_with("60-"));
    assert_eq!(runs[0]["validation_data"], runs[1]["validation_data"]);
    assert_ne!(runs[1]["validation_data"], runs[2]["validation_data"]);
    let done = dir.lstmtext("runs").assert().success();
    let done = done.stderr(contains("note: the runs have 2 sets of validation examples"));
    assert_eq!(stdout(&done).matches("\n60 validation examples, ").count(), 2);
    assert_eq!(names(&list(&dir, "--sort name")), ["a", "b", "c", "d"]);
    dir.lstmtext("plot runs --to picture --no-words").assert().success();
    let (picture, data) = (dir.read("picture/curves.svg"), runs[0]["validation_data"].as_str());
    assert!(picture.contains(&format!("({})", &data.unwrap()[3..11])), "the legend names the set");
    let diff =
        |a: &str, b: &str| stderr(&dir.lstmtext(&format!("runs diff {a} {b}")).assert().success());
    assert!(diff("a", "b").contains("different validation examples"));
    assert!(!diff("a", "c").contains("validation examples"));
    assert!(!diff("a", "b").contains("test examples"));
    dir.train("small.yaml --out runs/e --set data.test=null --set data.split.test=0.2");
    dir.train("small.yaml --out runs/f --no-test --set data.test=null --set data.split.test=0.2");
    assert!(diff("a", "e").contains("different test examples"));
    assert!(!diff("a", "f").contains("test examples"), "no score is compared");
    for run in ["e", "f"] {
        fs::remove_dir_all(dir.path(&format!("runs/{run}"))).unwrap();
    }

    // The summary of an earlier version.
    let mut summary = dir.json("runs/a/summary.json");
    summary.as_object_mut().unwrap().remove("validation_data").unwrap();
    fs::write(dir.path("runs/a/summary.json"), summary.to_string()).unwrap();
    assert_eq!(names(&list(&dir, "")), ["a", "c", "b", "d"], "the checkpoint records it, too");
    for checkpoint in ["best", "last"] {
        fs::remove_dir_all(dir.path(&format!("runs/a/{checkpoint}"))).unwrap();
    }
    let text = table(&dir, "");
    assert!(
        text.contains("\nunknown validation examples (earlier version, or no checkpoint):\n"),
        "{text}"
    );
}

#[test]
fn runs_of_several_seeds_share_a_row() {
    let dir = TestDir::with_data();
    for (name, set) in [
        ("a", "train.seed=1"),
        ("b", "train.seed=2"),
        ("c", "train.seed=1 --set train.epochs=1"),
        ("d", "train.seed=2 --set train.epochs=1"),
    ] {
        dir.train(&format!("small.yaml --out runs/{name} --set {set}"));
    }
    let score =
        |run: &str, part: &str| dir.summary(&format!("runs/{run}"))[part]["loss"].as_f64().unwrap();
    let mean = |part: &str| (score("a", part) + score("b", part)) / 2.0;
    let rows = stdout_json(&dir.lstmtext("runs --over-seeds --format json").assert().success());
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["runs"], serde_json::json!(["a", "b"]));
    let found = &rows[0]["validation"]["loss"];
    assert!((found["mean"].as_f64().unwrap() - mean("validation")).abs() < 1e-12);
    let deviation = (score("a", "validation") - score("b", "validation")).abs() / 2_f64.sqrt();
    assert!((found["standard_deviation"].as_f64().unwrap() - deviation).abs() < 1e-12);
    assert!(rows[0].get("test").is_none());
    let print = |line: &str| stdout(&dir.lstmtext(&format!("runs {line}")).assert().success());
    let csv = print("--over-seeds --test --format csv");
    let header = "epochs,validation_loss,validation_loss_sd,validation_accuracy,validation_accuracy_sd,\
                  seconds,runs,test_loss,test_loss_sd,test_accuracy,test_accuracy_sd";
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0].join(","), header);
    assert!((lines[1][7].parse::<f64>().unwrap() - mean("test")).abs() < 1e-12, "{csv}");
    assert_eq!(&lines[2][7..], ["", "", "", ""], "only the best row is tested");
    let table = print("--over-seeds");
    assert!(table.lines().nth(1).unwrap().contains(" ± "), "{table}");
    // Without it, each run has a row, and only the best one test scores.
    let markdown = print("--format markdown --test");
    assert_eq!(markdown.lines().count(), 6, "{markdown}");
    assert!(markdown.starts_with("| run | state | validation loss | validation accuracy (%) |"));
    assert_eq!(markdown.matches("| – | – |").count(), 3, "{markdown}");
    let latex = print("--format latex");
    assert!(latex.contains("\\toprule\nrun & state &"), "{latex}");
    let names: Vec<String> = list(&dir, "").iter().map(|run| run["name"].to_string()).collect();
    let csv = print("--format csv");
    let listed: Vec<String> =
        csv.lines().skip(1).map(|line| format!("{:?}", line.split(',').next().unwrap())).collect();
    assert_eq!(listed, names);
    assert_fails(dir.lstmtext("runs --test --sort name"), 2, &["--test"]);
    dir.train("small.yaml --out other/e --no-test");
    let untested = dir.lstmtext("runs other --test").assert().success();
    let advice = "evaluate other/e --split test";
    assert!(stderr(&untested).contains(advice), "{}", stderr(&untested));
}

#[test]
fn texts_are_quoted_only_as_the_format_of_the_table_demands() {
    let dir = TestDir::with_data().file("a.yaml", crate::common::SMALL);
    for name in ["x (y)", "x, y"] {
        let mut train = dir.lstmtext("train a.yaml --set train.epochs=1 --out");
        train.arg(format!("runs/{}", name.len()));
        train.args(["--set", &format!("name={name:?}")]).assert().success();
    }
    let table = |format: &str| {
        let done = dir.lstmtext(&format!("runs --format {format}")).assert().success();
        let mut lines: Vec<String> = stdout(&done).lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    };
    let csv = table("csv");
    assert!(csv.contains(",x (y)") && csv.contains(",\"x, y\""), "{csv}");
    let latex = table("latex");
    assert!(latex.contains("& x (y) ") && latex.contains("& x, y "), "{latex}");
    let markdown = table("markdown");
    assert!(markdown.contains("| x (y) |") && markdown.contains("| x, y |"), "{markdown}");
}
