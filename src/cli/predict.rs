//! `lstmtext predict`.

use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::arguments::ComputeArgs;
use super::exit::SUCCESS;
use super::texts::TextArgs;
use crate::backend::Backends;
use crate::io::input::is_stdin;
use crate::output::format::group_digits;
use crate::output::sanitize::{printable, tsv_field};
use crate::output::{message, note, print, print_data, print_json_lines};
use crate::prediction::text_columns::TextColumns;
use crate::prediction::text_lines::TextLines;
use crate::prediction::{Classifier, LabelProbability, Prediction};

const EXAMPLES: &str = "\
Examples:
  lstmtext predict runs/a \"What a film!\" \"What a mess.\"
  lstmtext predict runs/a --file reviews.txt --format tsv
  zcat reviews.gz | lstmtext predict runs/a --format jsonl --top 2

Without TEXTS and --file, texts are read from stdin, one per line; a line has at most 100 MB. Predictions are printed in the \
order of the texts, as soon as they are available.

If the model has several text columns, pass each by name:
  lstmtext predict runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\"
or as JSON lines in --file or on stdin: {\"story\": \"…\", \"question\": \"…\"}.";

/// Number of batches that are read from a stream at once, if they are available.
const BATCHES_PER_READ: usize = 16;
/// Maximum number of texts that are read ahead.
const MAX_READ_AHEAD: usize = 1 << 14;

/// Classify texts with a checkpoint
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PredictArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    checkpoint: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// Output format: text (aligned), tsv (label, probability, text) or jsonl (one object per line)
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
    Jsonl,
}

/// Runs the command.
pub fn run(args: PredictArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let streams = args.reads_a_stream();
    let (checkpoint, network) = args.compute.open(backends, &args.checkpoint, &[], streams)?;
    let classifier = &Classifier::new(checkpoint, network);
    let columns = TextColumns::of(classifier.inputs());
    let labels = classifier.labels().iter();
    let writer = Writer {
        width: labels.map(|label| printable(label).chars().count()).max().unwrap_or(0),
        columns: &columns,
        format: args.format,
        top: args.top.get(),
    };
    let batch_size = args.batch_size.get();
    if !streams {
        let texts = columns.from_arguments(args.texts.texts, args.texts.inputs)?;
        return writer.write(classifier, &texts, batch_size).map(|()| SUCCESS);
    }
    // Several batches at a time, so that all threads have texts to encode.
    let limit = BATCHES_PER_READ.saturating_mul(batch_size).min(MAX_READ_AHEAD.max(batch_size));
    let mut lines = lines(args.texts.file, &columns, limit.min(MAX_READ_AHEAD))?;
    loop {
        let first = lines.count() + 1;
        let Some(texts) = lines.next_batch(limit)? else { break };
        let (texts, error) = columns.parse_lines(texts, first);
        writer.write(classifier, &texts, batch_size)?;
        if let Some(error) = error {
            return Err(error);
        }
    }
    if lines.invalid() > 1 {
        note(format!("{} lines are not valid UTF-8", group_digits(lines.invalid())));
    }
    Ok(SUCCESS)
}

/// Opens the file with texts, or stdin.
fn lines(file: Option<PathBuf>, columns: &TextColumns, ahead: usize) -> anyhow::Result<TextLines> {
    let path = file.unwrap_or_else(|| "-".into());
    if is_stdin(&path) && io::stdin().is_terminal() {
        let what = if columns.is_single() { "texts" } else { "JSON objects" };
        message(format!("reading {what} from the terminal, one per line; press Ctrl-D to end"));
    }
    TextLines::open(&path, ahead)
}

/// Prints predictions in a format.
struct Writer<'a> {
    /// Length of the longest label in characters.
    width: usize,
    columns: &'a TextColumns,
    format: OutputFormat,
    top: usize,
}

impl Writer<'_> {
    /// Classifies and prints examples. `texts` has the texts of each column.
    fn write(
        &self,
        classifier: &Classifier,
        texts: &[Vec<String>],
        batch_size: usize,
    ) -> anyhow::Result<()> {
        if texts[0].is_empty() {
            return Ok(());
        }
        let mut out = String::new();
        let predictions = classifier.predict_columns(texts, batch_size, self.top)?;
        for (index, prediction) in predictions.iter().enumerate() {
            let texts: Vec<&str> = texts.iter().map(|texts| texts[index].as_str()).collect();
            out.push_str(&self.line(&texts, prediction)?);
            out.push('\n');
        }
        match self.format {
            OutputFormat::Text => print(&out),
            OutputFormat::Tsv => print_data(&out),
            OutputFormat::Jsonl => print_json_lines(&out),
        }
    }

    fn line(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        let Prediction { label, probability, classes } = prediction;
        let fields = |field: fn(&str) -> Cow<'_, str>| {
            texts.iter().map(|text| field(text)).collect::<Vec<_>>()
        };
        let line = match self.format {
            OutputFormat::Text => {
                let width = self.width;
                let classes = classes.iter().map(|class| {
                    format!("{:<width$}  {:.4}  ", printable(&class.label), class.probability)
                });
                classes.collect::<String>() + &fields(printable).join("  ")
            }
            OutputFormat::Tsv => {
                let classes = classes.iter().map(|class| {
                    format!("{}\t{:.6}\t", tsv_field(&class.label), class.probability)
                });
                classes.collect::<String>() + &fields(tsv_field).join("\t")
            }
            OutputFormat::Jsonl => {
                let prediction = JsonPrediction {
                    label,
                    probability: *probability,
                    classes: (self.top > 1).then_some(classes),
                    text: match texts {
                        [text] => Value::from(*text),
                        texts => Value::Object(self.columns.to_json(texts)),
                    },
                };
                serde_json::to_string(&prediction).context("cannot encode a prediction")?
            }
        };
        Ok(line)
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
