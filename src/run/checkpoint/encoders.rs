//! The files of a checkpoint with which texts are encoded.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};

use super::files::OpenFile;
use super::layout::{MANIFEST, compressed, ngrams_file, tokenizer_file, vocabulary_file};
use crate::config::{Input, Inputs, Resolved};
use crate::io::files::{ARRAYS_LIMIT, RECORDS_LIMIT};
use crate::model::named_tensors;
use crate::model::quantization::ShortHashes;
use crate::subwords::Subwords;
use crate::text::{NgramIndex, Vocabulary};

/// Reads a text file, which is compressed in a compact checkpoint.
fn read_text(files: &BTreeMap<String, OpenFile>, name: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = files.get(name) {
        return file.read(RECORDS_LIMIT);
    }
    let file = files.get(&compressed(name));
    let file = file.with_context(|| format!("{MANIFEST} does not list {name}"))?;
    let mut text = Vec::new();
    let unreadable = || format!("cannot decompress \"{}\"", file.path().display());
    let decoder = zstd::stream::read::Decoder::new(file.start()?).with_context(unreadable)?;
    decoder.take(RECORDS_LIMIT + 1).read_to_end(&mut text).with_context(unreadable)?;
    ensure!(
        text.len() as u64 <= RECORDS_LIMIT,
        "{}: it has more than {RECORDS_LIMIT} bytes",
        unreadable()
    );
    Ok(text)
}

/// Reads the vocabulary of an input.
///
/// # Errors
/// Returns an error if the file cannot be read, or has no vocabulary.
pub(super) fn read_vocabulary(
    files: &BTreeMap<String, OpenFile>,
    input: &Input,
) -> anyhow::Result<Vocabulary> {
    let name = vocabulary_file(input);
    let json = read_text(files, &name)?;
    let words: Vec<String> =
        serde_json::from_slice(&json).with_context(|| format!("cannot parse {name}"))?;
    Vocabulary::from_words(words).map_err(|error| anyhow!("{name}: {error}"))
}

/// Reads the subwords of the inputs, and passes them to these configurations.
///
/// # Errors
/// Returns an error if a file cannot be read, or has no subwords.
pub(super) fn read_subwords<'a>(
    files: &BTreeMap<String, OpenFile>,
    inputs: &Inputs,
    configurations: impl Iterator<Item = &'a Resolved> + Clone,
) -> anyhow::Result<()> {
    for (index, input) in inputs.iter().enumerate() {
        if !input.text.tokenizer.has_subwords() {
            continue;
        }
        let name = tokenizer_file(input);
        let subwords = Arc::new(Subwords::parse(read_text(files, &name)?).context(name)?);
        for resolved in configurations.clone() {
            if let Some(input) = resolved.config.inputs.get(index) {
                input.text.tokenizer.set_subwords(subwords.clone());
            }
        }
    }
    Ok(())
}

/// Reads the index of the n-grams of an input, if it has one. A quantized model has short hashes.
///
/// # Errors
/// Returns an error if the file cannot be read, or has no hashes.
pub(super) fn read_ngrams(
    files: &BTreeMap<String, OpenFile>,
    input: &Input,
    is_quantized: bool,
) -> anyhow::Result<Option<NgramIndex>> {
    if !input.ngrams.are_counted() {
        return Ok(NgramIndex::buckets(&input.ngrams));
    }
    let name = ngrams_file(input);
    let file = files.get(&name).with_context(|| format!("{MANIFEST} does not list {name}"))?;
    let bytes = file.read(ARRAYS_LIMIT)?;
    Ok(Some(match is_quantized {
        true => {
            let ShortHashes { bits, hashes } = ShortHashes::parse(&bytes, file.path())?;
            NgramIndex::short(&input.ngrams, bits, &hashes)
        }
        false => {
            let hashes = named_tensors::parse_hashes(&bytes, file.path())?;
            NgramIndex::counted(&input.ngrams, hashes)
        }
    }))
}
