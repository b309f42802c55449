//! Number of labels per text, where the data tells it, and targets with the probabilities of another model.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::config::{Config, DataConfig, Format, Labelling};
use crate::data::examples::{Examples, read_nonempty_source, with_classes};
use crate::data::formats::{Labels, SUM_TOLERANCE, expand_pattern, format_of};
use crate::data::guess::Sample;
use crate::data::sharding::Sharing;
use crate::data::targets::Targets;

/// Returns true if a text can have several labels. Without `data.multi_label`, the training data tells it: the
/// labels in `data.label_columns` exclude each other if the values are fractions that add up to 1 in most
/// rows, and JSON objects have several labels if they are in lists.
///
/// # Errors
/// Returns an error if the training data must be read and this fails.
pub fn has_several_labels(config: &Config, sharing: Sharing) -> anyhow::Result<bool> {
    let data = &config.data;
    if data.multi_label.is_some() || data.label_separator.is_some() {
        return Ok(data.labelling() == Labelling::Several);
    }
    if data.label_columns.is_empty() {
        return Ok(has_lists(data));
    }
    if config.train.distillation.weight.is_some() {
        return Ok(config.without_teacher().data.labelling() == Labelling::Several);
    }
    // The values that add up to 1 are those of the columns in the file.
    let mut raw = config.clone();
    raw.data.label_names.clear();
    let source = read_nonempty_source(&data.train, &raw, Labels::Required { known: &[] }, sharing);
    let source = source.context("data.train")?;
    let Targets::Probabilities { classes, probabilities } = &source.rows.targets else {
        return Ok(true);
    };
    let sum = |row: &[f32]| row.iter().map(|value| f64::from(*value)).sum::<f64>();
    let is_distribution = |row: &&[f32]| (sum(row) - 1.0).abs() <= SUM_TOLERANCE;
    let distributions = probabilities.chunks_exact(*classes).filter(is_distribution).count();
    Ok(2 * distributions <= source.rows.len())
}

/// Returns the configuration by which labels are read: without the columns of another model, and with what the
/// data tells about the number of labels per text. Both configurations get the tokenizers in files, but subwords
/// that one learns are not those of the other.
///
/// # Errors
/// Returns an error if a tokenizer cannot be read, and those of [`has_several_labels`].
pub(super) fn reading_labels(config: &Config, sharing: Sharing) -> anyhow::Result<Config> {
    for input in config.inputs.iter() {
        let tokenizer = &input.text.tokenizer;
        tokenizer.read_file().with_context(|| input.field("text.tokenizer"))?;
    }
    let mut config = config.without_teacher().into_owned();
    config.data.multi_label = Some(has_several_labels(&config, sharing)?);
    Ok(config)
}

/// Returns true if the training data are JSON objects with lists of labels. What is wrong with a file is
/// reported when it is read.
fn has_lists(data: &DataConfig) -> bool {
    let files = expand_pattern(&data.train, data.format).unwrap_or_default();
    let Some(file) = files.first() else { return false };
    let format = match data.format {
        Format::Auto => format_of(file).ok(),
        format => Some(format),
    };
    if !matches!(format, Some(Format::Json | Format::Jsonl)) {
        return false;
    }
    let Ok(Some(sample)) = Sample::read(file, data) else { return false };
    sample.lists.iter().any(|column| sample.columns[*column] == data.label_column)
}

/// Adds the probabilities of another model to the targets of the examples of a file, with distillation.
/// `labels` are the class names.
///
/// # Errors
/// Returns an error if the file cannot be read again, or has no probabilities for the same rows and classes.
pub(super) fn add_teacher(
    examples: &mut Examples,
    path: &Path,
    config: &Config,
    labels: &[String],
    sharing: Sharing,
) -> anyhow::Result<()> {
    if config.train.distillation.weight.is_none() {
        return Ok(());
    }
    let multi_label = config.without_teacher().data.multi_label;
    let mut config = config.clone();
    config.train.distillation.weight = None;
    config.data = DataConfig { multi_label, label_separator: None, ..config.data };
    let known = Labels::Required { known: labels };
    let of_teacher = read_nonempty_source(path, &config, known, sharing)
        .and_then(|source| with_classes(source, labels, &config.data))
        .context("data.label_columns")?;
    let names = &of_teacher.source.rows.label_names;
    for label in labels {
        ensure!(
            names.contains(label),
            "data.label_columns: there is no column for the label \"{label}\"; train.distillation needs the \
             probabilities of all labels"
        );
    }
    ensure!(
        of_teacher.source.rows.lines == examples.source.rows.lines,
        "\"{}\": some rows have a label or probabilities, but not both; train.distillation needs both",
        path.display()
    );
    let classes = labels.len();
    let rows = |targets: &Targets| -> Vec<f32> {
        targets.iter().flat_map(|target| target.shares(classes)).collect()
    };
    examples.targets = Targets::Distilled {
        classes,
        labels: rows(&examples.targets),
        teacher: rows(&of_teacher.targets),
    };
    Ok(())
}
