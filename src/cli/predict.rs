//! `lstmtext predict`.

use std::io::{self, BufRead, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::{ComputeArgs, FINE, Light};
use crate::io::input::open;
use crate::output::sanitize::{printable, tsv_field};
use crate::output::{message, print};
use crate::prediction::text_columns::{NamedText, TextColumns};
use crate::prediction::{Classifier, LabelProbability, Prediction};
use crate::run::checkpoint::Checkpoint;

const EXAMPLES: &str = "\
Examples:
  lstmtext predict runs/a \"What a film!\" \"What a mess.\"
  lstmtext predict runs/a --file reviews.txt --format tsv
  zcat reviews.gz | lstmtext predict runs/a --format jsonl --top 2

Without texts and --file, texts are read from stdin, a line each. Each answer is printed as soon
as it is known, in the order of the texts.

A model that reads several columns takes each by the name that it has in the data:
  lstmtext predict runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\"
and from --file or stdin JSON lines such as {\"story\": \"…\", \"question\": \"…\"}.";

/// Batches of texts that are read from a stream at once, where they are there already.
const READ_TOGETHER: usize = 16;
/// Texts that are read ahead at most.
const MOST_TOGETHER: usize = 1 << 14;

/// Classify texts with a checkpoint
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PredictArgs {
    /// A checkpoint, or a run (then its best)
    pub checkpoint: PathBuf,
    /// The texts; without them they come from --file or stdin
    texts: Vec<String>,
    /// The text of one of several columns; needed for each of them
    #[arg(long = "input", value_name = "NAME=TEXT", conflicts_with_all = ["texts", "file"])]
    inputs: Vec<NamedText>,
    /// A file with a text on each line (.gz and .zst too)
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,
    /// text: aligned, for people. tsv: label, probability, text. jsonl: an object a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: OutputFormat,
    /// Print the K most probable classes
    #[arg(long, value_name = "K", default_value = "1", value_parser = crate::config::count)]
    top: NonZeroUsize,
    /// Most texts computed together
    #[arg(long, value_name = "N", default_value = "256", value_parser = crate::config::count)]
    batch_size: NonZeroUsize,
    /// Where and how wide to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

impl PredictArgs {
    /// Whether the texts are as many as a file or stdin has.
    pub fn reads_a_stream(&self) -> bool {
        self.texts.is_empty() && self.inputs.is_empty()
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    Text,
    Tsv,
    Jsonl,
}

/// Runs the command where it needs no libtorch.
pub fn run(args: PredictArgs) -> anyhow::Result<Light> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    match args.compute.light(&checkpoint)? {
        Some(classifier) => answer(args, &Classifier::new(checkpoint, classifier)).map(Light::Done),
        None => Ok(Light::NeedsLibtorch),
    }
}

/// Answers with a classifier.
///
/// # Errors
/// Where texts cannot be read or answers cannot be written.
pub fn answer(args: PredictArgs, classifier: &Classifier) -> anyhow::Result<u8> {
    let columns = TextColumns::of(classifier.inputs());
    let labels = classifier.labels().iter();
    let writer = Writer {
        width: labels.map(|label| label.chars().count()).max().unwrap_or(0),
        columns: &columns,
        format: args.format,
        top: args.top.get(),
    };
    let batch_size = args.batch_size.get();
    if !args.reads_a_stream() {
        let texts = columns.given(args.texts, args.inputs)?;
        return writer.answer(classifier, &texts, batch_size).map(|()| FINE);
    }
    // Many texts at a time, so that all threads have some to encode.
    let most = READ_TOGETHER.saturating_mul(batch_size).min(MOST_TOGETHER.max(batch_size));
    let lines = read_ahead(source(args.file, &columns)?, most.min(MOST_TOGETHER));
    let mut line = 1;
    while let Some(texts) = next_batch(&lines, most)? {
        let count = texts.len();
        let (texts, fault) = columns.parsed(texts, line);
        writer.answer(classifier, &texts, batch_size)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        line += count;
    }
    Ok(FINE)
}

type Source = Box<dyn BufRead + Send>;

fn source(file: Option<PathBuf>, columns: &TextColumns) -> anyhow::Result<Source> {
    match file {
        Some(path) => open(&path),
        None => {
            if io::stdin().is_terminal() {
                let what = if columns.is_one() { "texts" } else { "JSON objects" };
                message(format!("reading {what} from the terminal, a line each; Ctrl-D ends"));
            }
            Ok(Box::new(io::BufReader::new(io::stdin())))
        }
    }
}

/// Reads lines in a thread of its own, at most `ahead` of them in advance. Bytes that are not
/// UTF-8 become replacement characters, so that every line has its answer.
fn read_ahead(mut source: Source, ahead: usize) -> Receiver<io::Result<String>> {
    let (sender, receiver) = sync_channel(ahead);
    thread::spawn(move || {
        loop {
            let mut bytes = Vec::new();
            let line = match source.read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(_) => {
                    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned())
                }
                Err(error) => Err(error),
            };
            let failed = line.is_err();
            if sender.send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Waits for one line, then takes what else is there already; `None` at the end.
fn next_batch(
    lines: &Receiver<io::Result<String>>,
    most: usize,
) -> anyhow::Result<Option<Vec<String>>> {
    let Ok(first) = lines.recv() else { return Ok(None) };
    let texts = std::iter::once(first).chain(lines.try_iter()).take(most);
    texts.collect::<io::Result<_>>().map(Some).context("cannot read the texts")
}

/// Prints answers in one format.
struct Writer<'a> {
    /// Characters of the longest label.
    width: usize,
    columns: &'a TextColumns,
    format: OutputFormat,
    top: usize,
}

impl Writer<'_> {
    /// `texts` has the texts of each column.
    fn answer(
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
        print(&out)
    }

    fn line(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        let Prediction { label, probability, classes } = prediction;
        let fields =
            |field: fn(&str) -> String| texts.iter().map(|text| field(text)).collect::<Vec<_>>();
        let line = match self.format {
            OutputFormat::Text => {
                let width = self.width;
                let classes = classes
                    .iter()
                    .map(|class| format!("{:<width$}  {:.4}  ", class.label, class.probability));
                classes.collect::<String>() + &fields(printable).join("  ")
            }
            OutputFormat::Tsv => {
                let classes = classes.iter().map(|class| {
                    format!("{}\t{:.6}\t", tsv_field(&class.label), class.probability)
                });
                classes.collect::<String>() + &fields(tsv_field).join("\t")
            }
            OutputFormat::Jsonl => {
                let answer = Answer {
                    label,
                    probability: *probability,
                    classes: (self.top > 1).then_some(classes),
                    text: match texts {
                        [text] => Value::from(*text),
                        texts => Value::Object(self.columns.keyed(texts)),
                    },
                };
                serde_json::to_string(&answer).context("cannot encode an answer")?
            }
        };
        Ok(line)
    }
}

/// A line of JSON.
#[derive(Serialize)]
struct Answer<'a> {
    label: &'a str,
    probability: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [LabelProbability]>,
    /// The text, or an object with the text of each column.
    text: Value,
}
