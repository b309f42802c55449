//! `lstmtext vectors`.

mod console;
mod file;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_yaml::Value;

use self::console::Console;
use self::file::VectorsFile;
use super::arguments::thread_count;
use super::exit::SUCCESS;
use super::hints::{program, set_options};
use super::output_file;
use super::pretraining_texts::PretrainingTextArgs;
use crate::config::{Config, Override};
use crate::output::format::{format_duration, group_digits, pluralize};
use crate::output::shell::quoted_path;
use crate::output::{message, note};
use crate::pretrain::{PretrainingTexts, VectorLearning};
use crate::system::signals::{Interrupt, Messages};
use crate::system::threads;
use crate::text::FIRST_WORD;

const EXAMPLES: &str = "\
Examples:
  lstmtext vectors configs/imdb.yaml --to imdb.vec
  lstmtext vectors reviews.csv --text body --to reviews.npy --set model.embedding.size=100
  lstmtext vectors a.txt b.txt --to words.vec.gz --set pretrain.vectors.method=skipgram
  lstmtext train configs/imdb.yaml --set model.embedding.vectors=imdb.vec

The texts are the training examples of a configuration and those in data.unlabelled, or those of the files: a text \
per line in .txt, or a column of a table. Labels are ignored. The settings are those of model.embedding.size, text \
and pretrain.vectors.

A .vec or .txt file, also as .gz, has the text format of word2vec and fastText. With an .npy file, the words are in \
a .txt file of the same name, and with model.embedding.subwords the vectors of character n-grams in a \
.subwords-3-6.npy file.";

const MESSAGES: Messages = Messages {
    first: "\nstopping; no vectors are written\n",
    second: "\nquit; no vectors are written\n",
};

/// Learn word vectors from texts without labels
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VectorsArgs {
    #[command(flatten)]
    texts: PretrainingTextArgs,
    /// File to write: .vec or .txt (also .gz), or .npy with the words in a .txt file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Number of CPU threads; by default one per core. Several threads learn vectors that differ a little from
    /// run to run
    #[arg(long, value_name = "N", value_parser = thread_count)]
    threads: Option<NonZeroUsize>,
}

/// Runs the command.
pub fn run(args: VectorsArgs) -> anyhow::Result<u8> {
    VectorsFile::new(&args.to, None)?;
    threads::set_count(args.threads)?;
    let config = args.texts.load(&[])?.config;
    let file = VectorsFile::new(&args.to, Some(&config.inputs[0].embedding.subwords))?;
    let sources = &args.texts.paths;
    for (output, source) in
        file.paths().flat_map(|path| sources.iter().map(move |source| (path, source)))
    {
        output_file::check("--to", output, &config, Some(source))?;
    }
    let texts = read_texts(&config)?;
    let interrupt = Interrupt::listen_with(MESSAGES)?;
    if let Some(signal) = learn(&config, &texts, &file, &args.to, &interrupt, &|| Ok(()))? {
        return Ok(128 + signal as u8);
    }
    output_file::print(&args.to)?;
    let training = match config.pretrain.texts.is_empty() {
        true => quoted_path(&sources[0]) + &set_options(&args.texts.overrides()),
        false => format!("CONFIG --set model.embedding.size={}", config.inputs[0].embedding.size),
    };
    let vectors = Override::new("model.embedding.vectors", Value::from(args.to.to_string_lossy()));
    message(format!("\nnext:\n  {} train {training}{}", program(), set_options(&[vectors])));
    Ok(SUCCESS)
}

/// Learns the vectors of a stage of `lstmtext train`, and calls `heartbeat` at least every second while it learns. Returns the signal if one
/// interrupted it.
///
/// # Errors
/// Returns an error if the texts cannot be read, the file cannot be written, or `heartbeat` fails.
pub fn learn_to_file(
    config: &Config,
    path: &Path,
    interrupt: &Interrupt,
    heartbeat: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Option<i32>> {
    let file = VectorsFile::new(path, Some(&config.inputs[0].embedding.subwords))?;
    learn(config, &read_texts(config)?, &file, path, interrupt, heartbeat)
}

fn read_texts(config: &Config) -> anyhow::Result<PretrainingTexts> {
    let texts = PretrainingTexts::load(config, false, None)?;
    texts.findings.iter().filter(|finding| finding.is_notable()).for_each(note);
    Ok(texts)
}

/// Learns vectors and writes them to a file. Returns the signal if one interrupted it.
fn learn(
    config: &Config,
    texts: &PretrainingTexts,
    file: &VectorsFile,
    path: &Path,
    interrupt: &Interrupt,
    heartbeat: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Option<i32>> {
    let (settings, size) = (&config.pretrain.vectors, config.inputs[0].embedding.size);
    let subwords = &config.inputs[0].embedding.subwords;
    let (seed, threads) = (config.train.seed, threads::count());
    let learning = VectorLearning { settings, subwords, size, seed, threads };
    message(format!(
        "{}, {}; {} words of dimension {size}, {}, {}",
        pluralize(texts.texts(), "text"),
        pluralize(texts.tokens(), "token"),
        group_digits(texts.encoder.vocabulary().len() - FIRST_WORD as usize),
        settings.method.as_str(),
        pluralize(learning.threads, "thread"),
    ));
    let mut console = Console::new(settings.epochs);
    let (started, mut alive) = (Instant::now(), Ok(()));
    let learned = learning.run(texts, &mut |progress| {
        console.report(progress);
        if alive.is_ok() {
            alive = heartbeat();
        }
        match alive.is_err() || interrupt.signal().is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    console.finish();
    alive?;
    let Some(learned) = learned? else { return Ok(interrupt.signal()) };
    let elapsed = started.elapsed();
    let words = file.write(texts.encoder.vocabulary().words(), &learned)?;
    let tokens = learned.tokens as f64 * settings.epochs as f64;
    message(format!(
        "{}: {} of dimension {size}; {} in {}, {} tokens/s, loss {:.4}",
        path.display(),
        pluralize(words, "word"),
        pluralize(settings.epochs, "epoch"),
        format_duration(elapsed),
        group_digits((tokens / elapsed.as_secs_f64().max(1e-9)) as usize),
        learned.loss,
    ));
    Ok(None)
}
