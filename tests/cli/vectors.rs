//! Learning word vectors from texts without labels.

use std::io::{BufRead, BufReader, Read};

use flate2::read::GzDecoder;
use lstmtext::interchange::numpy::read_npy;
use predicates::str::contains;

use crate::common::{TestDir, assert_fails, csv, examples, lines, stderr, stdout};

/// Texts of the two classes, a line each.
fn texts() -> String {
    lines(&examples(&["neg", "pos"], 300, 7))
}

/// Settings under which all words of [`texts`] have a vector.
const SMALL: &str = "--set model.embedding.size=6 --set text.min_count=1";

fn learn(dir: &TestDir, line: &str) -> String {
    stderr(&dir.lstmtext(&format!("vectors {line} {SMALL}")).assert().success())
}

/// Reads a file in the text format. Returns its words and values.
fn parse(content: &str) -> (Vec<String>, Vec<f32>) {
    let mut rows = content.lines();
    let header = rows.next().unwrap().to_owned();
    let (mut words, mut values) = (Vec::new(), Vec::new());
    for row in rows {
        let mut fields = row.split(' ');
        words.push(fields.next().unwrap().to_owned());
        values.extend(fields.map(|field| field.parse::<f32>().unwrap()));
    }
    assert_eq!(header, format!("{} 6", words.len()));
    assert_eq!(values.len(), 6 * words.len());
    (words, values)
}

#[test]
fn all_formats_have_the_same_vectors() {
    let dir = TestDir::new().file("texts.txt", texts());
    let shown = learn(&dir, "texts.txt --to out/words.vec");
    for part in ["300 texts, ", "80 words of dimension 6, cbow, 1 thread", "tokens/s, loss "] {
        assert!(shown.contains(part), "{part:?} is not in: {shown}");
    }
    let (words, values) = parse(&dir.read("out/words.vec"));
    assert_eq!(words.len(), 80);
    assert!(words.iter().all(|word| !word.starts_with('<')), "special ids have no vector");
    for name in ["words.txt", "words.vec.gz", "words.npy"] {
        let line = format!("vectors texts.txt --to {name} {SMALL}");
        assert_eq!(stdout(&dir.lstmtext(&line).assert().success()), format!("{name}\n"));
    }
    let mut unpacked = String::new();
    GzDecoder::new(&*dir.bytes("words.vec.gz")).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, dir.read("out/words.vec"));
    // The word list of the matrix has replaced words.txt.
    assert!(dir.read("words.txt").lines().eq(&words));
    let matrix = read_npy(&dir.path("words.npy")).unwrap();
    assert_eq!((matrix.shape, matrix.values), (vec![80, 6], values));
    assert_eq!(dir.names("."), ["out", "texts.txt", "words.npy", "words.txt", "words.vec.gz"]);
}

#[test]
fn settings_and_seed_change_the_vectors() {
    let dir = TestDir::new().file("texts.txt", texts());
    let vectors = |set: &str| {
        learn(&dir, &format!("texts.txt --to words.vec {set}"));
        dir.read("words.vec")
    };
    let plain = vectors("");
    assert_eq!(plain, vectors(""), "one thread learns the same vectors every time");
    for set in [
        "train.seed=2",
        "pretrain.vectors.method=skipgram",
        "pretrain.vectors.window=1",
        "pretrain.vectors.negatives=2",
        "pretrain.vectors.sample=0",
        "pretrain.vectors.epochs=1",
        "pretrain.vectors.learning_rate=0.2",
    ] {
        assert_ne!(plain, vectors(&format!("--set {set}")), "{set}");
    }
    parse(&vectors("--threads 3"));
}

#[test]
fn tables_and_several_files_are_read() {
    let texts = examples(&["neg", "pos"], 300, 7);
    let swapped = |line: &str| line.replace("text,label", "body,kind");
    let table = String::from_utf8(csv(&texts)).unwrap();
    let dir = TestDir::new()
        .file("text.csv", &table)
        .file("body.csv", swapped(&table))
        .file("texts.txt", lines(&texts))
        .file("a.txt", lines(&texts[..100]))
        .file("b.txt", lines(&texts[100..]));
    learn(&dir, "texts.txt --to expected.vec");
    let expected = dir.read("expected.vec");
    for line in ["text.csv", "body.csv --text body", "body.csv", "body.csv --text 1"] {
        learn(&dir, &format!("{line} --to words.vec"));
        assert_eq!(dir.read("words.vec"), expected, "{line}");
    }
    let (words, _) = parse(&expected);
    learn(&dir, "a.txt b.txt --to words.vec");
    assert_eq!(parse(&dir.read("words.vec")).0, words);
    // With several columns of texts, one must be chosen.
    let unclear = "one,two\nsome words here,other words there\nmore words here,and words there\n";
    let dir = dir.file("unclear.csv", unclear);
    let command = dir.lstmtext("vectors unclear.csv --to words.vec");
    assert_fails(command, 2, &["unclear.csv", "several columns can be the text", "--text one"]);
    let command = dir.lstmtext("vectors text.csv --text body --to words.vec");
    assert_fails(command, 2, &["text.csv", "no column body, only text, label"]);
}

#[test]
fn a_configuration_names_its_texts_and_trains_with_the_vectors() {
    let config = "\
data: {train: train.csv, test: test.csv, unlabelled: texts.txt}
model: {embedding: {size: 6}, lstm: {units: 4}, ngrams: null}
text: {min_count: 1}
train: {epochs: 1}
";
    let dir = TestDir::with_data().file("config.yaml", config);
    let dir = dir.file("texts.txt", texts() + "unlabelled words only here\n");
    let shown = learn(&dir, "config.yaml --to words.npy");
    // The training examples without those that are split off for validation, and the texts.
    assert!(shown.contains("841 texts, "), "{shown}");
    assert!(dir.read("words.txt").lines().any(|word| word == "unlabelled"));
    assert!(shown.contains("train config.yaml"), "{shown}");
    learn(&dir, "config.yaml --to words.vec");
    for file in ["words.npy", "words.vec"] {
        let line = format!("config.yaml --out run-{file} --set model.embedding.vectors={file}");
        dir.train(&line).stderr(contains("100.00 % of the words"));
    }
    assert_eq!(dir.best_weights("run-words.npy"), dir.best_weights("run-words.vec"));
}

#[test]
fn unusable_arguments_and_texts_are_rejected() {
    let dir = TestDir::with_data()
        .file("texts.txt", texts())
        .file("words.txt", texts())
        .file("empty.txt", "")
        .file("empty.csv", "")
        .file("single.txt", "one\ntwo\none\ntwo\n")
        .file("alone.txt", "one one\none\n");
    let fails = |line: &str, code: i32, parts: &[&str]| {
        assert_fails(dir.lstmtext(&format!("vectors {line}")), code, parts);
        assert!(!dir.path("out.vec").exists(), "{line}");
    };
    let endings = "must end in .vec, .txt, .vec.gz, .txt.gz or .npy";
    fails("texts.txt --to out.bin", 2, &["--to \"out.bin\"", endings]);
    fails("texts.txt --to texts.txt", 2, &["--to \"texts.txt\" would overwrite the input"]);
    fails("empty.txt texts.txt --to texts.txt", 2, &["would overwrite the input"]);
    fails("words.txt --to words.npy", 2, &["\"words.txt\" would overwrite the input"]);
    fails("small.yaml texts.txt --to out.vec", 2, &["is a configuration: pass it alone"]);
    fails("missing.yaml --to out.vec", 2, &["missing.yaml"]);
    fails("missing.txt --to out.vec", 1, &["missing.txt"]);
    fails("empty.txt --to out.vec", 1, &["empty.txt", "has no examples"]);
    fails("empty.csv --to out.vec", 1, &["empty.csv", "has no examples"]);
    let frequent = "no word in the training texts has 9999 or more occurrences";
    fails("texts.txt --to out.vec --set text.min_count=9999", 1, &[frequent]);
    let one = "--to out.vec --set text.min_count=1";
    fails(&format!("single.txt {one}"), 1, &["each text has a single word"]);
    fails(&format!("alone.txt {one}"), 1, &["have 1 of the words of the vocabulary"]);
    fails(
        "texts.txt --to out.vec --set pretrain.vectors.window=0",
        2,
        &["pretrain.vectors.window"],
    );
    fails(
        "texts.txt --to out.vec --set pretrain.vectors.learning_rate=1e30",
        1,
        &["pretrain.vectors.learning_rate", "not finite"],
    );
}

#[test]
fn ctrl_c_leaves_no_file() {
    let dir = TestDir::new().file("texts.txt", texts()).file("old.vec", "old");
    let line = "vectors texts.txt --to old.vec --set pretrain.vectors.epochs=100000";
    let mut process = dir.process(line).spawn().unwrap();
    let mut shown = BufReader::new(process.stderr.take().unwrap());
    let mut first = String::new();
    while !first.contains("words of dimension 64") {
        assert_ne!(shown.read_line(&mut first).unwrap(), 0, "{first}");
    }
    let id = i32::try_from(process.id()).unwrap();
    // SAFETY: the process has not been waited for, so that its id is still its own.
    assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
    let mut rest = String::new();
    shown.read_to_string(&mut rest).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("stopping; no vectors are written"), "{rest}");
    assert_eq!(dir.read("old.vec"), "old");
    assert_eq!(dir.names("."), ["old.vec", "texts.txt"]);
}
