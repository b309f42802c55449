//! `lstmtext plot`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{Place, assert_fails, stderr, stdout};

/// Expects a PNG file; its width and height.
fn png_size(place: &Place, name: &str) -> (u32, u32) {
    let bytes = place.bytes(name);
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// The texts of an SVG, in their order.
fn texts(place: &Place, name: &str) -> Vec<String> {
    let svg = place.read(name);
    let text = |rest: &str| {
        let (_, inside) = rest.split_once(">\n").unwrap();
        inside.split_once("\n</text>").unwrap().0.to_owned()
    };
    svg.split("<text ").skip(1).map(text).collect()
}

fn assert_has(texts: &[String], words: &[&str]) {
    for word in words {
        assert!(texts.iter().any(|text| text == word), "{word:?} is not in {texts:?}");
    }
}

/// The word of the test data that the model of `run` finds most positive, as `predict` has it.
fn most_positive(place: &Place) -> String {
    let words: Vec<String> = (0..10).map(|i| format!("pos{i}")).collect();
    let done = place.lstmtext("predict run --format jsonl").args(&words).assert().success();
    let answers = stdout(&done);
    let answers = answers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let probability = |answer: &Value| answer["probability"].as_f64().unwrap();
    let best = answers.max_by(|a, b| probability(a).total_cmp(&probability(b))).unwrap();
    assert_eq!(best["label"], "pos");
    best["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_gets_its_curves_and_its_words() {
    let place = Place::with_run();
    let done = place.lstmtext("plot run").assert().success();
    assert_eq!(stdout(&done), "run/curves.svg\nrun/curves.png\nrun/words.svg\nrun/words.png\n");
    assert_eq!(stderr(&done), "");
    assert_eq!(png_size(&place, "run/curves.png").0, 1500);
    assert_eq!(png_size(&place, "run/words.png"), (1500, 650));
    let curves = texts(&place, "run/curves.svg");
    assert_has(&curves, &["run", "epoch", "loss", "accuracy in %", "validation", "training"]);
    assert_has(&curves, &["1", "2", "3", "4"]);
    let words = texts(&place, "run/words.svg");
    assert_has(&words, &["run", "most neg", "most pos", "probability of “pos”"]);
    assert_has(&words, &[&most_positive(&place)]);
    let best = &place.summary("run")["best_epoch"];
    assert!(curves.iter().any(|text| text.starts_with(&format!("best at epoch {best}: "))));
}

#[test]
fn validations_inside_an_epoch_have_their_places() {
    let place = Place::with_data();
    place.train("small.yaml --out run --set train.validate_every=5 --set train.epochs=2");
    assert!(place.metrics("run").len() > 4);
    place.lstmtext("plot run --no-words").assert().success();
    assert_has(&texts(&place, "run/curves.svg"), &["0", "1", "2"]);
    assert!(!place.path("run/words.svg").exists());
}

#[test]
fn several_runs_share_their_curves() {
    let place = Place::with_run();
    place.train("small.yaml --out other/run --set train.epochs=1");
    let line = "plot run ./run other/run --to pictures/of/both";
    let done = place.lstmtext(line).assert().success();
    assert_eq!(stdout(&done).lines().count(), 6);
    let names = place.names("pictures/of/both");
    let above = place.path("").file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(names.len(), 6, "{names:?}");
    for stem in ["curves", &format!("words-{above}-run"), "words-other-run"] {
        for ending in ["svg", "png"] {
            assert!(names.contains(&format!("{stem}.{ending}")), "{names:?}");
        }
    }
    let curves = texts(&place, "pictures/of/both/curves.svg");
    assert_has(&curves, &[&format!("{above}/run"), "other/run"]);
    place
        .lstmtext("plot run other/run --no-words")
        .assert()
        .success()
        .stdout("./curves.svg\n./curves.png\n");
}

#[test]
fn words_are_left_out_with_a_note() {
    let place = Place::new().data(&["a", "b", "c"]).file("small.yaml", crate::common::SMALL);
    place.train("small.yaml --out run --set train.epochs=1");
    let done = place.lstmtext("plot run").assert().success();
    assert_eq!(stdout(&done), "run/curves.svg\nrun/curves.png\n");
    assert!(stderr(&done).contains("words: needs two classes, this model has 3"));

    for checkpoint in ["run/best", "run/last"] {
        fs::remove_dir_all(place.path(checkpoint)).unwrap();
    }
    let done = place.lstmtext("plot run").assert().success();
    assert_eq!(stdout(&done), "run/curves.svg\nrun/curves.png\n");
    assert!(stderr(&done).contains("no checkpoint"), "{}", stderr(&done));
}

#[test]
fn a_folder_without_curves_is_an_error() {
    let place = Place::new().file("empty/metrics.jsonl", "").file("data/a.csv", "");
    let words = ["metrics.jsonl", "after the first validation"];
    for folder in ["empty", "data"] {
        assert_fails(place.lstmtext(&format!("plot {folder}")), 1, &[folder, words[0], words[1]]);
    }
    assert_fails(place.lstmtext("plot none"), 1, &["no folder", "none"]);
    assert_fails(place.lstmtext("plot"), 2, &["RUN"]);
    assert_eq!(place.names("empty"), ["metrics.jsonl"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let place = Place::with_run().file("file", "");
    assert_fails(place.lstmtext("plot run --to file/inside"), 1, &["cannot make the folder"]);
    assert!(!Path::new("curves.svg").exists());
}
