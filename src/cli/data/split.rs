//! `lstmtext data split`.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Map, Value};

use crate::cli::arguments::SetArgs;
use crate::cli::exit::SUCCESS;
use crate::config::{Column, Config, Labelling};
use crate::data::check::duplicates::overlap;
use crate::data::{self, DataSplits, Labels, SplitName, Target};
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
    let mut config = args.set.load(&args.config)?.config;
    ensure_new(&args.to)?;
    config.data.multi_label = Some(data::has_several_labels(&config, None)?);
    let mut splits = data::load(&config, None)?;
    splits.drop_long_texts(&config)?;
    create_parent_directory(&args.to)?;
    create_directory(&args.to, |directory| {
        let parts = SplitName::ALL.map(|name| (name.to_string(), vec![name]));
        write_parts(&config, &splits, directory, &parts)
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

/// Writes examples to JSON lines files in a directory. `parts` has the name of each file and the splits whose examples
/// it is to contain; those without examples are left out.
///
/// # Errors
/// Returns an error if a column is both a text and a label, if the data can no longer be read, or if a file cannot be
/// written.
pub fn write_parts(
    config: &Config,
    splits: &DataSplits,
    directory: &Path,
    parts: &[(String, Vec<SplitName>)],
) -> anyhow::Result<()> {
    let names: Vec<String> = config.inputs.columns().into_iter().map(Column::key).collect();
    let labels = LabelKeys::of(config, &splits.labels);
    for key in labels.keys() {
        ensure!(!names.contains(key), "the column {key} is both a text and a label");
    }
    // Texts of the most recent file, since all splits may come from one file.
    let mut columns: Option<(PathBuf, Vec<Vec<String>>)> = None;
    for (name, of_part) in parts {
        let mut lines = String::new();
        for examples in of_part.iter().map(|name| splits.split(*name)) {
            if examples.is_empty() {
                continue;
            }
            let path = &examples.source.rows.path;
            if columns.as_ref().is_none_or(|(cached, _)| cached != path) {
                let known = &examples.source.known_labels;
                columns = Some((
                    path.clone(),
                    data::read_texts(path, config, Labels::Required { known })?.1,
                ));
            }
            let columns = columns.iter().flat_map(|(_, columns)| columns);
            for (row, target) in examples.rows.iter().zip(examples.targets.iter()) {
                let texts = columns.clone().map(|texts| Value::from(texts[*row as usize].as_str()));
                let mut line: Map<String, Value> = names.iter().cloned().zip(texts).collect();
                labels.insert(target, &mut line);
                lines += &serde_json::to_string(&line).context("cannot encode an example")?;
                lines.push('\n');
            }
        }
        if !lines.is_empty() {
            write(&directory.join(format!("{name}.jsonl")), lines)?;
        }
    }
    Ok(())
}

/// Keys of the labels, from which the same configuration reads them again.
struct LabelKeys<'a> {
    labelling: Labelling,
    classes: &'a [String],
    /// Key of the label or of a list of labels, unless each label has a key.
    label: Option<String>,
    /// Key of each class; none if only labels have one.
    columns: Vec<String>,
}

impl<'a> LabelKeys<'a> {
    /// Returns the keys of this configuration. Columns that are renamed to the same label become one.
    fn of(config: &Config, classes: &'a [String]) -> Self {
        let (data, is_distilled) = (&config.data, config.train.distillation.weight.is_some());
        let key = |class: &String| {
            let is_renamed = |column: &&String| data.class_name(column) == *class;
            let columns: Vec<&String> = data.label_columns.iter().filter(is_renamed).collect();
            match columns[..] {
                [column] => column.clone(),
                _ => class.clone(),
            }
        };
        let has_label = data.label_columns.is_empty() || is_distilled;
        Self {
            labelling: data.labelling(),
            classes,
            label: has_label.then(|| data.label_column.key()),
            columns: match data.label_columns.is_empty() {
                true => Vec::new(),
                false => classes.iter().map(key).collect(),
            },
        }
    }

    fn keys(&self) -> impl Iterator<Item = &String> {
        self.label.iter().chain(&self.columns)
    }

    /// Adds the labels of an example to its object.
    fn insert(&self, target: Target, line: &mut Map<String, Value>) {
        if let Some(key) = &self.label {
            let labels = target.labels(self.labelling).into_iter();
            let mut labels = labels.map(|label| Value::from(self.classes[label as usize].as_str()));
            let value = match self.labelling {
                Labelling::One => labels.next().unwrap_or(Value::Null),
                Labelling::Several => labels.collect(),
            };
            line.insert(key.clone(), value);
        }
        let share = |class: usize| match target {
            Target::Distilled { teacher, .. } => f64::from(teacher[class]),
            target => target.share(class),
        };
        // The probabilities of another model are those of training examples only.
        if self.label.is_none() || matches!(target, Target::Distilled { .. }) {
            let values = (0..self.columns.len()).map(|class| number(share(class)));
            line.extend(self.columns.iter().cloned().zip(values));
        }
    }
}

/// Returns a number that is 0, 1 or a 32-bit number, as short as possible.
fn number(value: f64) -> Value {
    let shortest = || (value as f32).to_string().parse::<f64>().unwrap_or(value);
    if value.fract() == 0.0 { Value::from(value as u64) } else { Value::from(shortest()) }
}
