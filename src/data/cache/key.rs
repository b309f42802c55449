//! Keys of the entries: the contents of the files and the settings of reading and tokenization.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::config::{Column, Config, Format, Labelling, TokenizerKind};
use crate::data::formats::{Labels, Part};
use crate::distributed::Worker;
use crate::io::files::{FileIdentity, open, sha256};
use crate::io::input::inner_extension;

/// Version of the tokenizers and of the file format.
const VERSION: u32 = 7;

/// A file whose content has been hashed.
pub struct HashedFile {
    pub path: PathBuf,
    sha256: String,
    pub identity: FileIdentity,
}

impl HashedFile {
    /// Reads and hashes a file.
    ///
    /// # Errors
    /// Returns an error if it cannot be read.
    pub fn read(path: PathBuf) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<(String, Metadata)> {
            let file = open(&path)?;
            let metadata = file.metadata()?;
            Ok((sha256(&file)?, metadata))
        };
        let (sha256, metadata) =
            read().with_context(|| format!("cannot read \"{}\"", path.display()))?;
        Ok(Self { path, sha256, identity: FileIdentity::of(&metadata) })
    }
}

/// Everything that the tokens depend on.
#[derive(Serialize)]
pub struct CacheKey<'a> {
    version: u32,
    little_endian: bool,
    data: BTreeMap<&'a str, serde_json::Value>,
    inputs: Vec<serde_json::Value>,
    /// Length and SHA-256 of each file.
    files: Vec<(u64, String)>,
}

/// Returns the key of a part of some files.
pub fn cache_key<'a>(
    files: &[HashedFile],
    config: &'a Config,
    labels: Labels,
    part: &Part,
) -> CacheKey<'a> {
    let data = &config.data;
    let known: BTreeSet<&String> = labels.known().iter().chain(&data.labels).collect();
    let columns: Vec<String> = config.inputs.columns().iter().map(|column| column.key()).collect();
    let inputs =
        config.inputs.iter().zip(config.inputs.column_indices()).map(|(input, columns)| {
            let text = &input.text;
            serde_json::json!([
                columns,
                match text.tokenizer.subwords() {
                    Some(subwords) if text.tokenizer.kind == TokenizerKind::File =>
                        subwords.sha256(),
                    _ => text.tokenizer.kind.as_str(),
                },
                text.lowercase,
                text.strip_tags,
                text.version
            ])
        });
    let mut key = CacheKey {
        version: VERSION,
        little_endian: cfg!(target_endian = "little"),
        data: BTreeMap::from([
            ("formats", serde_json::json!(formats(files, data.format))),
            ("columns", serde_json::json!(columns)),
            ("label_column", data.label_column.key().into()),
            ("label_columns", serde_json::json!(data.label_columns)),
            ("label_separator", data.label_separator.as_deref().into()),
            ("several_labels", (data.labelling() == Labelling::Several).into()),
            ("group", data.split.group.as_ref().map(Column::key).into()),
            ("header", data.header.into()),
            ("delimiter", data.delimiter.to_string().into()),
            ("quoting", data.quoting.as_str().into()),
            ("encoding", data.encoding.to_string().into()),
            ("filter", serde_json::json!(data.filter)),
            ("known_labels", serde_json::json!(known)),
            ("label_names", serde_json::json!(data.label_names)),
            ("broken_lines", data.broken_lines.as_str().into()),
            ("version", data.version.into()),
        ]),
        inputs: inputs.collect(),
        files: files.iter().map(|file| (file.identity.bytes(), file.sha256.clone())).collect(),
    };
    if !labels.are_required() {
        key.data.insert("labels", "ignored".into());
    }
    if let Part::EveryNth(Worker { rank, world_size }) = part {
        key.data.insert("part", serde_json::json!([rank, world_size]));
    }
    key
}

/// Returns the format of each file, or the extension that determines it.
fn formats(files: &[HashedFile], format: Format) -> Vec<String> {
    let of_file = |file: &HashedFile| match format {
        Format::Auto => inner_extension(&file.path).unwrap_or_default(),
        named => named.as_str().to_owned(),
    };
    files.iter().map(of_file).collect()
}
