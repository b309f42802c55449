//! `lstmtext predict`.

mod writer;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use self::writer::{OutputFormat, ShownClasses, Writer};
use super::arguments::{ComputeArgs, ModelArgs};
use super::exit::SUCCESS;
use super::open_model::OpenModel;
use super::output_file;
use super::processes::{ProcessArgs, Processes};
use super::texts::{TextArgs, TextSource};
use super::unsure::UnsureArgs;
use crate::backend::Backends;
use crate::config::{ConfigError, Labelling};
use crate::distributed::Collective;
use crate::output::format::{join_names, pluralize, share};
use crate::output::{message, note, print_data, print_json_lines};
use crate::prediction::text_columns::TextColumns;
use crate::prediction::{Classifier, Prediction};
use crate::random::fingerprint;
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

/// Arguments and model of the command, checked and loaded before the first text is read.
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
