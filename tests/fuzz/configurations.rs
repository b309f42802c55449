//! Configurations, also with a sweep.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use lstmtext::config::{self, Resolved, Sweep};
use lstmtext::sweep::SweepDirectory;

use crate::fuzzer::fuzz;

/// Resolves a valid configuration.
pub fn resolved(yaml: &str) -> Resolved {
    config::parse(yaml, "fuzz", &[]).unwrap()
}

/// Much of what YAML has.
const FEATURES: &[u8] = b"\xEF\xBB\xBF%YAML 1.1\n--- # first\ndata: &d\n  train: !!str 1.10\n  ? filter\n  : {\"a b\": \
    1.10, 'it''s': ~, \"\\x41\\u00e9\": True}\n  label_names:\n    0: >-\n      folded\n      text\n    1: |2\n      \
    literal\n  labels: [a, &b \"b\", ]\ninputs:\n  x: &x\n    text: {max_length: 0x10}\n    column: [1.10, 2]\n  y:\n    \
    <<: [*x, {pooling: mean}]\n...\n";

#[test]
fn configurations() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut corpus: Vec<Vec<u8>> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    corpus.push(resolved("data: {train: x}\n").to_yaml().into_bytes());
    corpus.push(FEATURES.to_vec());
    fuzz("configurations", &corpus, |bytes| {
        let Ok(yaml) = std::str::from_utf8(bytes) else { return false };
        let Ok(first) = config::parse(yaml, "fuzz", &[]) else { return false };
        // The printed configuration equals the original.
        let printed = first.to_yaml();
        let second = config::parse(&printed, "fuzz", &[]).unwrap();
        assert_eq!(first.config, second.config);
        assert_eq!(printed, second.to_yaml());
        true
    });
}

const SWEEPS: [&[u8]; 2] = [
    b"data: {train: x}\nsweep:\n  model.lstm.units: [32, 64]\n  cases: [{}, {train.epochs: 5}]\n  seed: [1, 2]\n",
    b"data: {train: x}\nsweep:\n  trials: 9\n  search_seed: 2\n  model.head.dropout: {uniform: [0, 0.5]}\n  \
      train.learning_rate: {log_uniform: [1e-4, 1e-2]}\n  model.lstm.units: {log_integers: [1, 9]}\n",
];

#[test]
fn sweeps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.yaml");
    let corpus: Vec<Vec<u8>> = SWEEPS.iter().map(|file| file.to_vec()).collect();
    fuzz("sweeps", &corpus, |bytes| {
        fs::write(&path, bytes).unwrap();
        let Ok(sweep) = Sweep::load(&path, &[]) else { return false };
        let again = Sweep::load(&path, &[]).unwrap();
        assert_eq!(sweep.points, again.points);
        let sweep = SweepDirectory::new(sweep, directory.path());
        let mut names = HashSet::new();
        for run in &sweep.runs {
            assert!(sweep.resolve(run).unwrap().config.sweep.is_empty());
            assert!(names.insert(&run.name), "duplicate name {}", run.name);
        }
        true
    });
}
