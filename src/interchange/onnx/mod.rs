//! Models as ONNX files, for ONNX Runtime and others.
//!
//! | input | shape | content |
//! |---|---|---|
//! | `ids` | [B, T] | ids of the words, if there is an LSTM |
//! | `lengths` | `[B]` | number of ids without padding |
//! | `ngrams` | [B, N] | rows of the n-grams, if there are any; shorter lists are padded with the number of all rows |
//!
//! With several inputs, each has these under names such as `story_ids`. With `pad: back`, any number of
//! tokens is accepted, and ids beyond a text's length are ignored. With `front`, every text has max_length
//! ids, padded in front. All inputs are 64-bit integers.
//!
//! | output | shape | content |
//! |---|---|---|
//! | `logits` | [B, 1] or [B, C] | logits of the network |
//! | `probabilities` | [B, C] | probability of each label, calibrated if the model is |
//!
//! The metadata entry `lstmtext` holds the contents of `model.json`. If the tokenizer of an input has
//! subwords, the entry that `tokenizer.file` names in it holds them.

mod graph;
mod messages;
mod network;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use prost::Message;

use self::messages::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::description::model_json;
use crate::config::Config;
use crate::io::replace::create_file;
use crate::model::{ModelSpec, compose_embeddings};
use crate::output::format::format_bytes;
use crate::run::checkpoint::{Checkpoint, tokenizer_file};

/// Version of the operators, which ONNX Runtime has read since 1.12.
const OPERATOR_SET: i64 = 17;
/// Version of the file format that came with these operators.
const IR_VERSION: i64 = 8;
/// Name of the metadata entry with the description of the model.
const DESCRIPTION: &str = "lstmtext";
/// Maximum size of a Protocol Buffers message, and therefore of a file.
const MAX_BYTES: usize = i32::MAX as usize;

/// Writes a model to the new file `path`.
///
/// # Errors
/// Returns an error if the checkpoint is damaged, the model is too large for the format, or the file exists
/// or cannot be written.
pub fn export(checkpoint: &Checkpoint, path: &Path) -> anyhow::Result<()> {
    let model = model(checkpoint)?;
    check_size(model.encoded_len())
        .with_context(|| format!("cannot write \"{}\"", path.display()))?;
    let bytes = model.encode_to_vec();
    drop(model);
    create_file(path, |file| Ok(file.write_all(&bytes)?))
}

fn model(checkpoint: &Checkpoint) -> anyhow::Result<ModelProto> {
    let metadata_props = metadata(checkpoint)?;
    let mut weights = checkpoint.weights()?;
    let inputs = &checkpoint.resolved.config.inputs;
    compose_embeddings(inputs, &checkpoint.encoders, &mut weights);
    let scaling = checkpoint.calibration.as_ref().map(|calibration| &calibration.scaling);
    let spec = checkpoint.model_spec();
    let config = Config { inputs: inputs.with_plain_embeddings(), ..spec.config.clone() };
    let spec = ModelSpec { config: &config, ..spec };
    let graph = network::graph(&spec, weights, scaling).with_context(|| checkpoint.unusable())?;
    Ok(ModelProto { graph: Some(graph), metadata_props, ..empty_model() })
}

/// Returns a model without a graph.
fn empty_model() -> ModelProto {
    let operators = OperatorSetIdProto { domain: Some(String::new()), version: Some(OPERATOR_SET) };
    ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: "lstmtext".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![operators],
        ..ModelProto::default()
    }
}

/// Returns the description of the model and the subwords of its tokenizers.
fn metadata(checkpoint: &Checkpoint) -> anyhow::Result<Vec<StringStringEntryProto>> {
    let mut entries = vec![entry(DESCRIPTION.to_owned(), model_json(checkpoint)?)?];
    for (input, encoder) in checkpoint.resolved.config.inputs.iter().zip(&*checkpoint.encoders) {
        if let Some(subwords) = encoder.subwords() {
            entries.push(entry(tokenizer_file(input), subwords.json().to_vec())?);
        }
    }
    Ok(entries)
}

fn entry(key: String, json: Vec<u8>) -> anyhow::Result<StringStringEntryProto> {
    let value = String::from_utf8(json).with_context(|| format!("{key} is not UTF-8"))?;
    Ok(StringStringEntryProto { key, value })
}

fn check_size(bytes: usize) -> anyhow::Result<()> {
    ensure!(
        bytes <= MAX_BYTES,
        "the model takes {}, but an ONNX file cannot be larger than 2 GiB; export a directory for PyTorch, \
         or train a model with a smaller vocabulary or fewer n-grams",
        format_bytes(bytes as u64)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::graph::{Dimension, GraphBuilder};
    use super::messages::AttributeProto;
    use super::*;

    /// Contains every message and field. The bytes are those of the Python package onnx 1.23:
    ///
    /// ```python
    /// from onnx import TensorProto, helper
    /// weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], bytes.fromhex("0000803f000000c0"), raw=True)
    /// ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 3])
    /// logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"])
    /// nodes = [
    ///     helper.make_node("Gather", ["w", "ids"], ["Gather/1"], "Gather/1", axis=0),
    ///     helper.make_node("LSTM", ["Gather/1"], ["LSTM/2"], "LSTM/2", axes=[1, 0], direction="forward"),
    ///     helper.make_node("Identity", ["LSTM/2"], ["logits"], "logits"),
    /// ]
    /// graph = helper.make_graph(nodes, "lstmtext", [ids], [logits], [weight])
    /// opset = [helper.make_opsetid("", 17)]
    /// model = helper.make_model(
    ///     graph, producer_name="lstmtext", producer_version="1", opset_imports=opset, ir_version=8)
    /// helper.set_model_props(model, {"lstmtext": "{}"})
    /// print(model.SerializeToString(deterministic=True))
    /// ```
    #[test]
    fn messages_are_encoded_like_those_of_the_python_package() {
        let mut graph = GraphBuilder::default();
        let ids = graph.input("ids".to_owned(), &[Dimension::batch(), Dimension::Fixed(3)]);
        let weight = graph.floats("w".to_owned(), &[2, 1], vec![1.0, -2.0]);
        let axis = AttributeProto::int("axis", 0);
        let states = graph.apply_with("Gather", &[&weight, &ids], vec![axis]);
        let attributes = vec![
            AttributeProto::ints("axes", &[1, 0]),
            AttributeProto::string("direction", "forward"),
        ];
        let logits = graph.apply_with("LSTM", &[&states], attributes);
        graph.output("logits", &logits, &[Dimension::batch()]);
        let model = ModelProto {
            producer_version: "1".to_owned(),
            graph: Some(graph.finish("lstmtext")),
            metadata_props: vec![entry("lstmtext".to_owned(), b"{}".to_vec()).unwrap()],
            ..empty_model()
        };
        let expected: &[&[u8]] = &[
            b"\x08\x08\x12\x08lstmtext\x1a\x011:\xf7\x01",
            b"\n1\n\x01w\n\x03ids\x12\x08Gather/1\x1a\x08Gather/1\"\x06Gather",
            b"*\x0b\n\x04axis\x18\x00\xa0\x01\x02",
            b"\nH\n\x08Gather/1\x12\x06LSTM/2\x1a\x06LSTM/2\"\x04LSTM",
            b"*\r\n\x04axes@\x01@\x00\xa0\x01\x07*\x17\n\tdirection\"\x07forward\xa0\x01\x03",
            b"\n\"\n\x06LSTM/2\x12\x06logits\x1a\x06logits\"\x08Identity\x12\x08lstmtext",
            b"*\x13\x08\x02\x08\x01\x10\x01B\x01wJ\x08\x00\x00\x80?\x00\x00\x00\xc0",
            b"Z\x1a\n\x03ids\x12\x13\n\x11\x08\x07\x12\r\n\x07\x12\x05batch\n\x02\x08\x03",
            b"b\x19\n\x06logits\x12\x0f\n\r\x08\x01\x12\t\n\x07\x12\x05batch",
            b"B\x04\n\x00\x10\x11r\x0e\n\x08lstmtext\x12\x02{}",
        ];
        assert_eq!(model.encode_to_vec(), expected.concat());
    }

    #[test]
    fn a_model_that_is_too_large_for_the_format_is_an_error() {
        assert!(check_size((1 << 31) - 1).is_ok());
        let error = check_size(1 << 31).unwrap_err().to_string();
        assert!(error.contains("takes 2.1 GB") && error.contains("2 GiB"), "{error}");
    }
}
