//! `lstmtext data split`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Map, Value};

use crate::cli::{FINE, SetArgs};
use crate::config::{self, Column};
use crate::data::{self, SplitName};
use crate::io::files::{create_parent_directory, replace_directory};
use crate::output::{note, print};

/// Write the training, validation and test examples to files, for other programs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lstmtext data split configs/imdb.yaml --to data/imdb_split")]
pub struct SplitArgs {
    /// The configuration, a YAML file
    config: PathBuf,
    /// New folder that gets train.jsonl, validation.jsonl and, where there is one, test.jsonl
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs the command.
pub fn run(args: SplitArgs) -> anyhow::Result<u8> {
    let config = config::load(&args.config, &args.set.overrides)?.config;
    ensure!(!args.to.exists(), "\"{}\" is there already; name a new folder", args.to.display());
    let mut splits = data::load(&config)?;
    splits.leave_out_long(&config)?;
    let names: Vec<String> = config.inputs.columns().into_iter().map(Column::key).collect();
    let label = config.data.label_column.key();
    ensure!(!names.contains(&label), "the column {label} is both a text and the label");
    // The texts of the file that was read last.
    let mut columns: Option<(PathBuf, Vec<Vec<String>>)> = None;
    create_parent_directory(&args.to)?;
    replace_directory(&args.to, |folder| {
        for name in [SplitName::Train, SplitName::Validation, SplitName::Test] {
            let part = splits.part(name);
            if part.is_empty() {
                continue;
            }
            let path = &part.source.rows.path;
            if columns.as_ref().is_none_or(|(known, _)| known != path) {
                columns = Some((path.clone(), data::read_texts(path, &config)?.1));
            }
            let columns = columns.iter().flat_map(|(_, columns)| columns);
            let mut lines = String::new();
            for (row, class) in part.rows.iter().zip(&part.labels) {
                let texts = columns.clone().map(|texts| Value::from(texts[*row as usize].as_str()));
                let mut line: Map<String, Value> = names.iter().cloned().zip(texts).collect();
                line.insert(label.clone(), splits.labels[*class as usize].as_str().into());
                lines += &serde_json::to_string(&line).context("cannot encode an example")?;
                lines.push('\n');
            }
            let path = folder.join(format!("{name}.jsonl"));
            fs::write(&path, lines)
                .with_context(|| format!("cannot write \"{}\"", path.display()))?;
        }
        Ok(())
    })?;
    splits.notes.iter().for_each(note);
    print(&args.to.display().to_string()).map(|()| FINE)
}
