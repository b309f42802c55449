//! `lstmtext data vocab`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::arguments::SetArgs;
use crate::cli::exit::SUCCESS;
use crate::cli::output_file;
use crate::config::{ConfigError, Input};
use crate::data;
use crate::output::format::group_digits;
use crate::output::{message, note};
use crate::text::vocabulary_file;

const EXAMPLE: &str = "\
Example:
  lstmtext data vocab configs/theano_meanpool.yaml --to data/imdb.vocabulary.json
  lstmtext train mine.yaml --set text.vocabulary=data/imdb.vocabulary.json
  lstmtext data vocab few_labels.yaml --unlabelled --to vocabulary.json

The file lists the words of the training examples by descending frequency, up to \
text.vocabulary_size ids. Configurations that set text.vocabulary to the file share the same ids.";

/// Write the vocabulary of the training examples or of unlabelled texts to a file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct VocabArgs {
    /// Configuration file (YAML)
    config: PathBuf,
    /// File to write (JSON)
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Count the words of the texts in data.unlabelled instead of the training examples
    #[arg(long)]
    unlabelled: bool,
    /// Name of the input, if there are several
    #[arg(long, value_name = "NAME")]
    input: Option<String>,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs the command.
pub fn run(args: VocabArgs) -> anyhow::Result<u8> {
    let config = args.set.load(&args.config)?.config;
    let index = index_of(&config.inputs, args.input.as_deref())?;
    output_file::check("--to", &args.to, &config, Some(&args.config))?;
    let texts = match args.unlabelled {
        true => data::load_unlabelled(&config, None)?
            .ok_or_else(|| ConfigError::new("--unlabelled: data.unlabelled is null"))?,
        false => data::load_training(&config)?.examples,
    };
    texts.findings.iter().for_each(note);
    let input = &config.inputs[index];
    let vocabulary = texts.vocabulary(index, input)?;
    vocabulary_file::write(&args.to, &vocabulary, &input.text)?;
    message(format!("{} ids, including the special ids", group_digits(vocabulary.len())));
    output_file::print(&args.to).map(|()| SUCCESS)
}

/// Returns the index of the input called `name`.
fn index_of(inputs: &[Input], name: Option<&str>) -> anyhow::Result<usize> {
    let names: Vec<&str> = inputs.iter().filter_map(|input| input.name.as_deref()).collect();
    match name {
        None if inputs.len() == 1 => Ok(0),
        None => bail!(
            "the configuration has several inputs; choose one with --input ({})",
            names.join(", ")
        ),
        Some(name) => names.iter().position(|each| *each == name).with_context(|| {
            let inputs = match names.len() {
                0 => "the configuration has a single unnamed input".to_owned(),
                _ => format!("the inputs are {}", names.join(", ")),
            };
            format!("--input {name}: unknown input; {inputs}")
        }),
    }
}
