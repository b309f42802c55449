//! `lstmtext perplexity`.

use std::io::BufRead;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;

use super::arguments::{ComputeArgs, column};
use super::exit::SUCCESS;
use crate::backend::Backends;
use crate::config::{Config, FieldValue, Override};
use crate::data::load_texts;
use crate::output::format::pluralize;
use crate::output::{message, note, print, print_json};
use crate::pretrain::language_model::{TextScore, inference, score_texts};
use crate::run::checkpoint::{Checkpoint, peek_config};
use crate::text::Corpus;

const EXAMPLES: &str = "\
Examples:
  lstmtext perplexity runs/lm \"One of the best films of the year.\"
  lstmtext perplexity runs/lm --file other.txt
  lstmtext perplexity runs/lm --file reviews.csv --text review --each

The perplexity is the exponential of the mean negative log-probability of a token, for each direction of the \
language model. Every text starts with an empty context, and its end counts as a token. Words outside the \
vocabulary count as one unknown word, so perplexities are comparable only between models with the same vocabulary.";

/// Score texts with a language model
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PerplexityArgs {
    /// Run of `lstmtext pretrain` (uses its best checkpoint), or its checkpoint
    checkpoint: PathBuf,
    /// Texts. Without texts and --file, they are read from stdin, one per line
    texts: Vec<String>,
    /// File with texts: .txt (one per line), .csv, .tsv, .jsonl, .parquet, or a directory, compressed too
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,
    /// Column of the text in a table, by its name or its number from 1; by default that of the training
    #[arg(long, value_name = "COLUMN", requires = "file")]
    text: Option<String>,
    /// Print a line for each text: its number of tokens, and its perplexity in each direction
    #[arg(long)]
    each: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Perplexity of a text, or of all.
#[derive(Serialize)]
struct Scored {
    /// Number of tokens, with the ends of texts.
    tokens: usize,
    /// Perplexity of each direction.
    perplexity: Vec<f64>,
}

impl Scored {
    fn of(score: &TextScore) -> Self {
        Self { tokens: score.predictions, perplexity: score.perplexity().0 }
    }
}

/// Output of --json.
#[derive(Serialize)]
struct Printed {
    #[serde(flatten)]
    all: Scored,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<Scored>,
}

/// Runs the command.
pub fn run(args: PerplexityArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let text = args.text.as_ref();
    let text = text.map(|name| Override::new("data.text_column", column(name).to_yaml()));
    let overrides: Vec<Override> = text.into_iter().collect();
    // The backend starts before anything is read, because it may replace this process with lstmtext-torch.
    let config = peek_config(&args.checkpoint, &overrides);
    let start = |config: &Config| args.compute.start(backends, config, false);
    let started = config.map(|config| start(&config)).transpose()?;
    let checkpoint = Checkpoint::open_language_model(&args.checkpoint, &overrides)?;
    let backend = match started {
        Some(backend) => backend,
        None => start(&checkpoint.resolved.config)?,
    };
    let corpus = args.corpus(&checkpoint)?;
    let mut model = inference(&*backend, &checkpoint)?;
    let directions = checkpoint.resolved.config.inputs[0].lstm.directions();
    let scores = score_texts(&mut *model, &corpus, directions)?;
    let total = TextScore::total(&scores).context("there are no texts")?;
    let all = Scored::of(&total);
    let texts: Vec<Scored> = match args.each {
        true => scores.iter().map(Scored::of).collect(),
        false => Vec::new(),
    };
    if args.json {
        print_json(&Printed { all, texts })?;
        return Ok(SUCCESS);
    }
    for Scored { tokens, perplexity } in &texts {
        let each = perplexity.iter().map(|perplexity| format!("\t{perplexity:.2}"));
        print(&format!("{tokens}{}", each.collect::<String>()))?;
    }
    let line = format!("perplexity  {}", total.perplexity());
    if args.each {
        message(line)
    } else {
        print(&line)?
    }
    message(format!("{} of {}", pluralize(all.tokens, "token"), pluralize(corpus.len(), "text")));
    Ok(SUCCESS)
}

impl PerplexityArgs {
    /// Reads and encodes the texts.
    fn corpus(&self, checkpoint: &Checkpoint) -> anyhow::Result<Corpus> {
        let encoder = checkpoint.encoders[0].for_pretraining();
        if let Some(path) = &self.file {
            let texts = load_texts(path, &checkpoint.resolved.config, None)?;
            texts.findings.iter().filter(|finding| finding.is_notable()).for_each(note);
            return texts.encode(0, &encoder);
        }
        let texts = match &self.texts[..] {
            [] => {
                let lines = std::io::stdin().lock().lines().collect::<Result<Vec<_>, _>>();
                lines.context("cannot read stdin as lines of UTF-8")?
            }
            texts => texts.to_vec(),
        };
        ensure!(!texts.is_empty(), "there are no texts");
        Ok(encoder.encode_all(&texts))
    }
}
