//! `lstmtext sweep`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::common::{
    BINARY, ENVIRONMENT, SMALL, TestDir, assert_fails, stderr, stdout, stdout_json,
};
use crate::training::{COSINE, Training, with_noise};

/// Four runs that each take a fraction of a second.
const GRID: &str = "sweep: {model.lstm.units: [4, 8], seed: [1, 2]}\n";

/// Creates a directory with data and a sweep of a small model.
fn with_sweep(section: &str) -> TestDir {
    TestDir::with_data().file("many.yaml", format!("{SMALL}{section}"))
}

const NAMES: [&str; 4] = ["units=4-seed=1", "units=4-seed=2", "units=8-seed=1", "units=8-seed=2"];

#[test]
fn every_point_is_trained_and_ranked() {
    let dir = with_sweep(GRID);
    let done = dir.lstmtext("sweep many.yaml --jobs 2").assert().success();
    let messages = stderr(&done);
    for part in
        ["sweep: 4 runs; 2 at once", "\n4/4  ", "ranked by validation loss", "plot sweeps/many"]
    {
        assert!(messages.contains(part), "{part:?} is not in: {messages}");
    }
    assert_eq!(dir.names("sweeps/many"), [&["leaderboard.json"][..], &NAMES].concat());
    let board = dir.json("sweeps/many/leaderboard.json");
    let rows = board["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let mean = |row: &Value| row["loss"]["mean"].as_f64().unwrap();
    assert!(mean(&rows[0]) <= mean(&rows[1]));
    for (rank, row) in rows.iter().enumerate() {
        assert_eq!(row["rank"], rank + 1);
        let units = row["settings"]["model.lstm.units"].as_u64().unwrap();
        let runs =
            [1, 2].map(|seed| dir.summary(&format!("sweeps/many/units={units}-seed={seed}")));
        for score in ["loss", "accuracy"] {
            let [a, b] = [0, 1].map(|run| runs[run]["validation"][score].as_f64().unwrap());
            let close = |actual: &Value, expected: f64| {
                assert!((actual.as_f64().unwrap() - expected).abs() < 1e-12, "{actual} {expected}");
            };
            close(&row[score]["mean"], (a + b) / 2.0);
            close(&row[score]["standard_deviation"], (a - b).abs() / 2_f64.sqrt());
        }
        for run in &runs {
            assert!(run["test"].is_null(), "the test examples are not evaluated");
        }
    }
    let table = stdout(&done);
    assert_eq!(table.lines().count(), 3, "{table}");
    let first = table.lines().nth(1).unwrap();
    let expected = format!("{:.4} ± ", mean(&rows[0]));
    assert!(first.trim_start().starts_with("1 ") && first.contains(&expected), "{table}");
    assert!(dir.read("sweeps/many/units=4-seed=1/log.txt").contains("are not scored (--no-test)"));

    // Once all runs have finished, only the table is printed.
    let again = dir.lstmtext("sweep many.yaml").assert().success();
    assert_eq!(stdout(&again), table);
    assert!(!stderr(&again).contains("at once"));
    let json = stdout_json(&dir.lstmtext("sweep many.yaml --json").assert().success());
    assert_eq!(json, board);
}

#[test]
fn notes_on_the_data_are_shown_once() {
    let dir = with_sweep("sweep: {seed: [1, 2]}\n");
    let train = dir.read("train.csv");
    let row = train.lines().nth(1).unwrap();
    let dir = dir.file("dev.csv", format!("text,label\n{row}\nn1 other,neg\nn2 other,pos\n"));
    for _ in 0..2 {
        let mut command = dir.lstmtext("sweep many.yaml --set data.validation=dev.csv");
        let messages = stderr(&command.assert().success());
        let note = "note: 1 of 3 validation texts is also a training text";
        assert_eq!(messages.matches(note).count(), 1, "{messages}");
    }
}

#[test]
fn a_run_of_a_sweep_equals_a_run_of_train() {
    let dir = with_sweep(GRID);
    dir.lstmtext("sweep many.yaml --jobs 2").assert().success();
    dir.train("small.yaml --out alone --set model.lstm.units=4 --set train.seed=2");
    let run = "sweeps/many/units=4-seed=2";
    assert_eq!(dir.read("alone/metrics.jsonl"), dir.read(&format!("{run}/metrics.jsonl")));
    assert!(dir.best_weights("alone") == dir.best_weights(run));
    let evaluate = |run: &str| {
        let printed = stdout(&dir.lstmtext(&format!("evaluate {run}")).assert().success());
        printed.replace(run, "RUN")
    };
    assert_eq!(evaluate("alone"), evaluate(run));
}

/// The order of the scores is that of `best/` within a run, too; unit tests of the progress check that.
#[test]
fn runs_and_sweeps_rank_alike() {
    let dir = with_sweep("sweep: {model.lstm.units: [5, 4, 3, 2]}\n");
    let metric = "--set train.early_stopping.metric=validation_accuracy --set train.epochs=1";
    let sweep = format!("sweep many.yaml {metric} --json");
    dir.lstmtext(&sweep).assert().success();
    for (units, loss, accuracy) in [(2, 0.4, 0.8), (3, 0.6, 0.9), (4, 0.3, 0.8), (5, 0.3, 0.8)] {
        let path = format!("sweeps/many/units={units}/summary.json");
        let mut summary = dir.json(&path);
        summary["validation"] = json!({"loss": loss, "accuracy": accuracy});
        fs::write(dir.path(&path), summary.to_string()).unwrap();
    }
    let expected = [3, 4, 5, 2].map(|units| format!("units={units}"));
    let board = stdout_json(&dir.lstmtext(&sweep).assert().success());
    let rows = board["rows"].as_array().unwrap().iter();
    assert!(rows.map(|row| &row["finished"][0]["run"]).eq(&expected), "{board}");
    let runs = stdout_json(&dir.lstmtext("runs sweeps/many --json").assert().success());
    assert!(runs.as_array().unwrap().iter().map(|run| &run["name"]).eq(&expected), "{runs}");
}

#[test]
fn points_with_other_validation_examples_are_ranked_by_themselves() {
    let dir = with_sweep("sweep: {data.split.seed: [1, 2], model.lstm.units: [4, 8]}\n");
    let sweep = "sweep many.yaml --set train.epochs=1";
    let done = dir.lstmtext(sweep).assert().success();
    let messages = stderr(&done);
    assert!(messages.contains("the runs have 2 sets of validation examples"), "{messages}");
    assert!(!messages.contains(" --split test"), "there is no best run: {messages}");
    let table = stdout(&done);
    assert_eq!(table.matches("60 validation examples, ").count(), 2, "{table}");
    let board = dir.json("sweeps/many/leaderboard.json");
    let rows = board["rows"].as_array().unwrap();
    assert!(rows.iter().map(|row| &row["rank"]).eq(&[1, 2, 1, 2]), "{board}");
    for pair in rows.chunks(2) {
        let seed = |row: &Value| row["settings"]["data.split.seed"].clone();
        assert_eq!(seed(&pair[0]), seed(&pair[1]));
    }
}

#[test]
fn the_leaderboard_is_printed_for_papers_and_programs() {
    let dir = with_sweep(GRID);
    let board = stdout_json(&dir.lstmtext("sweep many.yaml --format json").assert().success());
    let print =
        |line: &str| stdout(&dir.lstmtext(&format!("sweep many.yaml {line}")).assert().success());
    let best = &board["rows"][0];
    assert!(best.get("test").is_none(), "{board}");
    let csv = print("--format csv");
    let first: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    let header = "rank,units,loss,loss_sd,accuracy,accuracy_sd,epoch,seconds,runs";
    assert_eq!(csv.lines().next().unwrap(), header);
    for (index, value) in [(2, &best["loss"]["mean"]), (3, &best["loss"]["standard_deviation"])] {
        assert_eq!(first[index].parse::<f64>().unwrap(), value.as_f64().unwrap());
    }
    let latex = print("--format latex");
    assert!(
        latex.starts_with(
            "\\begin{tabular}{rrrrrrr}\n\\toprule\nrank & units & loss & accuracy (\\%) &"
        ),
        "{latex}"
    );
    assert_eq!(latex.matches(" $\\pm$ ").count(), 4, "{latex}");
    let markdown = print("--format markdown");
    assert!(markdown.starts_with("| rank | units | loss | accuracy (%) | epoch |"), "{markdown}");
    assert_eq!(markdown.lines().count(), 4);
    // Only the best row is scored on the test examples, with the runs of all seeds.
    let tested =
        stdout_json(&dir.lstmtext("sweep many.yaml --format json --test").assert().success());
    assert!(tested["rows"][1].get("test").is_none(), "{tested}");
    let runs = best["finished"].as_array().unwrap().iter();
    let accuracies: Vec<f64> = runs
        .map(|run| {
            let run = run["run"].as_str().unwrap();
            let line = format!("evaluate sweeps/many/{run} --split test --json");
            stdout_json(&dir.lstmtext(&line).assert().success())["accuracy"].as_f64().unwrap()
        })
        .collect();
    let mean = tested["rows"][0]["test"]["accuracy"]["mean"].as_f64().unwrap();
    assert!((mean - (accuracies[0] + accuracies[1]) / 2.0).abs() < 1e-12, "{accuracies:?}");
    let table = print("--test");
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert!(header.join(" ").contains("loss accuracy test loss test accuracy"), "{table}");
    // The advice to test the best run is for those who have not.
    let advice = |more: &str| {
        let done = dir.lstmtext(&format!("sweep many.yaml {more}")).assert().success();
        stderr(&done).contains("--split test")
    };
    assert!(advice("") && !advice("--test"));
    // Other test examples than those at the time of the training are reported.
    let data = dir.read("test.csv");
    fs::write(dir.path("test.csv"), data.clone() + "one more text,pos\n").unwrap();
    let changed = dir.lstmtext("sweep many.yaml --test").assert().success();
    let told = stderr(&changed);
    assert!(
        told.contains("the run had other test examples, because the data has changed"),
        "{told}"
    );
    assert_eq!(told.matches("warning: ").count(), accuracies.len(), "{told}");
    fs::write(dir.path("test.csv"), data).unwrap();
    let same = dir.lstmtext("sweep many.yaml --test").assert().success();
    assert!(!stderr(&same).contains("warning: "));
    let untested = "sweep many.yaml --test --set data.test=null";
    assert_fails(
        dir.lstmtext(untested),
        2,
        &["--test: the configuration has no test examples", "evaluate RUN --data FILE"],
    );
    assert_fails(dir.lstmtext("sweep many.yaml --json --format csv"), 2, &["--json"]);
}

/// Runs long enough to be stopped.
const LONG: &str = "sweep: {model.lstm.units: [7, 8], seed: [1, 2]}\n";

/// Creates a sweep of runs that do not finish before they are stopped.
fn long_runs() -> TestDir {
    with_noise(&format!("{}{LONG}", COSINE.replace("patience: 9", "patience: null")))
}

#[test]
fn a_stopped_sweep_is_continued() {
    let dir = long_runs();
    let mut sweep = Training::spawn(&mut dir.process("sweep long.yaml --jobs 2 --out many"));
    for run in ["many/units=7-seed=1", "many/units=7-seed=2"] {
        sweep.wait_for_validations(&dir, run, 2);
    }
    // The signal goes only to the sweep, which forwards it.
    let (code, messages) = sweep.stop(libc::SIGTERM);
    assert_eq!(code, Some(143), "{messages}");
    assert!(messages.contains("0 of 4 runs have finished"), "{messages}");
    assert!(messages.contains("sweep long.yaml --jobs 2 --out many"), "{messages}");
    assert_eq!(dir.names("many"), ["units=7-seed=1", "units=7-seed=2"]);
    for run in dir.names("many") {
        assert!(dir.path(&format!("many/{run}/last/checkpoint.json")).exists());
        assert!(!dir.path(&format!("many/{run}/summary.json")).exists());
    }
    let done = dir.lstmtext("sweep long.yaml --jobs 2 --out many").assert().success();
    assert_eq!(stdout(&done).lines().count(), 3);
    assert!(dir.read("many/units=7-seed=2/log.txt").contains("resuming after step "));

    let single = "long.yaml --set sweep={} --out whole --set model.lstm.units=7 --set train.seed=2";
    dir.train(single);
    let run = "many/units=7-seed=2";
    assert_eq!(dir.read("whole/metrics.jsonl"), dir.read(&format!("{run}/metrics.jsonl")));
    assert!(dir.best_weights("whole") == dir.best_weights(run));
}

#[test]
fn ctrl_c_in_a_terminal_stops_every_run_once() {
    let dir = long_runs();
    let mut command = dir.process("sweep long.yaml --jobs 2 --out many");
    let mut sweep = Training::spawn(command.process_group(0));
    for run in ["many/units=7-seed=1", "many/units=7-seed=2"] {
        sweep.wait_for_validations(&dir, run, 1);
    }
    let group = -libc::pid_t::try_from(sweep.id()).unwrap();
    // SAFETY: kill takes no pointers. The group is that of our child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(group, libc::SIGINT) }, 0);
    let (code, messages) = sweep.end();
    assert_eq!(code, Some(130), "{messages}");
    for run in dir.names("many") {
        let log = dir.read(&format!("many/{run}/log.txt"));
        assert!(
            log.contains("progress is saved in") && !log.contains("quit without saving;"),
            "{log}"
        );
    }
}

#[test]
fn a_failed_run_does_not_stop_the_others() {
    let dir = with_sweep("sweep: {model.embedding.vectors: [none.txt, null], seed: [1, 2]}\n");
    let done = dir.lstmtext("sweep many.yaml --jobs 2 --json").assert().code(1);
    let messages = stderr(&done);
    assert_eq!(messages.matches("failed: model.embedding.vectors: ").count(), 4, "{messages}");
    assert!(messages.contains("none.txt") && messages.contains("/log.txt"), "{messages}");
    assert!(messages.contains("2 runs without a result"), "{messages}");
    let rows = &stdout_json(&done)["rows"];
    assert_eq!((&rows[0]["rank"], &rows[1]["rank"]), (&1.into(), &Value::Null));
    assert_eq!(rows[0]["settings"]["model.embedding.vectors"], Value::Null);
    assert_eq!(rows[0]["finished"].as_array().unwrap().len(), 2);

    let list = stdout(&dir.lstmtext("sweep many.yaml --list").assert().success());
    assert_eq!(list.matches("  failed    model.embedding.vectors=none.txt ").count(), 2, "{list}");

    // The same command tries the failed runs again, and only those.
    let again = dir.lstmtext("sweep many.yaml").assert().code(1);
    assert!(stderr(&again).contains("4 runs, 2 already finished"));
}

#[test]
fn the_list_has_the_settings_of_each_index() {
    let dir = with_sweep(GRID);
    let list = || stdout(&dir.lstmtext("sweep many.yaml --list").assert().success());
    assert_eq!(
        list(),
        "0  new       model.lstm.units=4 train.seed=1\n\
         1  new       model.lstm.units=4 train.seed=2\n\
         2  new       model.lstm.units=8 train.seed=1\n\
         3  new       model.lstm.units=8 train.seed=2\n"
    );
    assert!(!dir.path("sweeps").exists(), "nothing is created");
    let json = stdout_json(&dir.lstmtext("sweep many.yaml --list --json").assert().success());
    assert_eq!(json[2]["config"]["model"]["lstm"]["units"], 8);
    assert_eq!(json[2]["config"]["train"]["epochs"], 4);
    assert_eq!(json[2]["settings"], serde_json::json!({"model.lstm.units": 8, "train.seed": 1}));
    dir.lstmtext("sweep many.yaml --index 1").assert().success();
    assert!(list().contains("1  finished  model.lstm.units=4 train.seed=2\n"));
}

/// As the tasks of a cluster do, which share the directory.
#[test]
fn indices_can_be_trained_in_parallel() {
    let dir = with_sweep(GRID);
    let start = |index| dir.process(&format!("sweep many.yaml --index {index}")).spawn().unwrap();
    let tasks = [0, 1, 2, 3].map(start);
    for (index, task) in tasks.into_iter().enumerate() {
        let Output { status, stdout, stderr } = task.wait_with_output().unwrap();
        let [result, messages] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(status.success(), "{messages}");
        assert!(result.starts_with("validation ") && !result.contains("test "), "{result}");
        assert!(messages.contains(&format!("run {index} of 4: model.lstm.units=")), "{messages}");
    }
    assert_eq!(dir.names("sweeps/many"), NAMES);
    let done = dir.lstmtext("sweep many.yaml").assert().success();
    assert!(stdout(&done).lines().count() == 3 && !stderr(&done).contains("at once"));
    // A task that is submitted again has nothing to do.
    let again = dir.lstmtext("sweep many.yaml --index 2").assert().success();
    again.stdout(contains("validation ")).stderr(contains("the run is finished"));
    let wrong = dir.lstmtext("sweep many.yaml --index 4");
    assert_fails(wrong, 2, &["--index 4: there are 4 runs, with indices 0 to 3"]);
}

/// As when Slurm or Kubernetes stops a task.
#[test]
fn a_stopped_task_continues_when_it_is_submitted_again() {
    let dir = long_runs();
    let line = "sweep long.yaml --index 3 --out many";
    let mut task = Training::spawn(&mut dir.process(line));
    task.wait_for_validations(&dir, "many/units=8-seed=2", 2);
    let (code, messages) = task.stop(libc::SIGTERM);
    assert_eq!(code, Some(143), "{messages}");
    assert!(messages.contains("train --no-test --resume "), "{messages}");
    let again = dir.lstmtext(line).assert().success();
    again.stdout(contains("validation ")).stderr(contains("resuming after step "));
    assert!(dir.path("many/units=8-seed=2/summary.json").exists());
}

#[test]
fn two_sweeps_of_one_directory_share_the_runs() {
    let dir = with_sweep("sweep: {model.lstm.units: [4, 8, 12], seed: [1, 2]}\n");
    let start = || dir.process("sweep many.yaml --jobs 2").spawn().unwrap();
    let [first, second] = [start(), start()].map(|sweep| sweep.wait_with_output().unwrap());
    for sweep in [&first, &second] {
        assert!(sweep.status.success(), "{}", String::from_utf8_lossy(&sweep.stderr));
    }
    assert_eq!(first.stdout, second.stdout);
    for run in dir.names("sweeps/many").iter().filter(|name| name.starts_with("units")) {
        assert_eq!(dir.metrics(&format!("sweeps/many/{run}")).len(), 4, "{run} is trained once");
        let log = dir.read(&format!("sweeps/many/{run}/log.txt"));
        assert_eq!(log.matches("\nstopped: ").count(), 1, "{log}");
    }
}

#[test]
fn a_sweep_waits_for_a_run_that_another_process_trains() {
    let dir = long_runs();
    let mut task = Training::spawn(&mut dir.process("sweep long.yaml --index 0 --out many"));
    task.wait_for_validations(&dir, "many/units=7-seed=1", 1);
    let list = stdout(&dir.lstmtext("sweep long.yaml --list --out many").assert().success());
    assert!(list.starts_with("0  running   "), "{list}");
    let done = dir.lstmtext("sweep long.yaml --jobs 2 --out many").assert().success();
    assert_eq!(task.end().0, Some(0));
    assert_eq!(stdout(&done).lines().count(), 3);
    assert!(!dir.path("many/units=7-seed=1/log.txt").exists(), "no other process trained it");
}

#[test]
fn a_different_configuration_is_rejected_and_points_can_be_added() {
    let dir = with_sweep(GRID);
    dir.lstmtext("sweep many.yaml --jobs 2").assert().success();
    let before = dir.read("sweeps/many/leaderboard.json");
    let words = ["units=4-seed=1", "train.epochs is 4 in the run and 5 now", "--out"];
    for more in ["", " --index 0"] {
        let line = format!("sweep many.yaml --set train.epochs=5{more}");
        assert_fails(dir.lstmtext(&line), 1, &words);
    }
    assert_eq!(dir.read("sweeps/many/leaderboard.json"), before);
    let list = dir.lstmtext("sweep many.yaml --list --set train.epochs=5").assert().success();
    assert_eq!(stdout(&list).matches("  other     ").count(), 4);

    let more = dir.lstmtext("sweep many.yaml --set sweep.seed=[1,2,3]").assert().success();
    assert!(stderr(&more).contains("6 runs, 4 already finished"));
    let fewer = "sweep many.yaml --set sweep.model.lstm.units=[8,16] --set sweep.seed=[1]";
    let fewer = dir.lstmtext(fewer).assert().success();
    assert!(stderr(&fewer).contains("the directory contains 5 runs that are not among these"));
    assert_eq!(stdout(&fewer).lines().count(), 3);
}

#[test]
fn a_random_search_is_the_same_everywhere() {
    let section = "sweep:\n  trials: 5\n  train.learning_rate: {log_uniform: [1e-3, 1e-1]}\n  \
                   model.lstm.units: {integers: [2, 9]}\n  model.pooling: [mean, max]\n  seed: [1, 2]\n";
    let [a, b] = [with_sweep(section), with_sweep(section)];
    let list = |dir: &TestDir, more: &str| {
        stdout(&dir.lstmtext(&format!("sweep many.yaml --list {more}")).assert().success())
    };
    assert_eq!(list(&a, ""), list(&b, ""));
    assert_eq!(list(&a, "").lines().count(), 10);
    let settings = |more: &str| -> Vec<String> {
        let setting = |line: &str| line.split_once("new").unwrap().1.to_owned();
        list(&a, more).lines().map(setting).collect()
    };
    assert_eq!(
        settings("--set sweep.trials=6")[..10],
        settings(""),
        "more trials start with the same points"
    );
    assert_ne!(list(&a, ""), list(&a, "--set sweep.search_seed=2"));
    a.lstmtext("sweep many.yaml --index 9").assert().success();
    let name = &a.names("sweeps/many")[0];
    assert!(name.starts_with("learning_rate=0.0") && name.ends_with("-seed=2"), "{name}");
}

#[test]
fn all_faults_of_a_sweep_are_reported_before_training() {
    let dir = with_sweep("sweep:\n  model.lstm.unit: [4]\n  train.epochs: [0]\n  seed: 3\n");
    let expected = "\
error: 3 errors in the configuration
many.yaml:5:3: sweep.model.lstm.unit: unknown field; did you mean model.lstm.units?
many.yaml:6:3: sweep.train.epochs: found 0, expected an integer from 1 to 1000000
many.yaml:7:3: sweep.seed: found 3, expected a list of values
";
    for command in ["sweep", "train", "summary"] {
        assert_eq!(assert_fails(dir.lstmtext(&format!("{command} many.yaml")), 2, &[]), expected);
    }
    assert!(!dir.path("sweeps").exists());
}

#[test]
fn only_train_rejects_the_section() {
    let dir = with_sweep(GRID);
    let train = dir.lstmtext("train many.yaml");
    assert_fails(train, 2, &["many.yaml:4:1: sweep: ", "`lstmtext sweep many.yaml`"]);
    assert!(!dir.path("runs").exists());
    dir.train("many.yaml --set sweep={} --out one");
    for command in ["summary", "config", "data stats"] {
        dir.lstmtext(&format!("{command} many.yaml")).assert().success();
    }
    assert_fails(dir.lstmtext("sweep small.yaml"), 2, &["sweep: nothing varies"]);
}

#[test]
fn the_curves_of_a_sweep_share_one_plot() {
    let dir = with_sweep(GRID);
    dir.lstmtext("sweep many.yaml --jobs 2").assert().success();
    let done = dir.lstmtext("plot sweeps/many").assert().success();
    assert_eq!(stdout(&done), "sweeps/many/curves.svg\nsweeps/many/curves.png\n");
    let picture = dir.read("sweeps/many/curves.svg");
    for name in NAMES {
        assert!(picture.contains(name), "{name}");
    }
}

/// Returns the code block of docs/sweeps.md that begins with `first`.
fn example(first: &str) -> String {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sweeps.md")).unwrap();
    let start =
        page.find(first).unwrap_or_else(|| panic!("docs/sweeps.md has no example {first:?}"));
    let (block, _) = page[start..].split_once("```").unwrap();
    block.to_owned()
}

/// Runs a script with `lstmtext` on the PATH and a `configs/sweep.yaml`, and returns the runs it
/// trained.
fn run_of(shell: &str, arguments: &[&str], index: (&str, &str)) -> Vec<String> {
    let dir = TestDir::with_data().file("configs/sweep.yaml", format!("{SMALL}{GRID}"));
    let directory = Path::new(BINARY).parent().unwrap().display();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new(shell);
    command.args(arguments).current_dir(dir.path("")).envs(ENVIRONMENT).env("PATH", path);
    let done = command.env(index.0, index.1).env("SLURM_CPUS_PER_TASK", "1").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    dir.names("sweeps/sweep")
}

/// Number of runs of `configs/sweep.yaml`.
fn count_of_example() -> usize {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/sweep.yaml");
    stdout(&TestDir::new().lstmtext(&format!("sweep {file} --list")).assert().success())
        .lines()
        .count()
}

#[test]
fn the_documented_slurm_script_trains_a_run_of_the_array() {
    let script = example("#!/bin/bash\n#SBATCH");
    let array = format!("#SBATCH --array=0-{}%", count_of_example() - 1);
    assert!(script.contains(&array), "{array:?} is not in: {script}");
    let index = ("SLURM_ARRAY_TASK_ID", "3");
    assert_eq!(run_of("bash", &["-c", &script], index), ["units=8-seed=2"]);
}

/// Field names are those of the Kubernetes API, batch/v1.
#[test]
fn the_documented_kubernetes_job_trains_a_run_for_each_index() {
    let job: serde_yaml::Value = serde_yaml::from_str(&example("apiVersion: batch/v1")).unwrap();
    let text = |value: &serde_yaml::Value| value.as_str().unwrap().to_owned();
    assert_eq!([text(&job["kind"]), text(&job["metadata"]["name"])], ["Job", "sweep"]);
    let spec = &job["spec"];
    assert_eq!(text(&spec["completionMode"]), "Indexed");
    assert_eq!(spec["completions"].as_u64(), Some(count_of_example() as u64));
    assert!(spec["parallelism"].is_u64() && spec["backoffLimit"].is_u64());
    let pod = &spec["template"]["spec"];
    assert_eq!(text(&pod["restartPolicy"]), "Never");
    let container = &pod["containers"][0];
    assert_eq!(container["volumeMounts"][0]["name"], pod["volumes"][0]["name"]);
    assert_eq!(container["volumeMounts"][0]["mountPath"], container["workingDir"]);
    let words: Vec<String> = container["command"].as_sequence().unwrap().iter().map(text).collect();
    let [shell, option, script] = &words[..] else { panic!("{words:?}") };
    let index = ("JOB_COMPLETION_INDEX", "2");
    assert_eq!(run_of(shell, &[option, script], index), ["units=8-seed=1"]);
}

#[test]
fn a_sweep_continues_after_stderr_is_closed() {
    let dir = with_sweep(GRID);
    let mut process = dir.process("sweep many.yaml --jobs 2").spawn().unwrap();
    drop(process.stderr.take());
    let done = process.wait_with_output().unwrap();
    assert!(done.status.success());
    assert_eq!(String::from_utf8(done.stdout).unwrap().lines().count(), 3);
    dir.lstmtext("sweep many.yaml").assert().success().stderr(contains("at once").not());
}

#[test]
fn an_unusable_directory_is_rejected_at_once() {
    let dir = with_sweep(GRID);
    dir.train("small.yaml --out run --set train.epochs=1");
    let rejects = |line: &str, words: &[&str]| assert_fails(dir.lstmtext(line), 1, words);
    rejects("sweep many.yaml --out run", &["is a run, not a directory of runs", "--out"]);
    rejects("sweep many.yaml --out run --index 0", &["is a run, not a directory of runs"]);
    rejects("sweep many.yaml --out run/best", &["is a run"]);
    rejects("sweep many.yaml --out many.yaml/below", &["cannot create the directory"]);
    assert!(!dir.path("run/units=4-seed=1").exists());
}
