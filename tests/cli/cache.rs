//! The token cache.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::{TestDir, csv, examples, stderr};

const ALWAYS: &str = "--set data.cache=always";

fn with_cache(dir: &TestDir, line: &str) -> Command {
    let mut command = dir.lstmtext(&format!("{line} {ALWAYS}"));
    command.env("LSTMTEXT_CACHE", dir.path("cache"));
    command
}

/// Returns the entries of the cache in any order.
fn cache_entries(dir: &TestDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path("cache")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn runs_with_and_without_the_cache_are_equal() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out plain");
    for run in ["first", "second"] {
        with_cache(&dir, &format!("train small.yaml --out {run}")).assert().success();
        assert_eq!(cache_entries(&dir).len(), 2, "train.csv and test.csv");
        assert!(dir.best_weights("plain") == dir.best_weights(run));
        assert_eq!(dir.read("plain/metrics.jsonl"), dir.read(&format!("{run}/metrics.jsonl")));
        assert_eq!(dir.timeless_summary("plain"), dir.timeless_summary(run));
    }
    dir.train("--resume first --set data.cache=never --set train.epochs=5");
    // Statistics from the cache are equal too.
    let stats = |dir: &TestDir| with_cache(dir, "data stats small.yaml").assert().success();
    let before = stats(&dir).get_output().stdout.clone();
    assert_eq!(stats(&dir).get_output().stdout, before);
    let plain = dir.lstmtext("data stats small.yaml").assert().success();
    assert_eq!(plain.get_output().stdout, before);
}

#[test]
fn groups_are_cached_and_unlabelled_texts_have_none() {
    let rows: String = (0..60)
        .map(|n| format!("w{} v{} x,{},u{}\n", n % 7, n % 11, ["neg", "pos"][n % 2], n % 12))
        .collect();
    let table = format!("text,label,user\n{rows}");
    let config = "data: {train: a.csv, unlabelled: b.csv, test: b.csv, split: {group: user, validation: 20}}\n\
                  model: {embedding: {size: 4}, lstm: {units: 4}}\n\
                  train: {epochs: 1, entropy_weight: 0.1}\n";
    let dir = TestDir::new().file("a.csv", &table).file("b.csv", &table).file("c.yaml", config);
    dir.train("c.yaml --out plain");
    for run in ["first", "second"] {
        let line = format!("train c.yaml --out {run}");
        let done = with_cache(&dir, &line).assert().success();
        let told = stderr(&done);
        assert!(!told.contains("damaged"), "{told}");
        assert_eq!(told.contains("cached the tokens"), run == "first", "{told}");
        assert!(told.contains("test examples are of 8 groups"), "{told}");
        assert!(dir.best_weights("plain") == dir.best_weights(run));
    }
    // With and without labels.
    assert_eq!(cache_entries(&dir).len(), 3);
}

#[test]
fn settings_that_affect_tokens_create_new_entries() {
    let dir = TestDir::with_data();
    // Returns the number of entries after a run with these fields.
    let entries = |sets: &[&str]| {
        let mut command = with_cache(&dir, "data stats small.yaml --set data.test=null");
        for set in sets {
            command.args(["--set", set]);
        }
        command.assert().success();
        cache_entries(&dir).len()
    };
    assert_eq!(entries(&[]), 1);
    for (number, sets) in [
        &["text.tokenizer=keras"][..],
        &["text.lowercase=false"],
        &["text.strip_tags=false"],
        &["data.broken_lines=skip"],
        &["data.label_names={neg: bad}"],
        &["data.filter={label: neg}", "data.labels=[neg,pos]", "data.unseen_labels=class"],
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(entries(sets), number + 2, "{sets:?}");
    }
    // Settings that apply after tokenization do not.
    for set in ["text.vocabulary_size=20", "text.max_length=3", "train.seed=4", "data.split.seed=2"]
    {
        assert_eq!(entries(&[set]), 7, "{set}");
    }
    let changed = csv(&examples(&["neg", "pos"], 601, 1));
    fs::write(dir.path("train.csv"), changed).unwrap();
    assert_eq!(entries(&[]), 8);
}

#[test]
fn damaged_entries_are_replaced() {
    let dir = TestDir::with_data();
    let stats =
        || with_cache(&dir, "data stats small.yaml --set data.test=null").assert().success();
    let expected = stats().stderr(contains("cached the tokens of")).get_output().stdout.clone();
    let entry = cache_entries(&dir).remove(0);
    let names: Vec<_> = fs::read_dir(&entry).unwrap().map(|entry| entry.unwrap().path()).collect();
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
            let done = stats().stderr(
                contains("replacing the damaged token cache").and(contains("panicked").not()),
            );
            assert_eq!(done.get_output().stdout, expected, "{damage} {}", path.display());
            let done = stats();
            assert_eq!(done.get_output().stderr, b"", "{damage} {}", path.display());
        }
    }
}

#[test]
fn concurrent_processes_can_write_the_same_entry() {
    let dir = TestDir::with_data();
    let line = format!("data stats small.yaml {ALWAYS}");
    let processes: Vec<_> = (0..6)
        .map(|_| dir.process(&line).env("LSTMTEXT_CACHE", dir.path("cache")).spawn().unwrap())
        .collect();
    let outputs: Vec<_> =
        processes.into_iter().map(|process| process.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
    assert_eq!(cache_entries(&dir).len(), 2, "no temporary directory remains");
}

#[test]
fn an_unusable_cache_directory_is_an_error() {
    let dir = TestDir::with_data().file("taken", "a file");
    let mut command = dir.lstmtext(&format!("data stats small.yaml {ALWAYS}"));
    command.env("LSTMTEXT_CACHE", dir.path("taken/cache"));
    command
        .assert()
        .code(1)
        .stderr(contains("cannot create the directory").and(contains("taken/cache")));
    let mut command = dir.lstmtext(&format!("data stats small.yaml {ALWAYS}"));
    for name in ["LSTMTEXT_CACHE", "XDG_CACHE_HOME", "HOME"] {
        command.env_remove(name);
    }
    command.assert().code(1).stderr(contains("set LSTMTEXT_CACHE, or data.cache: never"));
}

/// Replaces a file of a cache entry, and its hash in the manifest.
fn forge(entry: &Path, name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>) {
    let content = change(fs::read(entry.join(name)).unwrap());
    let hash: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(entry.join(name), content).unwrap();
    let manifest = entry.join("manifest.json");
    let mut hashes: serde_json::Map<String, Value> =
        serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    hashes.insert(name.to_owned(), hash.into());
    fs::write(manifest, serde_json::to_vec(&hashes).unwrap()).unwrap();
}

#[test]
fn forged_entries_are_replaced() {
    let dir = TestDir::with_data();
    let stats =
        || with_cache(&dir, "data stats small.yaml --set data.test=null").assert().success();
    let honest = stats().get_output().stdout.clone();
    let [entry] = &cache_entries(&dir)[..] else { panic!("one entry") };
    let all = |byte: u8| move |content: Vec<u8>| vec![byte; content.len()];
    let shorter = |content: Vec<u8>| content[..content.len() - 4].to_vec();
    let replaced = |from: &'static str, to: &'static str| {
        move |content: Vec<u8>| {
            String::from_utf8(content).unwrap().replacen(from, to, 1).into_bytes()
        }
    };
    type Change = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;
    let forgeries: Vec<(&str, Change)> = vec![
        ("labels.u32", Box::new(all(255))),
        ("labels.u32", Box::new(shorter)),
        ("labels.u32", Box::new(|content| content[..content.len() - 1].to_vec())),
        ("lines.u64", Box::new(shorter)),
        ("keys.u128", Box::new(shorter)),
        ("ends-0.u64", Box::new(all(255))),
        ("ends-0.u64", Box::new(all(0))),
        ("tokens-0.u32", Box::new(all(255))),
        ("tokens-0.u32", Box::new(shorter)),
        ("tokens-0.u32", Box::new(|_| Vec::new())),
        ("words-0.json", Box::new(|_| b"[]".to_vec())),
        ("words-0.json", Box::new(|_| b"{}".to_vec())),
        ("rows.json", Box::new(replaced("\"files\":[[0,", "\"files\":[[99999999,"))),
        ("rows.json", Box::new(replaced("[[0,\"Line\"]]", "[]"))),
        ("rows.json", Box::new(replaced("\"neg\"", ""))),
    ];
    for (name, change) in forgeries {
        forge(entry, name, &*change);
        let done = stats();
        assert_eq!(done.get_output().stdout, honest, "{name}");
        done.stderr(contains("replacing the damaged token cache"));
    }
}
