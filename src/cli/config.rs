//! `lstmtext config`.

use std::path::PathBuf;

use clap::Args;

use super::arguments::SetArgs;
use super::exit::SUCCESS;
use crate::config::{defaults, load, reference, resolved_yaml};
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  lstmtext config                         every field with its default and description
  lstmtext config configs/imdb.yaml       every field with its value in this file
  lstmtext config --reference             reference in Markdown";

/// Print the resolved configuration with a description of every field
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    /// Configuration file (YAML); by default the defaults are printed
    config: Option<PathBuf>,
    /// Print the reference of all fields in Markdown
    #[arg(long, conflicts_with = "config")]
    reference: bool,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs the command.
pub fn run(args: ConfigArgs) -> anyhow::Result<u8> {
    let text = match &args.config {
        Some(path) => load(path, &args.set.overrides)?.to_yaml(),
        None if args.reference => reference(&defaults()),
        None => resolved_yaml(&defaults()),
    };
    print(&text)?;
    Ok(SUCCESS)
}
