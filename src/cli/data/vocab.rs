//! `lstmtext data vocab`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::{FINE, SetArgs};
use crate::config::{self, Input};
use crate::data;
use crate::output::format::group_digits;
use crate::output::{message, note, print};
use crate::text::dictionary;

const EXAMPLE: &str = "\
Example:
  lstmtext data vocab configs/theano_meanpool.yaml --to data/imdb.vocabulary.json
  lstmtext train mine.yaml --set text.vocabulary=data/imdb.vocabulary.json

The words of the training examples by falling frequency, at most text.vocabulary_size ids of them.
A configuration that names the file in text.vocabulary numbers words as this one does.";

/// Write the vocabulary of the training examples to a file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct VocabArgs {
    /// The configuration, a YAML file
    config: PathBuf,
    /// The file to write (JSON)
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Which of several inputs
    #[arg(long, value_name = "NAME")]
    input: Option<String>,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs the command.
pub fn run(args: VocabArgs) -> anyhow::Result<u8> {
    let config = config::load(&args.config, &args.set.overrides)?.config;
    let index = position(&config.inputs, args.input.as_deref())?;
    let splits = data::load(&config)?;
    splits.notes.iter().for_each(note);
    let input = &config.inputs[index];
    let vocabulary = splits.train.vocabulary(index, &input.text)?;
    dictionary::write(&args.to, &vocabulary, &input.text)?;
    message(format!("{} ids, the special ones included", group_digits(vocabulary.len())));
    print(&args.to.display().to_string()).map(|()| FINE)
}

/// The number of the input that is meant.
fn position(inputs: &[Input], name: Option<&str>) -> anyhow::Result<usize> {
    let names: Vec<&str> = inputs.iter().filter_map(|input| input.name.as_deref()).collect();
    match name {
        None if inputs.len() == 1 => Ok(0),
        None => bail!(
            "the configuration has several inputs: say which with --input ({})",
            names.join(", ")
        ),
        Some(name) => names.iter().position(|known| *known == name).with_context(|| {
            format!(
                "--input {name}: the configuration has {}",
                match names.len() {
                    0 => "one input without a name".to_owned(),
                    _ => names.join(", "),
                }
            )
        }),
    }
}
