//! `lstmtext data split`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Map, Value};

use crate::cli::arguments::SetArgs;
use crate::cli::exit::SUCCESS;
use crate::config::Column;
use crate::data::check::duplicates::overlap;
use crate::data::{self, Labels, SplitName, Target};
use crate::io::files::{create_parent_directory, write};
use crate::io::replace::{create_directory, ensure_new};
use crate::output::{note, print_data};

/// Write the training, validation and test examples to JSON lines files
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lstmtext data split configs/imdb.yaml --to data/imdb_split")]
pub struct SplitArgs {
    /// Configuration file (YAML)
    config: PathBuf,
    /// Directory to create, with train.jsonl, validation.jsonl and, if there are test examples,
    /// test.jsonl
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs the command.
pub fn run(args: SplitArgs) -> anyhow::Result<u8> {
    let config = args.set.load(&args.config)?.config;
    ensure_new(&args.to)?;
    let mut splits = data::load(&config)?;
    splits.drop_long_texts(&config)?;
    let names: Vec<String> = config.inputs.columns().into_iter().map(Column::key).collect();
    let label_key = config.data.label_column.key();
    ensure!(!names.contains(&label_key), "the column {label_key} is both a text and the label");
    // Texts of the most recent file, since all splits may come from one file.
    let mut columns: Option<(PathBuf, Vec<Vec<String>>)> = None;
    create_parent_directory(&args.to)?;
    create_directory(&args.to, |directory| {
        for name in SplitName::ALL {
            let examples = splits.split(name);
            if examples.is_empty() {
                continue;
            }
            let path = &examples.source.rows.path;
            if columns.as_ref().is_none_or(|(cached, _)| cached != path) {
                let known = &examples.source.known_labels;
                columns = Some((
                    path.clone(),
                    data::read_texts(path, &config, Labels::Required { known })?.1,
                ));
            }
            let columns = columns.iter().flat_map(|(_, columns)| columns);
            let mut lines = String::new();
            for (row, target) in examples.rows.iter().zip(examples.targets.iter()) {
                let texts = columns.clone().map(|texts| Value::from(texts[*row as usize].as_str()));
                let mut line: Map<String, Value> = names.iter().cloned().zip(texts).collect();
                line.insert(label_key.clone(), to_json(target, &splits.labels));
                lines += &serde_json::to_string(&line).context("cannot encode an example")?;
                lines.push('\n');
            }
            let path = directory.join(format!("{name}.jsonl"));
            write(&path, lines)?;
        }
        Ok(())
    })?;
    splits.findings.iter().for_each(note);
    for name in [SplitName::Validation, SplitName::Test] {
        let examples = splits.split(name);
        let count = examples.shared_with(&splits.train);
        overlap(count, examples.len(), "training", &format!("{name} "), &config.data)
            .iter()
            .for_each(note);
    }
    print_data(&args.to.display().to_string()).map(|()| SUCCESS)
}

/// Converts a target to JSON: a label, an array of labels, or an object with probabilities.
fn to_json(target: Target, labels: &[String]) -> Value {
    let name = |label: &u32| labels[*label as usize].clone();
    match target {
        Target::Label(label) => name(&label).into(),
        Target::LabelSet(set) => set.iter().map(name).collect(),
        Target::Probabilities(probabilities) | Target::Distilled { labels: probabilities, .. } => {
            let pairs = labels.iter().cloned().zip(probabilities);
            Value::Object(
                pairs.map(|(label, probability)| (label, (*probability).into())).collect(),
            )
        }
    }
}
