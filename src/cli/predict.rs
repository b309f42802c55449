//! `lstmtext predict`.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::arguments::{ComputeArgs, ModelArgs};
use super::exit::SUCCESS;
use super::open_model::OpenModel;
use super::output_file;
use super::processes::{ProcessArgs, Processes};
use super::texts::{TextArgs, TextSource};
use super::unsure::UnsureArgs;
use crate::backend::{Backends, Collective};
use crate::config::{Column, ConfigError, Labelling};
use crate::output::format::{join_names, pluralize, share};
use crate::output::sanitize::printable;
use crate::output::width::{Align, display_width, pad, shorten_names, wrap_items};
use crate::output::{
    is_terminal, message, note, print_data, print_json_lines, print_wrapped, terminal_width,
};
use crate::prediction::text_columns::TextColumns;
use crate::prediction::{Classifier, LabelProbability, Prediction};
use crate::random::fingerprint;
use crate::tables::records::{csv_record, tsv_record};
use crate::tables::{
    Kind, TableColumn, TableFormat, TableSchema, TextTable, Values, label_separator, unique_names,
};

const EXAMPLES: &str = "\
Examples:
  lstmtext predict runs/a \"What a film!\" \"What a mess.\"
  lstmtext predict runs/a --file reviews.csv --to predicted.csv
  lstmtext predict runs/a --file \"export-*.parquet\" --text body --to predicted.parquet
  lstmtext predict runs/a --file reviews.txt --format tsv
  zcat reviews.gz | lstmtext predict runs/a --format jsonl --top 2
  lstmtext predict runs/a --file reviews.csv --format csv --probabilities

A table is read by the columns of the training data, or by --text COLUMN. The output has all its columns, then the \
label, its probability and the probability of each class in the order of the classes. Files have these unless --top 1 is \
given, printed tables with --probabilities. A name that the table has already gets the prefix predicted_. Every row gets a prediction, or the row is reported and \
nothing is written. Another model can learn from the probabilities: data.label_columns names their columns.

If a text can have several labels, one is predicted if its probability reaches its threshold: one half, unless the \
model is calibrated. They are one column, \
joined by data.label_separator, or a list in JSON lines and Parquet, and the probability of each label follows.

Without TEXTS and --file, texts are read from stdin, one per line; a line has at most 100 MB. \
Predictions are printed in the order of the texts, as soon as they are available.

If the model has several text columns, pass each by name:
  lstmtext predict runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\"
or as JSON lines in --file or on stdin: {\"story\": \"…\", \"question\": \"…\"}.";

/// Number of batches that are read from a stream at once, if they are available.
const BATCHES_PER_READ: usize = 16;
/// Maximum number of texts that are read ahead.
const MAX_READ_AHEAD: usize = 1 << 14;

/// Prefix of new columns whose names the table has already.
const PREFIX: &str = "predicted_";

/// Maximum width of labels in a terminal. Longer ones are shortened.
const LABEL_WIDTH: usize = 32;

/// Classify texts, or the rows of a table, with a checkpoint
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PredictArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    unsure: UnsureArgs,
    /// Write a table to a .csv, .tsv, .jsonl or .parquet file instead of printing predictions
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Output format: text (aligned), tsv or csv (label, probability, text) or jsonl (one object per line);
    /// with --to, also parquet. The rows of a table keep their columns in all but text. csv has a header,
    /// and so has tsv for the rows of a table and with a column for each class
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<OutputFormat>,
    /// Number of classes to print for each text, the most probable first; by default 1, or the predicted labels if
    /// a text can have several
    #[arg(long, value_name = "K", value_parser = crate::config::positive_integer)]
    top: Option<NonZeroUsize>,
    /// Print the probabilities of all classes, in tables in a column for each class; files have them by
    /// default
    #[arg(long, conflicts_with = "top")]
    probabilities: bool,
    /// Maximum number of texts in a batch
    #[arg(long, value_name = "N", default_value = "256", value_parser = crate::config::positive_integer)]
    batch_size: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    processes: ProcessArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Text,
    Tsv,
    Csv,
    Jsonl,
    Parquet,
}

impl OutputFormat {
    /// Returns the format of a table; `None` for text.
    fn table(self) -> Option<TableFormat> {
        match self {
            Self::Text => None,
            Self::Tsv => Some(TableFormat::Tsv),
            Self::Csv => Some(TableFormat::Csv),
            Self::Jsonl => Some(TableFormat::Jsonl),
            Self::Parquet => Some(TableFormat::Parquet),
        }
    }
}

/// Runs the command.
pub fn run(args: PredictArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let group = args.processes.join(backends, "predict")?;
    if args.texts.reads_a_stream() {
        let stdin = Path::new("-");
        group.refuse_stdin("--file", Some(args.texts.file.as_deref().unwrap_or(stdin)))?;
    }
    group.finish(predict(args, backends, &group))
}

fn predict(args: PredictArgs, backends: &dyn Backends, group: &Processes) -> anyhow::Result<u8> {
    let collective = &group.collective;
    let format = args.format.unwrap_or(OutputFormat::Text);
    let (batch_size, top, all) = (args.batch_size.get(), args.top, args.probabilities);
    let prepared = collective.agree(prepare(args, backends, group))?;
    let Prepared { to, source, classifier, model } = prepared;
    collective.ensure_same(&model)?;
    let classifier = &classifier.with_collective(collective.clone());
    let columns = TextColumns::of(classifier.config());
    let all = all || (to.is_some() && top.is_none());
    let shown = ShownClasses::new(classifier.labelling(), all, top);
    let is_table = to.is_some() || matches!(source, TextSource::Table(..));
    // A table has a column with the probability of each of several labels.
    let top = match classifier.labelling() {
        Labelling::Several if is_table => usize::MAX,
        Labelling::One | Labelling::Several => shown.top(),
    };
    let (counts, collective) = (Counts::default(), &**collective);
    let mut predictor = Predictor { classifier, batch_size, top, counts, collective };
    // Several batches at a time, so that all threads have texts to encode.
    let limit = BATCHES_PER_READ.saturating_mul(batch_size).min(MAX_READ_AHEAD.max(batch_size));
    let schema = source.schema(&columns);
    let results = ResultColumns::new(classifier, top > 1, &schema);
    if !collective.leads() {
        // Rank 0 writes the predictions of all processes.
        source.for_each_batch(limit, &mut |batch| {
            predictor.predict(&batch.texts)?;
            collective.agree(Ok(()))
        })?;
        return Ok(SUCCESS);
    }
    match (to, format.table()) {
        (Some((path, format)), _) => {
            results.note_renamed();
            output_file::write_table(&path, format, &schema, &results.columns, |write| {
                source.for_each_batch(limit, &mut |batch| {
                    let predictions = predictor.predict(&batch.texts)?;
                    collective.agree(write(&batch, &results.values(&predictions)))
                })
            })?;
            let rows = pluralize(predictor.counts.examples, "row");
            message(format!("{}: {rows}", path.display()));
        }
        (None, Some(format)) if matches!(source, TextSource::Table(..)) => {
            results.note_renamed();
            let table = TextTable::new(format, &schema.columns, &results.columns);
            let print = |text: &str| match format {
                TableFormat::Jsonl if text.is_empty() => Ok(()),
                TableFormat::Jsonl => print_json_lines(text),
                _ => print_data(text),
            };
            print(&table.header()?)?;
            source.for_each_batch(limit, &mut |batch| {
                let predictions = predictor.predict(&batch.texts)?;
                let rows = table.rows(&batch, &results.values(&predictions));
                collective.agree(rows.and_then(|rows| print(&rows)))
            })?;
        }
        _ => {
            let writer = Writer::new(classifier, &columns, format, shown);
            writer.write_header(classifier)?;
            source.for_each_batch(limit, &mut |batch| {
                let predictions = predictor.predict(&batch.texts)?;
                collective.agree(writer.write(&batch.texts, &predictions))
            })?;
        }
    }
    predictor.counts.note();
    Ok(SUCCESS)
}

/// What is read before the first text.
struct Prepared {
    /// File to write, and its format.
    to: Option<(PathBuf, TableFormat)>,
    source: TextSource,
    classifier: Classifier,
    /// [`SavedModel::description`](crate::run::saved_model::SavedModel::description).
    model: Vec<String>,
}

fn prepare(
    args: PredictArgs,
    backends: &dyn Backends,
    group: &Processes,
) -> anyhow::Result<Prepared> {
    let to = match &args.to {
        Some(path) => {
            let format = args.format.map(OutputFormat::table);
            Some((path.clone(), output_file::table_format(path, format)?))
        }
        None if args.format == Some(OutputFormat::Parquet) => {
            bail!(ConfigError::new("--format parquet: name the file with --to"))
        }
        None => None,
    };
    let streams = args.texts.reads_a_stream();
    let (compute, overrides) = (group.compute(&args.compute), &args.texts.set.overrides);
    let OpenModel { saved, networks, .. } =
        args.model.open(&compute, backends, overrides, streams)?;
    if let Some((path, _)) = &to {
        output_file::check("--to", path, saved.config(), args.texts.file.as_deref())?;
    }
    let (model, source) = (saved.description(), args.texts.open(&saved)?);
    let classifier = args.unsure.apply(Classifier::new(saved, networks))?;
    Ok(Prepared { to, source, classifier, model })
}

/// Classes of a prediction that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShownClasses {
    /// The predicted class.
    Predicted,
    /// The predicted labels, any number of them.
    PredictedSet,
    /// The most probable ones.
    Top(usize),
}

impl ShownClasses {
    /// Returns all classes, or the `top` most probable ones, or by default those that are predicted.
    fn new(labelling: Labelling, all: bool, top: Option<NonZeroUsize>) -> Self {
        match (top, labelling) {
            _ if all => Self::Top(usize::MAX),
            (Some(top), _) => Self::Top(top.get()),
            (None, Labelling::One) => Self::Predicted,
            (None, Labelling::Several) => Self::PredictedSet,
        }
    }

    /// Number of classes for which probabilities are needed. Tables have all of them.
    fn top(self) -> usize {
        match self {
            Self::Predicted => 1,
            Self::PredictedSet => usize::MAX,
            Self::Top(top) => top,
        }
    }
}

/// Classifies texts, and counts those of which the model knows nothing.
struct Predictor<'a> {
    classifier: &'a Classifier,
    batch_size: usize,
    /// Number of classes of each prediction.
    top: usize,
    counts: Counts,
    collective: &'a dyn Collective,
}

impl Predictor<'_> {
    /// Classifies examples. `texts` has the texts of each column.
    fn predict(&mut self, texts: &[Vec<String>]) -> anyhow::Result<Vec<Prediction>> {
        let examples = texts[0].len();
        if examples == 0 {
            return Ok(Vec::new());
        }
        if !self.collective.is_alone() {
            let bytes = texts.iter().flatten().flat_map(|text| text.bytes().chain([0]));
            let hash = fingerprint(bytes.map(u64::from));
            self.collective.ensure_same(&[format!("texts: {hash:016x}")])?;
        }
        let encoded = self.classifier.encode(texts)?;
        let predictions = self.classifier.predict_encoded(&encoded, self.batch_size, self.top)?;
        let is_empty =
            |example: &usize| texts.iter().any(|texts| texts[*example].trim().is_empty());
        let empty = (0..examples).filter(is_empty).count();
        let unknown = self.classifier.unknown_examples(&encoded).saturating_sub(empty);
        self.counts.add(Counts { examples, empty, unknown });
        Ok(predictions)
    }
}

/// Predictions as columns of a table.
struct ResultColumns {
    labelling: Labelling,
    /// Separator of predicted labels in text.
    separator: String,
    columns: Vec<TableColumn>,
    /// Names of those that have the prefix.
    renamed: Vec<String>,
    /// Labels of the classes that have a column.
    classes: Vec<String>,
}

impl ResultColumns {
    fn new(classifier: &Classifier, has_classes: bool, schema: &TableSchema) -> Self {
        let labelling = classifier.labelling();
        let classes = match has_classes || labelling == Labelling::Several {
            true => classifier.labels().to_vec(),
            false => Vec::new(),
        };
        let (first, kind) = match labelling {
            Labelling::One => (&["label", "probability"][..], Kind::Text),
            Labelling::Several => (&["label"][..], Kind::List),
        };
        let wanted = first.iter().copied().chain(classes.iter().map(String::as_str));
        let wanted: Vec<&str> = wanted.collect();
        let names = unique_names(&wanted, PREFIX, &schema.columns);
        let renamed = names.iter().filter(|name| !wanted.contains(&name.as_str())).cloned();
        let renamed = renamed.collect();
        let kinds = [kind].into_iter().chain(std::iter::repeat(Kind::Number));
        let columns = names.into_iter().zip(kinds).map(|(name, kind)| TableColumn::new(name, kind));
        let separator = label_separator(&classifier.config().data).to_owned();
        Self { labelling, separator, columns: columns.collect(), renamed, classes }
    }

    /// Notes which columns have other names than usual.
    fn note_renamed(&self) {
        if !self.renamed.is_empty() {
            let names = join_names(&self.renamed);
            note(format!(
                "the table has columns with the names of new ones, which are named {names}"
            ));
        }
    }

    fn values(&self, predictions: &[Prediction]) -> Vec<Values> {
        let mut values = match self.labelling {
            Labelling::One => {
                let labels = predictions.iter().map(|prediction| prediction.label.clone());
                let probabilities =
                    predictions.iter().map(|prediction| Some(prediction.probability));
                vec![Values::Texts(labels.collect()), Values::Numbers(probabilities.collect())]
            }
            Labelling::Several => {
                let names = |prediction: &Prediction| -> Vec<String> {
                    prediction.labels.iter().map(|each| each.label.clone()).collect()
                };
                let sets = predictions.iter().map(names).collect();
                vec![Values::LabelSets(sets, self.separator.clone())]
            }
        };
        values.extend(self.classes.iter().map(|label| {
            let probability = |prediction: &Prediction| {
                let class = prediction.classes.iter().find(|class| class.label == *label);
                class.map(|class| class.probability)
            };
            Values::Numbers(predictions.iter().map(probability).collect())
        }));
        values
    }
}

/// Numbers of examples.
#[derive(Default)]
struct Counts {
    examples: usize,
    /// Examples with an empty text.
    empty: usize,
    /// Others with a text of which the model knows nothing.
    unknown: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.examples += other.examples;
        self.empty += other.empty;
        self.unknown += other.unknown;
    }

    /// Notes how many examples have texts of which the model knows nothing.
    fn note(&self) {
        for (count, one, several) in [
            (self.empty, "is empty", "are empty"),
            (self.unknown, "has no known word", "have no known word"),
        ] {
            if count > 0 {
                note(format!(
                    "{} {}",
                    share(count, self.examples, "texts"),
                    if count == 1 { one } else { several }
                ));
            }
        }
    }
}

/// Prints predictions in a format.
struct Writer<'a> {
    /// The labels as they are shown in text.
    names: HashMap<String, String>,
    /// Width of the widest of them.
    width: usize,
    columns: &'a TextColumns,
    format: OutputFormat,
    shown: ShownClasses,
    classifier: &'a Classifier,
}

impl<'a> Writer<'a> {
    fn new(
        classifier: &'a Classifier,
        columns: &'a TextColumns,
        format: OutputFormat,
        shown: ShownClasses,
    ) -> Self {
        // Scripts need whole labels.
        let label_width = if is_terminal() { LABEL_WIDTH } else { usize::MAX };
        let labels = shorten_names(classifier.labels().iter().map(String::as_str), label_width);
        if format == OutputFormat::Text && !labels.key.is_empty() {
            message(&labels.key);
        }
        Self {
            width: labels.names.iter().map(|label| display_width(label)).max().unwrap_or(0),
            names: classifier.labels().iter().cloned().zip(labels.names).collect(),
            columns,
            format,
            shown,
            classifier,
        }
    }

    /// Prints the names of the columns, for formats that need them.
    fn write_header(&self, classifier: &Classifier) -> anyhow::Result<()> {
        let columns = classifier.inputs().columns().into_iter().map(Column::key);
        let mut names = vec!["label".to_owned()];
        if self.classifier.labelling() == Labelling::One {
            names.push("probability".to_owned());
        }
        names.extend(self.class_columns().iter().cloned());
        names.extend(columns);
        match self.format {
            OutputFormat::Csv => print_data(&csv_record(&names)?),
            OutputFormat::Tsv if !self.class_columns().is_empty() => {
                print_data(&tsv_record(&names))
            }
            _ => Ok(()),
        }
    }

    /// Labels of the classes that have a column: all of them in the order of the model, so that a column
    /// belongs to the same class in every row.
    fn class_columns(&self) -> &[String] {
        if self.shown.top() > 1 { self.classifier.labels() } else { &[] }
    }

    /// Returns the fields of a row. Classes that are not among the most probable ones have empty fields.
    fn record(&self, texts: &[&str], prediction: &Prediction) -> Vec<String> {
        let shown = |probability: f64| format!("{probability:.6}");
        let mut fields = match self.classifier.labelling() {
            Labelling::One => vec![prediction.label.clone(), shown(prediction.probability)],
            Labelling::Several => {
                let labels: Vec<&str> =
                    prediction.labels.iter().map(|each| each.label.as_str()).collect();
                vec![labels.join(label_separator(&self.classifier.config().data))]
            }
        };
        fields.extend(self.class_columns().iter().map(|label| {
            let class = prediction.classes.iter().find(|class| class.label == *label);
            class.map_or(String::new(), |class| shown(class.probability))
        }));
        fields.extend(texts.iter().map(|text| (*text).to_owned()));
        fields
    }

    /// Prints predictions. `texts` has the texts of each column.
    fn write(&self, texts: &[Vec<String>], predictions: &[Prediction]) -> anyhow::Result<()> {
        if predictions.is_empty() {
            return Ok(());
        }
        let mut out = String::new();
        for (index, prediction) in predictions.iter().enumerate() {
            let texts: Vec<&str> = texts.iter().map(|texts| texts[index].as_str()).collect();
            out += &self.row(&texts, prediction)?;
        }
        match self.format {
            OutputFormat::Text => print_wrapped(&out),
            OutputFormat::Jsonl => print_json_lines(&out),
            OutputFormat::Tsv | OutputFormat::Csv | OutputFormat::Parquet => print_data(&out),
        }
    }

    /// Formats the prediction of an example in the format of the output.
    fn row(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        match self.format {
            OutputFormat::Text => Ok(self.text_row(texts, prediction)),
            OutputFormat::Tsv => Ok(tsv_record(&self.record(texts, prediction))),
            OutputFormat::Csv | OutputFormat::Parquet => {
                csv_record(&self.record(texts, prediction))
            }
            OutputFormat::Jsonl => self.json_row(texts, prediction),
        }
    }

    fn text_row(&self, texts: &[&str], prediction: &Prediction) -> String {
        let name = |class: &LabelProbability| match self.names.get(&class.label) {
            Some(name) => name.clone(),
            None => printable(&class.label).into_owned(),
        };
        let class = |class: &LabelProbability| {
            format!("{}  {:.4}", pad(&name(class), self.width, Align::Left), class.probability)
        };
        let mut items: Vec<String> = match self.shown {
            ShownClasses::Top(_) => {
                // A decision need not be the most probable class.
                let is_other = prediction.label != prediction.classes[0].label;
                let decided = prediction.labels.iter().filter(|_| is_other);
                decided.chain(&prediction.classes).map(class).collect()
            }
            ShownClasses::Predicted => prediction.labels.iter().map(class).collect(),
            ShownClasses::PredictedSet if prediction.labels.is_empty() => vec!["(none)".to_owned()],
            ShownClasses::PredictedSet => {
                let label =
                    |label: &LabelProbability| format!("{} {:.4}", name(label), label.probability);
                let labels: Vec<String> = prediction.labels.iter().map(label).collect();
                vec![labels.join(", ")]
            }
        };
        items.extend(texts.iter().map(|text| printable(text).into_owned()));
        let width = if is_terminal() { terminal_width() } else { usize::MAX };
        wrap_items(&items, "  ", width).join("\n  ") + "\n"
    }

    fn json_row(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        let has_one = self.classifier.labelling() == Labelling::One;
        let has_classes = match self.shown {
            ShownClasses::Top(top) => top > 1 || !has_one,
            ShownClasses::Predicted | ShownClasses::PredictedSet => false,
        };
        let json = JsonPrediction {
            label: has_one.then_some(&prediction.label),
            probability: has_one.then_some(prediction.probability),
            labels: (!has_one).then_some(&prediction.labels[..]),
            classes: has_classes.then_some(&prediction.classes),
            text: match texts {
                [text] => Value::from(*text),
                texts => Value::Object(self.columns.to_json(texts)),
            },
        };
        Ok(serde_json::to_string(&json).context("cannot encode a prediction")? + "\n")
    }
}

/// Prediction as a line of JSON.
#[derive(Serialize)]
struct JsonPrediction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    /// Predicted labels, if a text can have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a [LabelProbability]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [LabelProbability]>,
    /// The text, or an object with the text of each column.
    text: Value,
}
