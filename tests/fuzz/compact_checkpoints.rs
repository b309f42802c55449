//! Compact checkpoints.

use std::fs;
use std::path::Path;

use lstmtext::Classifier;
use lstmtext::model::quantization::ShortHashes;
use lstmtext::model::{ModelSpec, NamedTensor, parameters};
use lstmtext::run::checkpoint::{self, Checkpoint, Compaction, Contents, ModelKind};
use lstmtext::run::progress::Progress;
use lstmtext::text::Encoders;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::checkpoints::OpenToAttack;
use crate::configurations::resolved;
use crate::fuzzer::fuzz;

/// Creates a checkpoint of a tiny model with subwords and n-grams.
fn save_checkpoint(path: &Path) {
    let resolved = resolved(
        "data: {train: x}\ntext: {tokenizer: bpe, min_count: 1}\nmodel: {embedding: {size: 3}, \
         ngrams: {sizes: [1, 2], min_count: 1}, lstm: {units: 2, layers: 2}}\n",
    );
    let columns = [vec!["a moving film".to_owned(), "a dull film, a waste".to_owned()]];
    let encoders = Encoders::from_texts(&resolved.config.inputs, &columns).unwrap();
    let labels = ["x".to_owned(), "y".to_owned()];
    let spec = ModelSpec {
        config: &resolved.config,
        vocabulary_sizes: encoders.vocabulary_sizes(),
        ngram_counts: encoders.ngram_counts(),
        classes: labels.len(),
    };
    let weights = parameters(&spec).unwrap().into_iter().map(|parameter| {
        let count: usize = parameter.shape.iter().product();
        let values = (0..count).map(|index| (index % 7) as f32 - 2.5).collect();
        NamedTensor { name: parameter.name, shape: parameter.shape, values }
    });
    let contents = Contents {
        model: ModelKind::Classifier,
        resolved: &resolved,
        labels: &labels,
        encoders: &encoders,
        weights: weights.collect(),
        raw_weights: None,
        optimizer_state: Vec::new(),
        progress: &Progress::default(),
    };
    checkpoint::save(path, &contents).unwrap();
}

/// Loads a checkpoint and predicts.
fn predicts(path: &Path) -> bool {
    let Ok(classifier) = Classifier::load(path) else { return false };
    // Another backend computes with dequantized weights.
    Checkpoint::open(path).unwrap().weights().unwrap();
    classifier.predict(&["a film", "wasteful", ""]).is_ok()
}

/// Returns the part of a file that is mutated alone, because most mutations of its encoding are errors.
fn decoded(name: &str, file: &[u8]) -> Vec<u8> {
    match name {
        "model.safetensors" => header_and_data(file).0.to_vec(),
        "ngrams.safetensors" => {
            let tensors = SafeTensors::deserialize(file).unwrap();
            ["parameters", "code"].map(|name| tensors.tensor(name).unwrap().data()).concat()
        }
        _ => zstd::decode_all(file).unwrap(),
    }
}

/// Returns the file with this content in place of that which [`decoded`] returns.
fn encoded(name: &str, file: &[u8], content: &[u8]) -> Vec<u8> {
    match name {
        "model.safetensors" => {
            let length = (content.len() as u64).to_le_bytes();
            [&length, content, header_and_data(file).1].concat()
        }
        "ngrams.safetensors" => {
            let (parameters, code) = content.split_at(content.len().min(24) / 8 * 8);
            let view = |dtype, count, bytes| TensorView::new(dtype, vec![count], bytes).unwrap();
            let parameters = view(Dtype::U64, parameters.len() / 8, parameters);
            let code = view(Dtype::U8, code.len(), code);
            safetensors::serialize([("parameters", parameters), ("code", code)], None).unwrap()
        }
        _ => zstd::encode_all(content, 1).unwrap(),
    }
}

/// Splits a safetensors file into its header, without the length, and its data.
fn header_and_data(file: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = file.split_first_chunk().unwrap();
    rest.split_at(u64::from_le_bytes(*length) as usize)
}

/// Mutates the files of a compact checkpoint, encoded and decoded.
#[test]
fn compact_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    save_checkpoint(&directory.path().join("best"));
    let whole = Checkpoint::open(&directory.path().join("best")).unwrap();
    let path = directory.path().join("small");
    let compaction = Compaction { quantize: true, vocabulary_size: Some(20), ngrams: Some(30) };
    whole.export_compact(&path, compaction).unwrap();
    let files = OpenToAttack::new(&path);
    for name in
        ["model.safetensors", "ngrams.safetensors", "vocabulary.json.zst", "tokenizer.json.zst"]
    {
        let whole = files.read(name);
        let target = format!("compact checkpoints, {name}");
        fuzz(&target, std::slice::from_ref(&whole), |bytes| {
            files.replace(name, &whole, bytes);
            predicts(&path)
        });
        fuzz(&format!("{target}, decoded"), &[decoded(name, &whole)], |bytes| {
            files.replace(name, &whole, &encoded(name, &whole, bytes));
            predicts(&path)
        });
        files.replace(name, &whole, &whole);
    }
}

#[test]
fn short_hashes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ngrams.safetensors");
    let corpus = [vec![], vec![5, 6, 70_000, 200_000]].map(|hashes| {
        ShortHashes { bits: 18, hashes }.write(&path).unwrap();
        decoded("ngrams.safetensors", &fs::read(&path).unwrap())
    });
    fuzz("short hashes", &corpus, |bytes| {
        let file = encoded("ngrams.safetensors", &[], bytes);
        let Ok(ShortHashes { bits, hashes }) = ShortHashes::parse(&file, &path) else {
            return false;
        };
        assert!(hashes.is_sorted_by(|a, b| a < b));
        assert!(hashes.last().is_none_or(|largest| u64::BITS - largest.leading_zeros() <= bits));
        true
    });
}
