//! `lstmtext config`.

use std::path::PathBuf;

use clap::Args;

use super::{FINE, SetArgs};
use crate::config::{defaults, load, reference, resolved_yaml};
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  lstmtext config                         every field with its default and meaning
  lstmtext config configs/imdb.yaml       the same, as this file sets them
  lstmtext config --reference             the reference as Markdown tables";

/// Print the configuration in full, each field with its meaning
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    /// The configuration, a YAML file; without it the defaults are printed
    config: Option<PathBuf>,
    /// Print the reference of all fields as Markdown
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
    Ok(FINE)
}
