//! Training with pre-trained word vectors.

use lstmtext::interchange::numpy::write_npy;
use lstmtext::model::named_tensors::{self, NamedTensor};

use crate::common::{TestDir, assert_fails, stderr, stdout_json};
use crate::data::gzip;

const CONFIG: &str = "\
data: {train: train.csv, test: test.csv}
model: {embedding: {size: 100, vectors: vectors.vec}, lstm: {units: 4}, ngrams: null}
train: {epochs: 1}
";

/// Creates a vector of dimension 100 for a word.
fn vector(word: &str) -> Vec<f32> {
    let seed: u32 = word.bytes().map(u32::from).sum();
    (0..100).map(|index| (seed * (index + 1) % 1000) as f32 / 500.0 - 1.0).collect()
}

/// Creates a file as fastText writes it, with a header and a space at the end of every line. It
/// contains the words of the class pos, but not those of neg.
fn fasttext() -> String {
    let words: Vec<String> =
        (0..10).map(|i| format!("pos{i}")).chain((0..60).map(|i| format!("n{i}"))).collect();
    let mut content = format!("{} 100\n", words.len());
    for word in words {
        let values: Vec<String> = vector(&word).iter().map(f32::to_string).collect();
        content += &format!("{word} {} \n", values.join(" "));
    }
    content
}

fn with_vectors() -> TestDir {
    TestDir::with_data().file("vectors.yaml", CONFIG).file("vectors.vec", fasttext())
}

fn embedding(dir: &TestDir, run: &str) -> NamedTensor {
    let path = dir.path(&format!("{run}/best/model.safetensors"));
    let tensors = named_tensors::read(&path).unwrap();
    tensors.into_iter().find(|tensor| tensor.name == "embedding.weight").unwrap()
}

/// Returns the row of a word in the embedding.
fn row(dir: &TestDir, run: &str, word: &str) -> Vec<f32> {
    let words = dir.json(&format!("{run}/best/vocabulary.json"));
    let id = words.as_array().unwrap().iter().position(|each| each == word).unwrap();
    let embedding = embedding(dir, run);
    embedding.values.chunks_exact(embedding.shape[1]).nth(id).unwrap().to_vec()
}

#[test]
fn frozen_vectors_do_not_change() {
    let dir = with_vectors();
    let done = dir.train("vectors.yaml --out run --set model.embedding.trainable=false");
    let message = stderr(&done);
    assert!(message.contains("87.50 % of the words"), "70 of 80: {message}");
    assert!(message.contains("Non-trainable params: 8,400"), "{message}");
    for word in ["pos3", "n17"] {
        assert_eq!(row(&dir, "run", word), vector(word));
    }
    // The vector of a word that is not in the file has the mean and variance of the others.
    let missing = row(&dir, "run", "neg3");
    let mean = missing.iter().sum::<f32>() / 100.0;
    assert!(missing.iter().any(|number| *number != 0.0) && mean.abs() < 0.5);
    // The file is needed neither by the checkpoint nor to resume.
    std::fs::remove_file(dir.path("vectors.vec")).unwrap();
    dir.lstmtext("evaluate run").assert().success();
    dir.train("--resume run --set train.epochs=2");
    assert_eq!(row(&dir, "run", "pos3"), vector("pos3"));
}

#[test]
fn trainable_vectors_start_from_the_file() {
    let dir = with_vectors();
    dir.train("vectors.yaml --out run --set train.learning_rate=0.0001");
    let actual = row(&dir, "run", "pos3");
    let moved =
        actual.iter().zip(vector("pos3")).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
    assert!(moved > 0.0 && moved < 0.02, "{moved}");
    let line = "summary vectors.yaml --json --set text.vocabulary_size=84";
    let summary = stdout_json(&dir.lstmtext(line).assert().success());
    assert_eq!(summary["parameters"], dir.summary("run")["parameters"]);
}

#[test]
fn all_formats_give_the_same_model() {
    let dir = with_vectors();
    let plain = fasttext();
    let lines: Vec<&str> = plain.lines().skip(1).map(str::trim_end).collect();
    let without_header = lines.join("\n");
    let words: String =
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned() + "\n").collect();
    let numbers: Vec<f32> = words.lines().flat_map(vector).collect();
    let dir = dir
        .file("glove.txt", &without_header)
        .file("glove.txt.gz", gzip(without_header.as_bytes()))
        .file("glove.zst", zstd::encode_all(without_header.as_bytes(), 0).unwrap())
        .file("matrix.txt", &words);
    let shape = vec![numbers.len() / 100, 100];
    let matrix = NamedTensor { name: String::new(), shape, values: numbers };
    write_npy(&dir.path("matrix.npy"), &matrix).unwrap();
    dir.train("vectors.yaml --out run");
    for file in ["glove.txt", "glove.txt.gz", "glove.zst", "matrix.npy"] {
        let run = format!("run-{file}");
        dir.train(&format!("vectors.yaml --out {run} --set model.embedding.vectors={file}"));
        assert_eq!(dir.best_weights(&run), dir.best_weights("run"), "{file}");
    }
}

#[test]
fn unusable_vectors_are_rejected() {
    let dir = with_vectors().file("short.vec", fasttext().replace("n5 ", "n5 1.0 ")).file(
        "other.vec",
        "2 100\nx ".to_owned() + &"1 ".repeat(100) + "\ny " + &"2 ".repeat(100) + "\n",
    );
    let fails = |set: &str, words: &[&str]| {
        let line = format!("train vectors.yaml --out run --set {set}");
        assert_fails(dir.lstmtext(&line), 1, words);
        assert!(!dir.path("run").exists(), "a run that could not start leaves no files");
    };
    fails(
        "model.embedding.size=50",
        &["model.embedding.vectors", "vectors.vec", "embedding.size is 50", "100"],
    );
    fails("model.embedding.vectors=short.vec", &["short.vec:"]);
    fails("model.embedding.vectors=other.vec", &["other.vec", "no word of the vocabulary"]);
    fails("model.embedding.vectors=none.vec", &["model.embedding.vectors", "none.vec"]);
}
