//! `lstmtext data`: one file per subcommand. Reading and splitting data belongs in [`crate::data`].

mod check;
mod fetch;
mod split;
mod stats;
mod vocab;

use clap::{Args, Subcommand};

pub use self::split::write_parts;
use crate::system::threads;

/// Download, inspect and export data sets
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    Fetch(fetch::FetchArgs),
    Check(check::CheckArgs),
    Stats(stats::StatsArgs),
    Split(split::SplitArgs),
    Vocab(vocab::VocabArgs),
}

/// Runs the command.
pub fn run(args: DataArgs) -> anyhow::Result<u8> {
    threads::set_count(None)?;
    match args.command {
        DataCommand::Fetch(args) => fetch::run(args),
        DataCommand::Check(args) => check::run(args),
        DataCommand::Stats(args) => stats::run(args),
        DataCommand::Split(args) => split::run(args),
        DataCommand::Vocab(args) => vocab::run(args),
    }
}
