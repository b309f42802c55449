//! `lstmtext tune`, sweeps with `method: asha` and `tpe`, and `train --stop-after`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::thread;
use std::time::{Duration, Instant};

use predicates::str::contains;
use serde_json::Value;

use crate::common::{SMALL, TestDir, stderr, stdout, stdout_json};

/// A search whose trials each take a fraction of a second.
const SECTION: &str =
    "sweep: {model.lstm.units: [2, 4, 8], train.learning_rate: {log_uniform: [0.001, 0.1]}}\n";

/// Epochs of the small model: two rungs.
const EPOCHS: &str = "--set train.epochs=4";

fn with_search() -> TestDir {
    TestDir::with_data().file("small.yaml", SMALL).file("mine.yaml", format!("{SMALL}{SECTION}"))
}

/// Returns the entries of the journal without times, and without interruptions.
fn journal(dir: &TestDir, search: &str) -> Vec<Value> {
    let mut entries = dir.json_lines(&format!("{search}/trials.jsonl"));
    entries.retain(|entry| entry["event"] != "stopped");
    for entry in &mut entries {
        let entry = entry.as_object_mut().unwrap();
        entry.remove("elapsed").unwrap();
        entry.remove("seconds");
    }
    entries
}

/// Compares journals entry by entry.
fn assert_same(one: &[Value], other: &[Value]) {
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one, other);
    }
    assert_eq!(one.len(), other.len());
}

fn events<'a>(entries: &'a [Value], event: &str) -> Vec<&'a Value> {
    entries.iter().filter(|entry| entry["event"] == event).collect()
}

#[test]
fn a_run_that_stops_after_an_epoch_and_resumes_is_identical() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out whole");
    let done = dir.train("small.yaml --out parts --stop-after 2");
    assert!(stderr(&done).contains("stopped after epoch 2 (--stop-after)"), "{}", stderr(&done));
    assert_eq!(dir.metrics("parts").len(), 2);
    assert!(!dir.path("parts/summary.json").exists());
    // An epoch that is done is not repeated.
    let json = stdout_json(&dir.train("--resume parts --stop-after 1 --json"));
    assert_eq!(json["stopped_after_epoch"], 2);
    dir.train("--resume parts --stop-after 3");
    dir.train("--resume parts --stop-after 99");
    dir.assert_same_state("whole", "parts");
    assert_eq!(dir.read("whole/metrics.jsonl"), dir.read("parts/metrics.jsonl"));
    assert_eq!(dir.timeless_summary("whole"), dir.timeless_summary("parts"));
}

#[test]
fn better_trials_train_longer_and_equal_uninterrupted_runs() {
    let dir = with_search();
    let done =
        dir.lstmtext(&format!("tune mine.yaml --trials 9 --keep all {EPOCHS}")).assert().success();
    let messages = stderr(&done);
    for part in ["search: 2 settings by loss", "epochs: 1, 4", "next:", "best.yaml"] {
        assert!(messages.contains(part), "{part:?} is not in: {messages}");
    }
    let entries = journal(&dir, "tunes/mine");
    assert_eq!(events(&entries, "began").len(), 9);
    let reached = events(&entries, "reached");
    let finished: Vec<&&Value> = reached.iter().filter(|entry| entry["epochs"] == 4).collect();
    // With 3, 6 and 9 trials at the first rung, one, two and three are promoted.
    assert!((3..=5).contains(&finished.len()), "{reached:?}");
    let loss = |entry: &Value| entry["score"]["loss"].as_f64().unwrap();
    let mut first: Vec<(f64, &Value)> = reached
        .iter()
        .filter(|entry| entry["rung"] == 0)
        .map(|entry| (loss(entry), &entry["trial"]))
        .collect();
    first.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(finished.iter().any(|entry| entry["trial"] == *first[0].1), "the best was promoted");

    // A promoted trial is what train gives in one go.
    let board = dir.json("tunes/mine/leaderboard.json");
    let best = &board["rows"][0];
    let run = format!("tunes/mine/{}", best["run"].as_str().unwrap());
    dir.train(&format!("{run}/config.yaml --out alone --no-test"));
    dir.assert_same_state("alone", &run);
    assert_eq!(dir.read("alone/metrics.jsonl"), dir.read(&format!("{run}/metrics.jsonl")));

    // The best configuration can be used as it is, and its scores are those of the leaderboard.
    let yaml = dir.read("tunes/mine/best.yaml");
    assert!(yaml.starts_with("# Best of 9 trials (trial "), "{yaml}");
    dir.train("tunes/mine/best.yaml --out again --no-test");
    assert_eq!(dir.summary("again")["validation"]["loss"], best["score"]["loss"]);
    assert!(dir.read("tunes/mine/search.svg").contains("validation loss"));
    dir.lstmtext(&format!("predict {run} text")).assert().success();
    assert!(stdout(&done).contains("trial "), "{}", stdout(&done));
}

/// Nothing depends on time, also if the search is interrupted.
#[test]
fn a_search_is_reproducible_and_continues() {
    let dir = with_search();
    let tune = |trials: usize, out: &str| {
        let line = format!("tune mine.yaml --trials {trials} --out {out} --keep all {EPOCHS}");
        dir.lstmtext(&line).assert().success()
    };
    tune(12, "once");
    tune(12, "twice");
    assert_same(&journal(&dir, "once"), &journal(&dir, "twice"));

    let mut command =
        dir.process(&format!("tune mine.yaml --trials 12 --out parts --keep all {EPOCHS}"));
    let child = command.process_group(0).spawn().unwrap();
    let begun = Instant::now();
    while !dir.path("parts/trial-002").exists() && begun.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: kill takes no pointers.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{messages}");
    assert!(messages.contains("to continue:"), "{messages}");
    let again = tune(12, "parts");
    assert!(stderr(&again).contains("continues with"), "{}", stderr(&again));
    assert_same(&journal(&dir, "once"), &journal(&dir, "parts"));

    // A longer search goes on where the shorter one has ended.
    tune(14, "once");
    let entries = journal(&dir, "once");
    assert_eq!(events(&entries, "began").len(), 14);
    assert_same(&entries[..20], &journal(&dir, "twice")[..20]);
}

#[test]
fn several_processes_share_a_search() {
    let dir = with_search();
    let line = format!("tune mine.yaml --trials 12 --jobs 2 --keep all {EPOCHS}");
    let processes = [(); 2].map(|()| dir.process(&line).spawn().unwrap());
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let entries = journal(&dir, "tunes/mine");
    let mut begun: Vec<u64> =
        events(&entries, "began").iter().map(|entry| entry["trial"].as_u64().unwrap()).collect();
    begun.sort_unstable();
    assert_eq!(begun, (0..12).collect::<Vec<_>>());
    let mut reached: Vec<String> = events(&entries, "reached")
        .iter()
        .map(|entry| format!("{} {}", entry["trial"], entry["rung"]))
        .collect();
    reached.sort();
    let count = reached.len();
    reached.dedup();
    assert_eq!(reached.len(), count, "no trial is trained twice");
}

#[test]
fn the_trial_of_a_killed_process_is_taken_up_again() {
    let dir = with_search();
    let line = format!("tune mine.yaml --trials 4 --out killed --keep all {EPOCHS}");
    let mut child = dir.process(&line).spawn().unwrap();
    let begun = Instant::now();
    while !dir.path("killed/trial-001").exists() && begun.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    dir.lstmtext(&line).assert().success();
    let entries = journal(&dir, "killed");
    let first: Vec<&Value> =
        events(&entries, "reached").into_iter().filter(|entry| entry["rung"] == 0).collect();
    assert_eq!(first.len(), 4, "{entries:?}");
}

#[test]
fn without_a_section_the_space_follows_from_the_data_and_the_first_trial_is_the_configuration() {
    let dir = with_search();
    let command =
        format!("tune train.csv --trials 3 {EPOCHS} --set model.lstm.units=4 --metric accuracy");
    let done = dir.lstmtext(&command).assert().success();
    let yaml = dir.read("tunes/train/search.yaml");
    let section = yaml.lines().last().unwrap();
    for (part, is_expected) in [
        ("train.learning_rate: {log_uniform:", true),
        ("model.pooling: ", true),
        ("model.lstm.units: [", false),
        ("text.max_length: [", false),
    ] {
        assert_eq!(section.contains(part), is_expected, "{part}");
    }
    let board = dir.json("tunes/train/leaderboard.json");
    assert_eq!(board["metric"], "accuracy");
    let rows = board["rows"].as_array().unwrap();
    let base = rows.iter().find(|row| row["trial"] == 0).unwrap();
    assert_eq!(base["settings"], serde_json::json!({}));
    assert!(stdout(&done).contains("the configuration itself"), "{}", stdout(&done));
    // Another machine or time would choose another space, but a search keeps its own.
    dir.lstmtext(&format!("{command} --budget 100s")).assert().success();
}

#[test]
fn the_time_limits_a_search() {
    let dir = with_search();
    let start = Instant::now();
    let done = dir.lstmtext("tune mine.yaml --budget 2s --set train.epochs=9").assert().success();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(
        stderr(&done).contains("2 s in all") || stderr(&done).contains("0:02 in all"),
        "{}",
        stderr(&done)
    );
    let trials = events(&journal(&dir, "tunes/mine"), "began").len();
    // The time is over, so that nothing is trained.
    dir.lstmtext("tune mine.yaml --budget 2s --set train.epochs=9").assert().success();
    assert_eq!(events(&journal(&dir, "tunes/mine"), "began").len(), trials);
}

#[test]
fn checkpoints_of_losers_are_removed() {
    let dir = with_search();
    dir.lstmtext(&format!("tune mine.yaml --trials 12 --keep 1 {EPOCHS}")).assert().success();
    let entries = journal(&dir, "tunes/mine");
    let removed = events(&entries, "removed").len();
    assert!(removed >= 8, "{removed}");
    let kept =
        (0..12).filter(|trial| dir.path(&format!("tunes/mine/trial-{trial:03}/best")).exists());
    assert_eq!(kept.count(), 12 - removed);
    let board = dir.json("tunes/mine/leaderboard.json");
    let best = board["rows"][0]["run"].as_str().unwrap();
    assert!(dir.path(&format!("tunes/mine/{best}/best")).exists());
    for trial in 0..12 {
        assert!(dir.path(&format!("tunes/mine/trial-{trial:03}/metrics.jsonl")).exists());
    }
}

#[test]
fn limits_of_size_and_latency_are_respected() {
    let dir = with_search();
    let tune = |limit: &str, out: &str, code: i32| {
        let command = format!("tune mine.yaml --trials 6 --keep all {EPOCHS} {limit} --out {out}");
        let done = dir.lstmtext(&command).assert().code(code);
        (stderr(&done), dir.json(&format!("{out}/leaderboard.json")))
    };
    let ranked = |board: &Value| {
        board["rows"].as_array().unwrap().iter().filter(|row| row["rank"].is_u64()).count()
    };
    // A slower computer than any: no model is that fast.
    let (messages, board) = tune("--max-latency 1ns", "fast", 1);
    assert!(messages.contains("more than --max-latency"), "{messages}");
    assert!(messages.contains("no trial has a rank"), "{messages}");
    assert!(ranked(&board) == 0 && !dir.path("fast/best.yaml").exists());
    // Another limit applies to all trials, also those before.
    let (_, board) = tune("--max-latency 10s", "fast", 0);
    let rows = board["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["latency"].as_f64().unwrap() > 0.0), "{board}");
    let largest = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).max().unwrap();
    assert_eq!(ranked(&board), 6);
    for out in ["fast", "small"] {
        let (messages, board) = tune(&format!("--max-size {}b", largest - 1), out, 0);
        let rows = board["rows"].as_array().unwrap().iter();
        let mut kept = rows.filter(|row| row["rank"].is_u64());
        assert!(kept.all(|row| row["bytes"].as_u64().unwrap() < largest), "{messages}");
        assert!((1..=6).contains(&ranked(&board)), "{messages}");
    }
    let (messages, _) = {
        let command = format!("tune mine.yaml --trials 6 --out none --max-size 10b {EPOCHS}");
        let failed = dir.lstmtext(&command).assert().code(1);
        (stderr(&failed), ())
    };
    assert!(messages.contains("larger than --max-size"), "{messages}");
}

#[test]
fn folds_are_averaged_and_the_best_settings_are_refitted() {
    let dir = with_search();
    let command = format!(
        "tune mine.yaml --trials 3 --folds 3 --refit {EPOCHS} --set data.split.test=0.2 --set data.test=null"
    );
    let done = dir.lstmtext(&command).assert().success();
    let board = dir.json("tunes/mine/leaderboard.json");
    let best = &board["rows"][0];
    let run = best["run"].as_str().unwrap();
    let losses: Vec<f64> = (1..=3)
        .map(|fold| {
            dir.summary(&format!("tunes/mine/{run}/fold-{fold}"))["validation"]["loss"]
                .as_f64()
                .unwrap()
        })
        .collect();
    let mean = losses.iter().sum::<f64>() / 3.0;
    assert!((best["score"]["loss"].as_f64().unwrap() - mean).abs() < 1e-12);
    let yaml = dir.read("tunes/mine/best.yaml");
    assert!(yaml.contains("folds: null") && yaml.contains("fold_use: test"), "{yaml}");

    let trial = best["trial"].as_u64().unwrap();
    let refit = format!("tunes/mine/refit-{trial:03}-{}", best["best_epoch"]);
    let all = dir.read("tunes/mine/refit-data/all.jsonl").lines().count();
    let test = dir.read("tunes/mine/refit-data/test.jsonl").lines().count();
    assert_eq!((all, test), (480, 120));
    assert!(stderr(&done).contains("report the score of the search"), "{}", stderr(&done));
    // The models of the folds predict together.
    for model in [refit, format!("tunes/mine/{run}")] {
        dir.lstmtext(&format!("predict {model} text")).assert().success();
    }
    // Its scores would mislead.
    let runs = stdout(&dir.lstmtext("runs tunes/mine").assert().success());
    assert!(!runs.contains("refit"), "{runs}");
    // Nothing is left to do.
    dir.lstmtext(&command).assert().success();
}

/// The examples are written as UTF-8 JSON lines, whatever the data was.
#[test]
fn data_of_any_form_is_refitted() {
    let mut rows = "Text;Sorte;Jahr\n".to_owned();
    for index in 0..120 {
        let (word, label) = [("schön", "gut"), ("übel", "schlecht")][index % 2];
        rows +=
            &format!("\"{word} {word} w{}; {index}\";{label};{}\n", index % 7, 2000 + index % 3);
    }
    let latin1: Vec<u8> = rows.chars().map(|character| character as u8).collect();
    let yaml = "data: {train: daten.csv, text_column: Text, label_column: Sorte, delimiter: ;, encoding: latin-1, \
                filter: {Jahr: \"2000\"}, label_names: {gut: schlecht, schlecht: gut}}\n\
                model: {embedding: {size: 4}, lstm: {units: 4}, ngrams: null}\n\
                sweep: {train.learning_rate: [0.05, 0.02]}\n";
    let dir = TestDir::new().file("daten.csv", latin1).file("mine.yaml", yaml);
    let command = "tune mine.yaml --trials 2 --refit --set train.epochs=3";
    dir.lstmtext(command).assert().success();
    let all = dir.read("tunes/mine/refit-data/all.jsonl");
    assert_eq!(all.lines().count(), 40);
    // Labels are renamed once.
    let schlecht = all.lines().filter(|line| line.contains("schön") && line.contains("schlecht"));
    assert_eq!(schlecht.count(), 20);
    let names = dir.names("tunes/mine");
    let refit = names.iter().find(|name| name.starts_with("refit-0")).unwrap();
    let yaml = dir.read(&format!("tunes/mine/{refit}/config.yaml"));
    for part in ["label_names: {}", "filter: {}", "encoding: auto"] {
        assert!(yaml.contains(part), "{part}");
    }
    dir.lstmtext(&format!("predict tunes/mine/{refit} schön")).assert().success();
}

#[test]
fn a_sweep_can_be_adaptive() {
    let dir = with_search();
    let sweep = |options: &str| dir.lstmtext(&format!("sweep mine.yaml {EPOCHS} {options}"));
    for method in ["asha", "tpe"] {
        let options =
            format!("--set sweep.method={method} --set sweep.trials=4 --out {method} --json");
        let board = stdout_json(&sweep(&options).assert().success());
        assert_eq!(board["rows"].as_array().unwrap().len(), 4);
    }
    for (options, message) in [
        ("--set sweep.method=asha", "asha needs budget: TIME, trials: N, or both"),
        ("--set sweep.method=best", "expected grid, random, asha, tpe or null"),
        ("--set sweep.budget=5m", "needs method: random, asha or tpe"),
        ("--set sweep.method=tpe --set sweep.budget=soon", "a duration of at least a second"),
        (
            "--set sweep.method=tpe --set sweep.trials=3 --list",
            "--list needs a search whose runs are known",
        ),
        (
            "--set sweep.method=tpe --set sweep.trials=3 --set sweep.seed=[1,2]",
            "trials have the seed train.seed",
        ),
        (
            "--set sweep.method=tpe --set sweep.trials=3 --set sweep.data.split.seed=[1,2]",
            "scores on different examples",
        ),
    ] {
        let failed = sweep(options).assert().code(2);
        assert!(stderr(&failed).contains(message), "{options}: {}", stderr(&failed));
    }
}

#[test]
fn all_trials_of_a_random_search_train_to_the_end() {
    let dir = with_search();
    let command = format!("tune mine.yaml --method random --trials 3 --keep all {EPOCHS}");
    dir.lstmtext(&command).assert().success();
    let entries = journal(&dir, "tunes/mine");
    let reached = events(&entries, "reached");
    assert!(reached.len() == 3 && reached.iter().all(|entry| entry["epochs"] == 4), "{reached:?}");
}

/// All combinations have been tried: those that wait train in the time that is left.
#[test]
fn a_small_space_is_searched_to_the_end() {
    let dir = TestDir::with_data()
        .file("mine.yaml", format!("{SMALL}sweep: {{model.pooling: [mean, max]}}\n"));
    let command = format!("tune mine.yaml --budget 50s --keep all {EPOCHS}");
    dir.lstmtext(&command).assert().success();
    let entries = journal(&dir, "tunes/mine");
    let reached = events(&entries, "reached");
    assert_eq!(reached.iter().filter(|entry| entry["epochs"] == 4).count(), 2, "{reached:?}");
}

#[test]
fn wrong_arguments_are_explained() {
    let dir = with_search();
    for (options, message) in [
        ("--budget 5", "a duration of at least a second, such as 90s, 5m or 1h30m"),
        ("--budget -5m", "a duration of at least a second"),
        ("--max-size 5", "a size with its unit, such as 500kB or 5MB"),
        ("--max-latency 1", "a time with its unit, such as 500us or 1ms"),
        ("--method grid", "expected tpe, asha or random"),
        ("--metric acc", "did you mean accuracy?"),
        ("--metric f1:none", "--metric: "),
        ("--folds 1", "an integer from 2 to 100"),
        ("--keep few", "an integer ≥ 1, or all"),
        ("--set train.validate_every=3", "trials are compared after whole epochs"),
        (
            "--folds 3 --set data.validation=test.csv",
            "the validation examples are those of the fold",
        ),
    ] {
        let failed = dir.lstmtext(&format!("tune mine.yaml {options}")).assert().code(2);
        assert!(stderr(&failed).contains(message), "{options}: {}", stderr(&failed));
    }
    assert!(!dir.path("tunes").exists());
}

#[test]
fn a_search_is_not_mixed_with_another() {
    let dir = with_search();
    dir.lstmtext(&format!("tune mine.yaml --trials 2 --out a {EPOCHS}")).assert().success();
    for (options, message) in [
        ("--set model.pooling=mean", "has a search with a different model.pooling"),
        ("--set sweep.model.lstm.units=[3,4]", "has a search in a different space"),
    ] {
        let mut command =
            dir.lstmtext(&format!("tune mine.yaml --trials 2 --out a {EPOCHS} {options}"));
        command.assert().code(1).stderr(contains(message));
    }
    let other = format!("tune mine.yaml --trials 2 --out a {EPOCHS} --search-seed 2");
    dir.lstmtext(&other).assert().code(1).stderr(contains("a different search_seed"));
    fs::create_dir(dir.path("mine")).unwrap();
    fs::write(dir.path("mine/notes.txt"), "mine").unwrap();
    let other = format!("tune mine.yaml --trials 2 --out mine {EPOCHS}");
    dir.lstmtext(&other)
        .assert()
        .code(1)
        .stderr(contains("is not empty, it contains \"notes.txt\""));
    dir.train("small.yaml --out run");
    dir.lstmtext("tune mine.yaml --trials 2 --out run")
        .assert()
        .code(1)
        .stderr(contains("is a run"));
    // A damaged journal is an error that names the line.
    let damaged = "x\n".to_owned() + &dir.read("a/trials.jsonl");
    fs::write(dir.path("a/trials.jsonl"), damaged).unwrap();
    let mut command = dir.lstmtext(&format!("tune mine.yaml --trials 3 --out a {EPOCHS}"));
    command.assert().code(1).stderr(contains("trials.jsonl:1: damaged line"));
}

#[test]
fn trials_that_fail_are_left_out_and_a_configuration_that_fails_ends_the_search() {
    let dir = with_search();
    let set = "--set 'sweep.train.learning_rate=[0.01,1e30]'".replace('\'', "");
    let done = dir
        .lstmtext(&format!(
            "tune mine.yaml --trials 6 --keep all {EPOCHS} {set} --set train.gradient_clip=null"
        ))
        .assert();
    let messages = stderr(&done);
    if messages.contains("failed:") {
        assert!(messages.contains("training diverged"), "{messages}");
    }
    let missing = dir
        .lstmtext(&format!("tune mine.yaml --trials 3 --out b {EPOCHS} --set data.train=none.csv"));
    let failed = { missing }.assert().failure();
    let messages = stderr(&failed);
    assert!(messages.contains("none.csv"), "{messages}");
}
