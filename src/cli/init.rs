//! `lstmtext init`.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{ColumnArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::program;
use super::starter;
use crate::config::{self, ConfigError};
use crate::output::{message, print};

const EXAMPLES: &str = "\
Examples:
  lstmtext init reviews.csv > mine.yaml
  lstmtext init reviews.csv --text review --label stars > mine.yaml
  lstmtext init data/ --set model.lstm.units=128 > mine.yaml

`lstmtext train reviews.csv` trains with the same configuration. `lstmtext config mine.yaml` prints all \
other fields with their defaults and meanings.";

/// Write a configuration for a data file or directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// Data file (.csv, .tsv, .jsonl, .parquet, fastText's .txt, compressed too), or directory: one per class,
    /// or with files such as train.csv and test.csv
    data: PathBuf,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs the command.
pub fn run(args: InitArgs) -> anyhow::Result<u8> {
    let path = &args.data;
    let overrides = args.columns.overrides(&args.set);
    let Some(mut guess) = starter::guess(path, &overrides)? else {
        let error = ConfigError::new(format!(
            "\"{}\" is not data from which a configuration can be guessed",
            path.display()
        ));
        return Err(starter::unusable(error, path).into());
    };
    for set in &overrides {
        guess.set(&set.field(), set.value().clone());
    }
    let yaml = guess.to_yaml();
    config::parse(&yaml, "the new configuration", &overrides)?;
    message(guess.describe());
    message(format!("next: {} train mine.yaml", program()));
    print(&yaml)?;
    Ok(SUCCESS)
}
