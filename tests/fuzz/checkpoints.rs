//! Weights and checkpoints.

use std::fs;
use std::path::Path;

use lstmtext::backend::native::NativeInference;
use lstmtext::io::files::sha256;
use lstmtext::model::named_tensors::{self, NamedTensor};
use lstmtext::run::checkpoint::{self, Checkpoint, Contents, ModelKind};
use lstmtext::run::progress::Progress;
use lstmtext::text::Encoders;

use crate::configurations::resolved;
use crate::fuzzer::fuzz;

/// Creates a tensor of halves.
fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
    let values = vec![0.5; shape.iter().product()];
    NamedTensor { name: name.into(), shape: shape.to_vec(), values }
}

#[test]
fn weights() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.safetensors");
    named_tensors::write(&path, &[tensor("a", &[2, 3]), tensor("b", &[]), tensor("c", &[0])])
        .unwrap();
    let corpus = [fs::read(&path).unwrap()];
    fuzz("weights", &corpus, |bytes| {
        fs::write(&path, bytes).unwrap();
        named_tensors::read(&path).is_ok()
    });
}

/// Creates a checkpoint of a tiny model.
pub fn save_checkpoint(path: &Path) {
    let resolved = resolved(
        "data: {train: x}\ntext: {min_count: 1}\nmodel: {embedding: {size: 2}, ngrams: null, \
         lstm: {units: 1, bidirectional: false}}\n",
    );
    let columns = [vec!["a b".to_owned(), "b c".to_owned()]];
    let encoders = Encoders::from_texts(&resolved.config.inputs, &columns).unwrap();
    let weights = vec![
        tensor("embedding.weight", &[7, 2]),
        tensor("lstm.weight_ih_l0", &[4, 2]),
        tensor("lstm.weight_hh_l0", &[4, 1]),
        tensor("lstm.bias_ih_l0", &[4]),
        tensor("lstm.bias_hh_l0", &[4]),
        tensor("head.weight", &[1, 1]),
        tensor("head.bias", &[1]),
    ];
    let labels = ["x".to_owned(), "y".to_owned()];
    let contents = Contents {
        model: ModelKind::Classifier,
        resolved: &resolved,
        labels: &labels,
        encoders: &encoders,
        raw_weights: Some(weights.clone()),
        optimizer_state: weights.clone(),
        weights,
        progress: &Progress::default(),
    };
    checkpoint::save(path, &contents).unwrap();
}

/// A checkpoint whose files are replaced, with their hashes, as an attacker would.
pub struct OpenToAttack<'a> {
    path: &'a Path,
    manifest: String,
}

impl<'a> OpenToAttack<'a> {
    pub fn new(path: &'a Path) -> Self {
        let manifest = fs::read_to_string(path.join("checkpoint.json")).unwrap();
        Self { path, manifest }
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path.join(name)).unwrap()
    }

    /// Writes the file `name`, which was `whole`, and no other one is changed.
    pub fn replace(&self, name: &str, whole: &[u8], bytes: &[u8]) {
        let entry = |bytes: &[u8]| {
            let hash = sha256(bytes).unwrap();
            format!("\"bytes\": {},\n      \"sha256\": \"{hash}\"", bytes.len())
        };
        let (start, _) = self.manifest.rsplit_once("\"sha256\"").unwrap();
        let unsealed = start.replace(&entry(whole), &entry(bytes)) + "\"sha256\": \"\"\n}\n";
        let seal = format!("\"sha256\": \"{}\"\n}}\n", sha256(unsealed.as_bytes()).unwrap());
        let sealed = unsealed.replace("\"sha256\": \"\"\n}\n", &seal);
        fs::write(self.path.join("checkpoint.json"), sealed).unwrap();
        fs::write(self.path.join(name), bytes).unwrap();
    }
}

#[test]
fn checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("best");
    save_checkpoint(&path);
    let files = OpenToAttack::new(&path);
    for name in
        ["config.yaml", "vocabulary.json", "progress.json", "model.safetensors", "raw.safetensors"]
    {
        let whole = files.read(name);
        fuzz(&format!("checkpoints, {name}"), std::slice::from_ref(&whole), |bytes| {
            files.replace(name, &whole, bytes);
            let Ok(checkpoint) = Checkpoint::open(&path) else { return false };
            checkpoint.progress().is_ok()
                && checkpoint.optimizer_state().is_ok()
                && checkpoint.raw_weights().is_ok()
                && checkpoint
                    .weights()
                    .and_then(|weights| NativeInference::new(&checkpoint.model_spec(), weights))
                    .is_ok()
        });
        fs::write(path.join(name), whole).unwrap();
    }
}
