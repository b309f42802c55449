//! The README and the example configurations say what the program does.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use lstmtext::config;
use lstmtext::model::summary::summarize;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn configurations() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(checkout().join("configs")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_readme_has_the_configuration_reference() {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("checked by a test -->\n").expect("the reference begins");
    let (found, _) = rest.split_once("<!-- end of reference -->").expect("the reference ends");
    let expected = config::reference(&config::defaults());
    assert!(
        found.trim() == expected.trim(),
        "put the output of `lstmtext config --reference` between the marks in README.md"
    );
}

#[test]
fn every_example_configuration_is_valid() {
    let configurations = configurations();
    assert!(configurations.len() >= 2);
    for path in configurations {
        config::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_readme_names_every_example_configuration() {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    for path in configurations() {
        let name = format!("configs/{}", path.file_name().unwrap().to_string_lossy());
        assert!(readme.contains(&name), "{name} is not in README.md");
    }
}

/// The counts that Keras prints for the reference systems, and Theano's with one bias.
#[test]
fn the_published_systems_have_the_parameters_of_their_originals() {
    for (name, logits, parameters) in [
        ("keras_imdb_500", 1, 213_301),
        ("keras_imdb_80", 1, 1_300_641),
        ("keras_early_stopping", 1, 652_449),
        ("theano_meanpool", 2, 1_411_842),
        ("two_input_babi", 500, 1_000_052),
    ] {
        let path = checkout().join(format!("configs/{name}.yaml"));
        let config = config::load(&path, &[]).unwrap().config;
        let words: Vec<usize> =
            config.inputs.iter().map(|input| input.text.vocabulary_size).collect();
        assert_eq!(summarize(&config, &words, logits).total(), parameters, "{name}");
    }
}
