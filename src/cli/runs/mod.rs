//! `lstmtext runs`.

mod diff;
mod list;
mod named_run;
mod over_seeds;

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  lstmtext runs
  lstmtext runs runs/sweep --sort loss
  lstmtext runs --sort train.learning_rate --json
  lstmtext runs runs/ablation --over-seeds --test --format latex
  lstmtext runs diff runs/a runs/b

A run is running, finished, stopped (by a signal; continue it with train --resume) or failed \
(because of an error). Accuracy and loss are validation scores of the epoch that is shown: the best \
one, or the last one with train.early_stopping.restore_best: false. Configuration fields that differ \
between the runs are shown in additional columns, or below each run. --over-seeds has one row for runs \
that differ only in train.seed, with the mean and the standard deviation of the finished ones. --test adds the \
test scores that the best run or row recorded when it finished. \
To list a directory named diff, write ./diff.";

/// List runs, the best first, with the differences in their configurations
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    Diff(diff::DiffArgs),
}

/// Runs the command.
pub fn run(args: RunsArgs) -> anyhow::Result<u8> {
    match args.command {
        Some(RunsCommand::Diff(args)) => diff::run(args),
        None => list::run(args.list),
    }
}
