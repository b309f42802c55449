//! `lstmtext plot`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{TestDir, assert_fails, stderr, stdout, stdout_json, stdout_json_lines};
use crate::training::{PLATEAU, Training, with_noise};

/// Returns the width and height of a PNG file.
fn png_size(dir: &TestDir, name: &str) -> (u32, u32) {
    let bytes = dir.bytes(name);
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
    let field = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (field(16), field(20))
}

/// Returns the texts of an SVG in their order.
fn texts(dir: &TestDir, name: &str) -> Vec<String> {
    let svg = dir.read(name);
    let text = |rest: &str| {
        let (_, inside) = rest.split_once(">\n").unwrap();
        inside.split_once("\n</text>").unwrap().0.to_owned()
    };
    svg.split("<text ").skip(1).map(text).collect()
}

fn assert_has(texts: &[String], expected: &[&str]) {
    for expected in expected {
        assert!(texts.iter().any(|text| text == expected), "{expected:?} is not in {texts:?}");
    }
}

/// Returns the word of the test data with the highest probability of `pos`, according to `predict`.
fn most_positive(dir: &TestDir) -> String {
    let words: Vec<String> = (0..10).map(|i| format!("pos{i}")).collect();
    let done = dir.lstmtext("predict run --format jsonl").args(&words).assert().success();
    let predictions = stdout_json_lines(&done);
    let probability = |prediction: &Value| prediction["probability"].as_f64().unwrap();
    let best = predictions.iter().max_by(|a, b| probability(a).total_cmp(&probability(b))).unwrap();
    assert_eq!(best["label"], "pos");
    best["text"].as_str().unwrap().to_owned()
}

#[test]
fn the_reliability_of_a_run_is_plotted() {
    let dir = TestDir::with_run();
    let plot = || stdout(&dir.lstmtext("plot run --reliability --no-words").assert().success());
    assert!(plot().ends_with("run/reliability.svg\nrun/reliability.png\n"));
    let error = |options: &str| {
        let line = format!("evaluate run --split validation --json {options}");
        let evaluation = stdout_json(&dir.lstmtext(&line).assert().success());
        format!("{:.4}", evaluation["expected_calibration_error"].as_f64().unwrap())
    };
    let before = error("");
    let parts =
        [&*format!("validation: calibration error {before}"), "accuracy", "predictions in %"];
    assert_has(&texts(&dir, "run/reliability.svg"), &parts);
    dir.lstmtext("calibrate run").assert().success();
    plot();
    let both = [
        &*format!("uncalibrated: calibration error {before}"),
        &*format!("calibrated: calibration error {}", error("")),
    ];
    assert_has(&texts(&dir, "run/reliability.svg"), &both);
    assert_eq!(png_size(&dir, "run/reliability.png").0 % 760, 0);
}

#[test]
fn curves_and_words_of_a_run_are_plotted() {
    let dir = TestDir::with_run();
    let done = dir.lstmtext("plot run").assert().success();
    assert_eq!(stdout(&done), "run/curves.svg\nrun/curves.png\nrun/words.svg\nrun/words.png\n");
    assert_eq!(stderr(&done), "");
    assert_eq!(png_size(&dir, "run/curves.png").0, 1500);
    assert_eq!(png_size(&dir, "run/words.png"), (1500, 650));
    let curves = texts(&dir, "run/curves.svg");
    assert_has(&curves, &["run", "epoch", "loss", "accuracy in %", "validation", "training"]);
    assert_has(&curves, &["learning rate", "tokens per second", "unsmoothed"]);
    assert_has(&curves, &["1", "2", "3", "4"]);
    let words = texts(&dir, "run/words.svg");
    assert_has(&words, &["run", "most neg", "most pos", "probability of “pos”"]);
    assert_has(&words, &[&most_positive(&dir)]);
    let best = &dir.summary("run")["best_epoch"];
    assert!(curves.iter().any(|text| text.starts_with(&format!("best at epoch {best}: "))));
}

#[test]
fn validations_within_an_epoch_are_plotted() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.validate_every=5 --set train.epochs=2");
    assert!(dir.metrics("run").len() > 4);
    dir.lstmtext("plot run --no-words").assert().success();
    assert_has(&texts(&dir, "run/curves.svg"), &["0", "1", "2"]);
    assert!(!dir.path("run/words.svg").exists());
}

#[test]
fn several_runs_share_one_picture() {
    let dir = TestDir::with_run();
    dir.train("small.yaml --out other/run --set train.epochs=1");
    let line = "plot run ./run other/run --to pictures/of/both";
    let done = dir.lstmtext(line).assert().success();
    assert_eq!(stdout(&done).lines().count(), 6);
    let names = dir.names("pictures/of/both");
    let parent = dir.path("").file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(names.len(), 6, "{names:?}");
    for stem in ["curves", &format!("words-{parent}-run"), "words-other-run"] {
        for extension in ["svg", "png"] {
            assert!(names.contains(&format!("{stem}.{extension}")), "{names:?}");
        }
    }
    let curves = texts(&dir, "pictures/of/both/curves.svg");
    assert_has(&curves, &[&format!("{parent}/run"), "other/run"]);
    dir.lstmtext("plot run other/run --no-words")
        .assert()
        .success()
        .stdout("./curves.svg\n./curves.png\n");
}

#[test]
fn the_best_runs_are_drawn_in_the_order_of_their_ranking() {
    let dir = TestDir::with_data();
    for (name, rate) in [("a", 1e-6), ("b", 0.05), ("c", 1e-3)] {
        dir.train(&format!("small.yaml --out all/{name} --set train.learning_rate={rate}"));
    }
    let legend = |line: &str| -> Vec<String> {
        dir.lstmtext(line).assert().success();
        let names = texts(&dir, "all/curves.svg").into_iter();
        names.filter(|text| ["a", "b", "c"].contains(&&**text)).collect()
    };
    assert_eq!(legend("plot all"), ["b", "c", "a"]);
    assert_eq!(legend("plot all --top 2"), ["b", "c"]);
    let done = dir.lstmtext("plot all --top 2").assert().success();
    assert!(stderr(&done).contains("--top 3 shows all"), "{}", stderr(&done));
    assert_has(&texts(&dir, "all/curves.svg"), &["not shown: 1 more run"]);
}

#[test]
fn the_x_axis_is_an_option() {
    let dir = TestDir::with_run();
    for (x, expected) in [
        ("epoch", &["epoch", "4"][..]),
        ("step", &["step", "60"]),
        ("time", &["training time in seconds"]),
    ] {
        dir.lstmtext(&format!("plot run --no-words --x {x}")).assert().success();
        assert_has(&texts(&dir, "run/curves.svg"), expected);
    }
    // Without event files, the training curve is that of metrics.jsonl, which is not smoothed.
    fs::remove_dir_all(dir.path("run/train")).unwrap();
    dir.lstmtext("plot run --no-words").assert().success();
    let texts = texts(&dir, "run/curves.svg");
    assert_has(&texts, &["training", "not measured"]);
    assert!(!texts.contains(&"unsmoothed".to_owned()));
    fs::remove_file(dir.path("run/times.jsonl")).unwrap();
    assert_fails(dir.lstmtext("plot run --x time"), 1, &["run", "times.jsonl"]);
    for line in ["--x days", "--smoothing 1", "--smoothing -0.1", "--smoothing x", "--theme blue"] {
        assert_fails(dir.lstmtext(&format!("plot run {line}")), 2, &["--"]);
    }
}

#[test]
fn smoothing_is_an_option() {
    let dir = TestDir::with_run();
    let drawn = |smoothing: &str| {
        let line = format!("plot run --no-words --smoothing {smoothing}");
        dir.lstmtext(&line).assert().success();
        dir.read("run/curves.svg")
    };
    let (none, some, more) = (drawn("0"), drawn("0.6"), drawn("0.99"));
    assert!(!none.contains("unsmoothed"));
    assert!(some.contains("unsmoothed") && more.contains("unsmoothed") && some != more);
    dir.lstmtext("plot run --no-words").assert().success();
    assert!(some == dir.read("run/curves.svg"), "0.6 is not the default");
}

/// Checks Okabe and Ito's blue and its variant on a dark background.
#[test]
fn pictures_have_light_and_dark_themes() {
    let dir = TestDir::with_run();
    let svg = |theme: &str| {
        let line = format!("plot run --theme {theme} --to {theme}");
        dir.lstmtext(&line).assert().success();
        ["curves", "words"].map(|stem| dir.read(&format!("{theme}/{stem}.svg")))
    };
    let dark_of =
        |svg: &String| svg.contains("stroke=\"#56B4E9\"") || svg.contains("fill=\"#56B4E9\"");
    for (auto, (light, dark)) in svg("auto").iter().zip(svg("light").iter().zip(&svg("dark"))) {
        assert!(auto.contains("@media (prefers-color-scheme:dark)") && auto.contains("#0072B2"));
        assert!(!light.contains("<style>") && !dark_of(light) && light.contains("#0072B2"));
        assert!(!dark.contains("<style>") && dark_of(dark) && !dark.contains("#0072B2"));
    }
    assert_ne!(dir.bytes("light/curves.png"), dir.bytes("dark/curves.png"));
    assert_eq!(dir.bytes("light/curves.png"), dir.bytes("auto/curves.png"));
}

#[test]
fn a_running_run_is_plotted() {
    let dir = with_noise(PLATEAU);
    let endless = "--set train.epochs=100000 --set train.early_stopping.patience=null";
    let rare = format!("{endless} --set train.validate_every=1000000000");
    let mut young = Training::start(&dir, &format!("long.yaml --out young {rare}"));
    let mut training = Training::start(&dir, &format!("long.yaml --out run {endless}"));
    training.wait_for_validations(&dir, "run", 2);
    dir.lstmtext("plot run --no-words --x time").assert().success().stderr("");
    // Writing a checkpoint flushes the event files.
    young.wait_for_checkpoint(&dir, "young");
    for x in ["epoch", "time"] {
        let command = dir.lstmtext(&format!("plot young --no-words --x {x}"));
        assert_fails(command, 1, &["first validation", "--x step"]);
    }
    dir.lstmtext("plot young run --no-words --x step --to both").assert().success();
    assert_has(&texts(&dir, "both/curves.svg"), &["young", "run", "no validation yet"]);
    training.stop(libc::SIGKILL);
    young.stop(libc::SIGKILL);
}

#[test]
fn words_are_skipped_with_a_note() {
    let dir = TestDir::new().data(&["a", "b", "c"]).file("small.yaml", crate::common::SMALL);
    dir.train("small.yaml --out run --set train.epochs=1");
    let done = dir.lstmtext("plot run").assert().success();
    assert_eq!(stdout(&done), "run/curves.svg\nrun/curves.png\n");
    assert!(
        stderr(&done).contains("words are not plotted: the model has 3 classes instead of two")
    );

    for checkpoint in ["run/best", "run/last"] {
        fs::remove_dir_all(dir.path(checkpoint)).unwrap();
    }
    let done = dir.lstmtext("plot run").assert().success();
    assert_eq!(stdout(&done), "run/curves.svg\nrun/curves.png\n");
    assert!(stderr(&done).contains("no checkpoint"), "{}", stderr(&done));
}

#[test]
fn a_directory_without_curves_is_an_error() {
    let dir = TestDir::new().file("empty/metrics.jsonl", "").file("data/a.csv", "");
    let phrases = ["metrics.jsonl", "after the first validation"];
    for directory in ["empty", "data"] {
        assert_fails(
            dir.lstmtext(&format!("plot {directory}")),
            1,
            &[directory, phrases[0], phrases[1]],
        );
    }
    assert_fails(dir.lstmtext("plot none"), 1, &["no directory", "none"]);
    assert_fails(dir.lstmtext("plot"), 2, &["RUN"]);
    assert_eq!(dir.names("empty"), ["metrics.jsonl"]);
}

#[test]
fn a_directory_that_cannot_be_created_is_an_error() {
    let dir = TestDir::with_run().file("file", "");
    assert_fails(dir.lstmtext("plot run --to file/inside"), 1, &["cannot create the directory"]);
    assert!(!Path::new("curves.svg").exists());
}
