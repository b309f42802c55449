//! Tokens that are kept between runs.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{Place, csv, examples};

const ALWAYS: &str = "--set data.cache=always";

fn cached(place: &Place, line: &str) -> Command {
    let mut command = place.lstmtext(&format!("{line} {ALWAYS}"));
    command.env("LSTMTEXT_CACHE", place.path("cache"));
    command
}

/// The folders of tokens, the data file's first.
fn folders(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path("cache")).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort_by_key(|folder| fs::metadata(folder).unwrap().modified().unwrap());
    folders
}

#[test]
fn a_run_from_the_cache_is_that_from_the_texts() {
    let place = Place::with_data();
    place.train("small.yaml --out plain");
    for run in ["first", "second"] {
        cached(&place, &format!("train small.yaml --out {run}")).assert().success();
        assert_eq!(folders(&place).len(), 2, "train.csv and test.csv");
        assert!(place.best_weights("plain") == place.best_weights(run));
        assert_eq!(place.read("plain/metrics.jsonl"), place.read(&format!("{run}/metrics.jsonl")));
        assert_eq!(place.timeless_summary("plain"), place.timeless_summary(run));
    }
    place.train("--resume first --set train.epochs=5");
    // The texts are not looked at again.
    let stats = |place: &Place| cached(place, "data stats small.yaml").assert().success();
    let before = stats(&place).get_output().stdout.clone();
    assert_eq!(stats(&place).get_output().stdout, before);
    let plain = place.lstmtext("data stats small.yaml").assert().success();
    assert_eq!(plain.get_output().stdout, before);
}

#[test]
fn whatever_changes_tokens_makes_new_ones() {
    let place = Place::with_data();
    let stats = |set: &str| {
        cached(&place, &format!("data stats small.yaml --set data.test=null {set}"))
            .assert()
            .success();
        folders(&place).len()
    };
    assert_eq!(stats(""), 1);
    for (number, set) in [
        "--set text.tokenizer=keras",
        "--set text.lowercase=false",
        "--set text.strip_tags=false",
        "--set data.broken_lines=skip",
        "--set data.label_names={neg:bad}",
        "--set data.filter={label:neg} --set data.labels=[neg,pos] --set data.unseen_labels=class",
    ]
    .into_iter()
    .enumerate()
    {
        let expected = number + 2;
        let set = set.replace("{neg:bad}", "{neg: bad}").replace("{label:neg}", "{label: neg}");
        let mut command = cached(&place, "data stats small.yaml --set data.test=null");
        for word in set.split("--set ").filter(|word| !word.is_empty()) {
            command.args(["--set", word.trim()]);
        }
        command.assert().success();
        assert_eq!(folders(&place).len(), expected, "{set}");
    }
    // What comes after the tokens does not.
    for set in ["text.vocabulary_size=20", "text.max_length=3", "train.seed=4", "data.split.seed=2"]
    {
        assert_eq!(stats(&format!("--set {set}")), 7, "{set}");
    }
    let changed = csv(&examples(&["neg", "pos"], 601, 1));
    fs::write(place.path("train.csv"), changed).unwrap();
    assert_eq!(stats(""), 8);
}

#[test]
fn damaged_tokens_are_made_anew() {
    let place = Place::with_data();
    let stats = || cached(&place, "data stats small.yaml --set data.test=null").assert().success();
    let expected =
        stats().stderr(contains("are kept for the next run in")).get_output().stdout.clone();
    let folder = folders(&place).remove(0);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    for path in names {
        for damage in ["changed", "cut", "missing"] {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            match damage {
                "changed" => bytes[middle] ^= 4,
                _ => bytes.truncate(middle),
            }
            match damage {
                "missing" => fs::remove_file(&path).unwrap(),
                _ => fs::write(&path, bytes).unwrap(),
            }
            let done = stats().stderr(contains("are made anew").and(contains("panicked").not()));
            assert_eq!(done.get_output().stdout, expected, "{damage} {}", path.display());
            let done = stats();
            assert_eq!(done.get_output().stderr, b"", "{damage} {}", path.display());
        }
    }
}

#[test]
fn processes_that_build_at_once_do_no_harm() {
    let place = Place::with_data();
    let line = format!("data stats small.yaml {ALWAYS}");
    let processes: Vec<_> = (0..6)
        .map(|_| place.process(&line).env("LSTMTEXT_CACHE", place.path("cache")).spawn().unwrap())
        .collect();
    let outputs: Vec<_> =
        processes.into_iter().map(|process| process.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
    assert_eq!(folders(&place).len(), 2, "nothing else is left");
}

#[test]
fn a_cache_that_cannot_be_is_an_error() {
    let place = Place::with_data().file("taken", "a file");
    let mut command = place.lstmtext(&format!("data stats small.yaml {ALWAYS}"));
    command.env("LSTMTEXT_CACHE", place.path("taken/cache"));
    command
        .assert()
        .code(1)
        .stderr(contains("cannot make the folder").and(contains("taken/cache")));
    let mut command = place.lstmtext(&format!("data stats small.yaml {ALWAYS}"));
    for name in ["LSTMTEXT_CACHE", "XDG_CACHE_HOME", "HOME"] {
        command.env_remove(name);
    }
    command.assert().code(1).stderr(contains("set LSTMTEXT_CACHE, or data.cache: never"));
}
