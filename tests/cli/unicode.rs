//! Texts in different but equivalent spellings.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use unicode_normalization::UnicodeNormalization;

use crate::common::{TestDir, stderr, stdout, stdout_json};

/// Returns labelled French texts, in which only words with accents tell the classes apart.
fn french(count: usize) -> String {
    let text = |n: usize| match n % 2 {
        0 => format!("Un film très réussi né à l’été {},pos\n", n % 7),
        _ => format!("Un film raté gâché et déçu {},neg\n", n % 7),
    };
    "text,label\n".to_owned() + &(0..count).map(text).collect::<String>()
}

#[test]
fn equivalent_spellings_are_read_alike_by_every_command() {
    let composed: String = french(40).nfc().collect();
    let decomposed: String = composed.nfd().collect();
    assert_ne!(composed, decomposed);
    let yaml = "data: {train: train.csv, validation: test.csv}\ntext: {min_count: 1}\n\
                model: {embedding: {size: 8}, lstm: {units: 8}}\ntrain: {epochs: 3, learning_rate: 0.05}\n";
    let dir = TestDir::new()
        .file("train.csv", &composed)
        .file("test.csv", &decomposed)
        .file("composed.csv", &composed)
        .file("c.yaml", yaml);
    dir.train("c.yaml --out run");
    let evaluation = |file: &str| {
        let done = dir.lstmtext(&format!("evaluate run --json --data {file}")).assert().success();
        stdout_json(&done)
    };
    assert_eq!(evaluation("composed.csv"), evaluation("test.csv"));
    let texts = ["Un film très réussi", "raté"];
    for command in ["predict run --format tsv", "explain run --json", "states run --json"] {
        let results =
            [texts.map(String::from), texts.map(|text| text.nfd().collect())].map(|texts| {
                let done = dir.lstmtext(command).args(texts).assert().success();
                stdout(&done).nfc().collect::<String>()
            });
        let [composed, decomposed] = results.map(|result| match command.starts_with("explain") {
            // Spans differ, because they are positions in the text as it is.
            true => result.lines().filter(|line| line.contains("contribution")).collect(),
            false => result,
        });
        assert_eq!(composed, decomposed, "{command}");
    }
    // Word vectors are found under either spelling.
    let vectors: String = "très 1 2\nraté 3 4\nun 5 6\n".nfd().collect();
    let dir = dir.file("words.vec", vectors);
    let done = dir.train(
        "c.yaml --out vectors --set model.embedding.size=2 --set model.embedding.vectors=words.vec",
    );
    let words = dir.json("vectors/best/vocabulary.json").as_array().unwrap().len() - 4;
    let coverage = format!("{:.2} % of the words", 300.0 / words as f64);
    let notes = stderr(&done);
    assert!(notes.contains(&coverage), "{notes}");
}

#[test]
fn outputs_can_have_names_that_are_not_utf_8() {
    let dir = TestDir::with_run();
    for (line, option, extension) in [
        ("predict run --file test.csv", "--to", "csv"),
        ("evaluate run", "--errors", "tsv"),
        ("explain run pos1", "--html", "html"),
        ("lr-find small.yaml --steps 20", "--to", "svg"),
        ("folds small.yaml --k 2 --set train.epochs=1", "--issues", "csv"),
        ("folds small.yaml --k 2 --set train.epochs=1", "--out", "folds"),
        ("train small.yaml --set train.epochs=1", "--out", "run"),
    ] {
        let name = OsString::from_vec([b"a\xFF.", extension.as_bytes()].concat());
        dir.lstmtext(line).arg(option).arg(&name).assert().success();
        let path = dir.path("").join(&name);
        assert!(path.exists(), "{line}");
        assert!(option != "--out" || path.join("scores.json").exists() || extension == "run");
    }
    let broken = dir.names("").into_iter().filter(|name| name.contains('\u{FFFD}')).count();
    // `names` replaces what is not UTF-8: no other file has a replacement character.
    assert_eq!(broken, 6);
}
