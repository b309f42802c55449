//! Compact checkpoints, which are exported for prediction.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, ensure};

use super::layout::{
    CALIBRATION, COMPACT_VERSION, CONFIG, CheckpointManifest, CompactRecord, FORMAT, FileEntry,
    MANIFEST, MODEL, OPTIMIZER, PROGRESS, Precision, RAW, compressed, ngrams_file, tokenizer_file,
    vocabulary_file, write_json,
};
use super::{Checkpoint, copy};
use crate::config::{ConfigError, Input};
use crate::io::files::{ARRAYS_LIMIT, create_parent_directory, json_content};
use crate::io::replace::create_directory;
use crate::model::parameters::{embedding_name, ngram_value_name, ngram_weight_name};
use crate::model::pruning::{average_rows, largest_rows, select_rows};
use crate::model::quantization::{self, ShortHashes};
use crate::model::{ModelSpec, NamedTensor, StoredTensor, named_tensors, parameters};
use crate::run::manifest::Manifest;
use crate::text::{Encoder, FIRST_WORD, NgramIndex, OOV};

/// Level of the compression of vocabularies, with which Zstandard is still fast.
const COMPRESSION_LEVEL: i32 = 19;

/// Changes that make a checkpoint smaller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compaction {
    /// Stores the weights as 8-bit integers.
    pub quantize: bool,
    /// Maximum vocabulary size of each input, special ids included.
    pub vocabulary_size: Option<usize>,
    /// Maximum number of n-grams of each input.
    pub ngrams: Option<usize>,
}

/// Bytes of the files of a checkpoint without optimizer state and weights before averaging.
#[derive(Clone, Copy, Debug)]
pub struct CompactSizes {
    /// Bytes of the exported checkpoint.
    pub before: u64,
    /// Bytes of the compact checkpoint.
    pub after: u64,
}

/// An input of a compact model.
struct CompactInput {
    /// Words by id.
    words: Vec<Box<str>>,
    ngrams: CompactNgrams,
}

/// The n-grams of an input.
enum CompactNgrams {
    /// There are none, or they are hashed to buckets.
    Unlisted,
    /// Hashes in the order of their rows.
    Full(Vec<u64>),
    /// Leading bits of the hashes.
    Short(ShortHashes),
}

impl CompactNgrams {
    fn count(&self, encoder: &Encoder) -> usize {
        match self {
            Self::Unlisted => encoder.ngrams().map_or(0, NgramIndex::len),
            Self::Full(hashes) => hashes.len(),
            Self::Short(short) => short.hashes.len(),
        }
    }
}

impl Checkpoint {
    /// Returns true if the weights are 8-bit integers.
    pub fn is_quantized(&self) -> bool {
        self.manifest.is_quantized()
    }

    /// Checks that the weights and the hashes of n-grams have full precision.
    ///
    /// # Errors
    /// Returns an error if the model is quantized.
    pub fn check_precision(&self) -> anyhow::Result<()> {
        ensure!(
            !self.is_quantized(),
            "\"{}\" is quantized to 8-bit integers for prediction; pass the checkpoint from which it was exported",
            self.path.display()
        );
        Ok(())
    }

    /// Reads the tensors of a quantized model; `None` if the weights are in single precision.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or has impossible values or other quantized tensors than the model.
    pub fn quantized_weights(&self) -> anyhow::Result<Option<Vec<StoredTensor>>> {
        if !self.is_quantized() {
            return Ok(None);
        }
        let file = &self.files[MODEL];
        let read = || {
            let parameters = parameters(&self.model_spec())?;
            quantization::parse(&file.read(ARRAYS_LIMIT)?, file.path(), &parameters)
        };
        read().map(Some).with_context(|| self.unusable())
    }

    /// Writes a compact checkpoint to the new directory `path`.
    ///
    /// # Errors
    /// Returns an error if the model is quantized already, if it has no words or n-grams to select from, if `path`
    /// exists, or if a file cannot be written.
    pub fn export_compact(
        &self,
        path: &Path,
        compaction: Compaction,
    ) -> anyhow::Result<CompactSizes> {
        self.check_precision()?;
        let inputs = &self.resolved.config.inputs;
        compaction.check(inputs)?;
        let mut weights = self.weights()?;
        let mut compact = Vec::new();
        for (input, encoder) in inputs.iter().zip(&*self.encoders) {
            let words = select_words(input, encoder, compaction, &mut weights);
            let ngrams = select_ngrams(input, encoder, compaction, &mut weights);
            compact.push(CompactInput { words, ngrams });
        }
        let counts = compact.iter().zip(&*self.encoders);
        let spec = ModelSpec {
            vocabulary_sizes: compact.iter().map(|input| input.words.len()).collect(),
            ngram_counts: counts.map(|(input, encoder)| input.ngrams.count(encoder)).collect(),
            ..self.model_spec()
        };
        create_parent_directory(path)?;
        let mut files = BTreeMap::new();
        create_directory(path, |directory| {
            match compaction.quantize {
                true => {
                    let tensors = quantization::quantized(&spec, weights)?;
                    quantization::write(&directory.join(MODEL), &tensors)?;
                }
                false => named_tensors::write(&directory.join(MODEL), &weights)?,
            }
            let mut names = vec![MODEL.to_owned()];
            for name in [CONFIG, PROGRESS, CALIBRATION] {
                if let Some(file) = self.files.get(name) {
                    copy(file, &directory.join(name))?;
                    names.push(name.to_owned());
                }
            }
            for ((input, encoder), compact) in inputs.iter().zip(&*self.encoders).zip(&compact) {
                let words = (vocabulary_file(input), json_content(&compact.words)?);
                let subwords = encoder.subwords();
                let subwords = subwords.map(|subwords| (tokenizer_file(input), subwords.json()));
                write_compressed(directory, &words.0, words.1.as_ref(), &mut names)?;
                if let Some((name, json)) = subwords {
                    write_compressed(directory, &name, json, &mut names)?;
                }
                let name = ngrams_file(input);
                match &compact.ngrams {
                    CompactNgrams::Unlisted => continue,
                    CompactNgrams::Full(hashes) => {
                        named_tensors::write_hashes(&directory.join(&name), hashes)?;
                    }
                    CompactNgrams::Short(hashes) => hashes.write(&directory.join(&name))?,
                }
                names.push(name);
            }
            for name in names {
                let entry = FileEntry::of(&directory.join(&name))?;
                files.insert(name, entry);
            }
            let precision = if compaction.quantize { Precision::Int8 } else { Precision::Float32 };
            let manifest = CheckpointManifest {
                model: self.manifest.model,
                format: FORMAT.into(),
                version: COMPACT_VERSION,
                lstmtext: env!("CARGO_PKG_VERSION").into(),
                labels: self.labels.clone(),
                files: files.clone(),
                compact: Some(CompactRecord { precision, source: self.sha256().to_owned() }),
                sha256: String::new(),
            };
            write_json(&directory.join(MANIFEST), &manifest.seal()?)
        })?;
        let kept = self.manifest.files.iter();
        let kept = kept.filter(|(name, _)| ![OPTIMIZER, RAW].contains(&name.as_str()));
        Ok(CompactSizes {
            before: kept.map(|(_, entry)| entry.bytes).sum(),
            after: files.values().map(|entry| entry.bytes).sum(),
        })
    }
}

impl Compaction {
    /// Checks that some input has what is to be selected.
    fn check(self, inputs: &[Input]) -> Result<(), ConfigError> {
        if self.vocabulary_size.is_some() && !inputs.iter().any(Input::has_lstm) {
            return Err(ConfigError::new(
                "--vocabulary-size selects words by their vectors, but the model has none (model.lstm: null); \
                 --ngrams selects n-grams",
            ));
        }
        if self.ngrams.is_some() && !inputs.iter().any(|input| input.ngrams.are_counted()) {
            let reason = match inputs.iter().any(|input| input.ngrams.is_on()) {
                true => "the n-grams of the model are hashed to buckets (model.ngrams.buckets)",
                false => "the model has no n-grams",
            };
            return Err(ConfigError::new(format!("--ngrams: {reason}, so none can be selected")));
        }
        Ok(())
    }
}

fn tensor_mut(weights: &mut [NamedTensor], name: String) -> Option<&mut NamedTensor> {
    weights.iter_mut().find(|tensor| tensor.name == name)
}

/// Keeps the special ids and the words with the largest vectors. Returns the words by id.
///
/// All others become unknown. Their vectors are small, but that of the unknown words of the training texts need not
/// be, and it would now stand for many more words. So it becomes the mean over all words that it stands for, weighted by
/// their frequency: by Zipf's law, that of the word of rank r is proportional to 1/r. The unknown words of the training texts
/// count as V further words, of the ranks V + 1 to 2 V: the sum of their weights is ln 2.
fn select_words(
    input: &Input,
    encoder: &Encoder,
    compaction: Compaction,
    weights: &mut [NamedTensor],
) -> Vec<Box<str>> {
    let words = encoder.vocabulary().words();
    let embedding = tensor_mut(weights, embedding_name(input));
    let (Some(size), Some(embedding)) = (compaction.vocabulary_size, embedding) else {
        return words.to_vec();
    };
    let columns = embedding.shape[1];
    let rows = largest_rows(&embedding.values, columns, FIRST_WORD as usize, size);
    if rows.len() < words.len() {
        let first = FIRST_WORD as usize;
        let pruned = (first..words.len()).filter(|row| rows.binary_search(row).is_err());
        let pruned = pruned.map(|row| (row, 1.0 / (row + 1 - first) as f64));
        average_rows(embedding, OOV as usize, std::f64::consts::LN_2, pruned);
    }
    select_rows(embedding, &rows);
    rows.iter().map(|row| words[*row].clone()).collect()
}

/// Keeps the n-grams that add most to the logits: weight · value. If the model is quantized, shortens their hashes and sorts
/// the n-grams by them.
fn select_ngrams(
    input: &Input,
    encoder: &Encoder,
    compaction: Compaction,
    weights: &mut [NamedTensor],
) -> CompactNgrams {
    let Some(hashes) = encoder.ngrams().and_then(NgramIndex::hashes) else {
        return CompactNgrams::Unlisted;
    };
    let value = tensor_mut(weights, ngram_value_name(input)).map(|tensor| tensor.values.clone());
    let Some(weight) = tensor_mut(weights, ngram_weight_name(input)) else {
        return CompactNgrams::Unlisted;
    };
    let columns = weight.shape[1];
    let mut products = weight.values.clone();
    for (product, value) in products.iter_mut().zip(value.iter().flatten()) {
        *product *= value;
    }
    let mut rows = match compaction.ngrams {
        Some(count) => largest_rows(&products, columns, 0, count),
        None => (0..hashes.len()).collect(),
    };
    let mut short = None;
    if compaction.quantize {
        let bits = ShortHashes::bits_for(rows.len());
        let leading = |row: &usize| hashes[*row] >> (u64::BITS - bits);
        let square = |row: usize| -> f32 {
            products[row * columns..][..columns].iter().map(|product| product * product).sum()
        };
        // Of n-grams with the same bits, the one that adds most is kept.
        rows.sort_by(|a, b| leading(a).cmp(&leading(b)).then(square(*b).total_cmp(&square(*a))));
        rows.dedup_by_key(|row| leading(row));
        short = Some(ShortHashes { bits, hashes: rows.iter().map(leading).collect() });
    }
    for name in [ngram_weight_name(input), ngram_value_name(input)] {
        if let Some(tensor) = tensor_mut(weights, name) {
            select_rows(tensor, &rows);
        }
    }
    match short {
        Some(short) => CompactNgrams::Short(short),
        None => CompactNgrams::Full(rows.iter().map(|row| hashes[*row]).collect()),
    }
}

/// Writes a compressed file, and adds its name.
fn write_compressed(
    directory: &Path,
    name: &str,
    content: &[u8],
    names: &mut Vec<String>,
) -> anyhow::Result<()> {
    let name = compressed(name);
    let path = directory.join(&name);
    let write = || zstd::stream::copy_encode(content, File::create(&path)?, COMPRESSION_LEVEL);
    write().with_context(|| format!("cannot write \"{}\"", path.display()))?;
    names.push(name);
    Ok(())
}
