//! `lstmtext config`.

use std::path::PathBuf;

use clap::Args;

use super::arguments::SetArgs;
use super::exit::SUCCESS;
use crate::config::{defaults, defaults_with, reference};
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  lstmtext config                         every field with its default and description
  lstmtext config configs/imdb.yaml       every field with its value in this file
  lstmtext config --set train.epochs=5    the defaults with a change
  lstmtext config --reference             reference in Markdown";

/// Print the resolved configuration with a description of every field
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    /// Configuration file (YAML); by default the defaults are printed
    config: Option<PathBuf>,
    /// Print the reference of all fields in Markdown
    #[arg(long, conflicts_with_all = ["config", "overrides"])]
    reference: bool,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs the command.
pub fn run(args: ConfigArgs) -> anyhow::Result<u8> {
    let text = match &args.config {
        Some(path) => args.set.load(path)?.to_yaml(),
        None if args.reference => reference(&defaults()),
        None => defaults_with(&args.set.overrides)?.to_yaml(),
    };
    print(&text)?;
    Ok(SUCCESS)
}
