//! `lstmtext predict`.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::arguments::ComputeArgs;
use super::exit::SUCCESS;
use super::open_model::OpenModel;
use super::records::{csv_record, tsv_record};
use super::texts::{TextArgs, TextsCheck};
use crate::backend::Backends;
use crate::config::Column;
use crate::io::decoding::Decoding;
use crate::io::spool::is_stdin;
use crate::output::format::{group_digits, share};
use crate::output::sanitize::printable;
use crate::output::width::{Align, display_width, pad, shorten_names, wrap_items};
use crate::output::{
    is_terminal, message, note, print_data, print_json_lines, print_wrapped, terminal_width,
};
use crate::prediction::text_columns::TextColumns;
use crate::prediction::text_lines::TextLines;
use crate::prediction::{Classifier, LabelProbability, Prediction};

const EXAMPLES: &str = "\
Examples:
  lstmtext predict runs/a \"What a film!\" \"What a mess.\"
  lstmtext predict runs/a --file reviews.txt --format tsv
  zcat reviews.gz | lstmtext predict runs/a --format jsonl --top 2

Without TEXTS and --file, texts are read from stdin, one per line; a line has at most 100 MB. \
Predictions are printed in the order of the texts, as soon as they are available.

If the model has several text columns, pass each by name:
  lstmtext predict runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\"
or as JSON lines in --file or on stdin: {\"story\": \"…\", \"question\": \"…\"}.";

/// Number of batches that are read from a stream at once, if they are available.
const BATCHES_PER_READ: usize = 16;
/// Maximum number of texts that are read ahead.
const MAX_READ_AHEAD: usize = 1 << 14;

/// Maximum width of labels in a terminal. Longer ones are shortened.
const LABEL_WIDTH: usize = 32;

/// Classify texts with a checkpoint
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PredictArgs {
    /// Checkpoint, run (uses its best checkpoint) or ensemble
    checkpoint: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// Output format: text (aligned), tsv or csv (label, probability, text) or jsonl (one object per line).
    /// csv has a header, and so has tsv with --top; both then have a column for each class
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: OutputFormat,
    /// Number of classes to print for each text, the most probable first
    #[arg(long, value_name = "K", default_value = "1", value_parser = crate::config::positive_integer)]
    top: NonZeroUsize,
    /// Maximum number of texts in a batch
    #[arg(long, value_name = "N", default_value = "256", value_parser = crate::config::positive_integer)]
    batch_size: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeArgs,
}

impl PredictArgs {
    /// Returns true if the texts come from a file or stdin.
    fn reads_a_stream(&self) -> bool {
        self.texts.texts.is_empty() && self.texts.inputs.is_empty()
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    Text,
    Tsv,
    Csv,
    Jsonl,
}

/// Runs the command.
pub fn run(args: PredictArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let streams = args.reads_a_stream();
    let OpenModel { saved, networks } =
        args.compute.open(backends, &args.checkpoint, &[], streams)?;
    let decoding = args.texts.decoding();
    let file = args.texts.file.clone().unwrap_or_else(|| "-".into());
    let mut check = TextsCheck::new(&file, &saved);
    let classifier = &Classifier::new(saved, networks);
    let columns = TextColumns::of(classifier.config());
    // Scripts need whole labels.
    let label_width = if is_terminal() { LABEL_WIDTH } else { usize::MAX };
    let labels = shorten_names(classifier.labels().iter().map(String::as_str), label_width);
    if matches!(args.format, OutputFormat::Text) && !labels.key.is_empty() {
        message(&labels.key);
    }
    let writer = Writer {
        width: labels.names.iter().map(|label| display_width(label)).max().unwrap_or(0),
        names: classifier.labels().iter().cloned().zip(labels.names).collect(),
        columns: &columns,
        format: args.format,
        top: args.top.get(),
        labels: classifier.labels(),
    };
    writer.write_header(classifier)?;
    let batch_size = args.batch_size.get();
    if !streams {
        let texts = columns.from_arguments(args.texts.texts, args.texts.inputs)?;
        writer.write(classifier, &texts, batch_size)?.note();
        return Ok(SUCCESS);
    }
    // Several batches at a time, so that all threads have texts to encode.
    let limit = BATCHES_PER_READ.saturating_mul(batch_size).min(MAX_READ_AHEAD.max(batch_size));
    let mut lines = lines(&file, decoding, &columns, limit.min(MAX_READ_AHEAD))?;
    let mut counts = Counts::default();
    loop {
        let first = lines.count() + 1;
        let Some(texts) = lines.next_batch(limit)? else { break };
        check.check(&texts)?;
        let (texts, error) = columns.parse_lines(texts, first);
        counts.add(writer.write(classifier, &texts, batch_size)?);
        if let Some(error) = error {
            return Err(error);
        }
    }
    check.finish();
    counts.note();
    if lines.invalid() > 1 {
        note(format!("{} lines are not valid UTF-8", group_digits(lines.invalid())));
    }
    Ok(SUCCESS)
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

/// Opens the file with texts, or stdin.
fn lines(
    path: &Path,
    decoding: Decoding,
    columns: &TextColumns,
    ahead: usize,
) -> anyhow::Result<TextLines> {
    if is_stdin(path) && io::stdin().is_terminal() {
        let what = if columns.is_single() { "texts" } else { "JSON objects" };
        message(format!("reading {what} from the terminal, one per line; press Ctrl-D to end"));
    }
    TextLines::open(path, decoding, ahead)
}

/// Prints predictions in a format.
struct Writer<'a> {
    /// The labels as they are shown in text.
    names: HashMap<String, String>,
    /// Width of the widest of them.
    width: usize,
    columns: &'a TextColumns,
    format: OutputFormat,
    top: usize,
    /// Label of each class.
    labels: &'a [String],
}

impl Writer<'_> {
    /// Prints the names of the columns, for formats that need them.
    fn write_header(&self, classifier: &Classifier) -> anyhow::Result<()> {
        let columns = classifier.inputs().columns().into_iter().map(Column::key);
        let mut names = vec!["label".to_owned(), "probability".to_owned()];
        names.extend(self.class_columns().iter().cloned());
        names.extend(columns);
        match self.format {
            OutputFormat::Csv => print_data(&csv_record(&names)?),
            OutputFormat::Tsv if self.top > 1 => print_data(&tsv_record(&names)),
            _ => Ok(()),
        }
    }

    /// Labels of the classes that have a column: all of them in the order of the model, so that a column
    /// belongs to the same class in every row.
    fn class_columns(&self) -> &[String] {
        if self.top > 1 { self.labels } else { &[] }
    }

    /// Returns the fields of a row. Classes that are not among the most probable ones have empty fields.
    fn record(&self, texts: &[&str], prediction: &Prediction) -> Vec<String> {
        let shown = |probability: f64| format!("{probability:.6}");
        let mut fields = vec![prediction.label.clone(), shown(prediction.probability)];
        fields.extend(self.class_columns().iter().map(|label| {
            let class = prediction.classes.iter().find(|class| class.label == *label);
            class.map_or(String::new(), |class| shown(class.probability))
        }));
        fields.extend(texts.iter().map(|text| (*text).to_owned()));
        fields
    }

    /// Classifies and prints examples. `texts` has the texts of each column. Returns their numbers.
    fn write(
        &self,
        classifier: &Classifier,
        texts: &[Vec<String>],
        batch_size: usize,
    ) -> anyhow::Result<Counts> {
        let examples = texts[0].len();
        if examples == 0 {
            return Ok(Counts::default());
        }
        let mut out = String::new();
        let encoded = classifier.encode(texts)?;
        let predictions = classifier.predict_encoded(&encoded, batch_size, self.top)?;
        for (index, prediction) in predictions.iter().enumerate() {
            let texts: Vec<&str> = texts.iter().map(|texts| texts[index].as_str()).collect();
            out += &self.row(&texts, prediction)?;
        }
        match self.format {
            OutputFormat::Text => print_wrapped(&out),
            OutputFormat::Tsv | OutputFormat::Csv => print_data(&out),
            OutputFormat::Jsonl => print_json_lines(&out),
        }?;
        let is_empty =
            |example: &usize| texts.iter().any(|texts| texts[*example].trim().is_empty());
        let empty = (0..examples).filter(is_empty).count();
        let unknown = classifier.unknown_examples(&encoded).saturating_sub(empty);
        Ok(Counts { examples, empty, unknown })
    }

    /// Formats the prediction of an example in the format of the output.
    fn row(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        match self.format {
            OutputFormat::Text => Ok(self.text_row(texts, prediction)),
            OutputFormat::Tsv => Ok(tsv_record(&self.record(texts, prediction))),
            OutputFormat::Csv => csv_record(&self.record(texts, prediction)),
            OutputFormat::Jsonl => self.json_row(texts, prediction),
        }
    }

    fn text_row(&self, texts: &[&str], prediction: &Prediction) -> String {
        let class = |class: &LabelProbability| {
            let name = self.names.get(&class.label).unwrap_or(&class.label);
            format!("{}  {:.4}", pad(name, self.width, Align::Left), class.probability)
        };
        let mut items: Vec<String> = prediction.classes.iter().map(class).collect();
        items.extend(texts.iter().map(|text| printable(text).into_owned()));
        let width = if is_terminal() { terminal_width() } else { usize::MAX };
        wrap_items(&items, "  ", width).join("\n  ") + "\n"
    }

    fn json_row(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        let json = JsonPrediction {
            label: &prediction.label,
            probability: prediction.probability,
            classes: (self.top > 1).then_some(&prediction.classes),
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
    label: &'a str,
    probability: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [LabelProbability]>,
    /// The text, or an object with the text of each column.
    text: Value,
}
