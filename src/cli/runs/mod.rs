//! `lstmtext runs`.

mod diff;
mod list;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::config::{Difference, Resolved, differences};
use crate::objective::metrics::Score;
use crate::output::format::format_duration;
use crate::run::listing::{RunReport, State};
use crate::run::progress::Best;

const EXAMPLES: &str = "\
Examples:
  lstmtext runs
  lstmtext runs runs/sweep --sort loss
  lstmtext runs --sort train.learning_rate --json
  lstmtext runs diff runs/a runs/b

A run is running, finished, stopped (by a signal or a kill; train --resume goes on with it) or
failed (an error ended it). Accuracy and loss are those of its best epoch on the validation
examples. Fields of the configuration that differ between the runs stand beside them, or below.
A folder whose name is diff is given as ./diff.";

/// List runs, the best first, and what differs between them
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

/// A run under the name that it has in a list.
struct Named {
    name: String,
    report: RunReport,
}

impl Named {
    /// The best epoch of those that are trained, and of how many where that is not all.
    fn epochs(&self) -> String {
        let RunReport { best, epoch, state, .. } = &self.report;
        let best = best.map_or("–".to_owned(), |best| best.epoch.to_string());
        match self.report.epochs() {
            Some(all) if *state != State::Finished => format!("{best} of {epoch}/{all}"),
            _ => format!("{best} of {epoch}"),
        }
    }

    fn time(&self) -> String {
        time(self.report.seconds)
    }
}

/// Seconds as people read them.
fn time(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if seconds >= 60.0 => format_duration(duration),
        _ => format!("{seconds:.1} s"),
    }
}

fn percent(score: Score) -> String {
    format!("{:.2} %", 100.0 * score.accuracy)
}

fn loss(score: Score) -> String {
    match score.loss {
        loss if loss < 1e4 => format!("{loss:.4}"),
        loss => format!("{loss:.1e}"),
    }
}

/// The fields whose values differ between the runs, with a value for each run whose configuration
/// can be read. The name of a configuration is none of them where the folders say it.
fn differing(runs: &[Named]) -> Vec<Difference> {
    let configs: Vec<&Resolved> =
        runs.iter().filter_map(|run| run.report.resolved.as_ref()).collect();
    let mut differing = differences(&configs);
    let says_its_name = |run: &Named| {
        let folder = run.report.folder.path().file_name().map(|name| name.to_string_lossy());
        let config = run.report.resolved.as_ref().map(|resolved| &resolved.config);
        let name = config.and_then(|config| config.name.as_deref());
        name.is_none_or(|name| folder.is_some_and(|folder| folder.starts_with(name)))
    };
    if runs.iter().all(says_its_name) {
        differing.retain(|difference| difference.path != ["name"]);
    }
    // A run whose configuration cannot be read has no values.
    for difference in &mut differing {
        let mut values = std::mem::take(&mut difference.values).into_iter();
        let value = |run: &Named| run.report.resolved.as_ref().and(values.next()).flatten();
        difference.values = runs.iter().map(value).collect();
    }
    differing
}

/// A run as JSON has it.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    path: PathBuf,
    state: State,
    /// Seconds since 1970.
    begun: Option<u64>,
    best_epoch: Option<usize>,
    /// Of the best epoch.
    validation: Option<Score>,
    test: Option<Score>,
    /// The last one that is trained, of so many.
    epoch: usize,
    epochs: Option<usize>,
    /// Spent training.
    seconds: f64,
    tokens_per_second: Option<f64>,
    parameters: Option<usize>,
    /// The fields of the configuration that are not the same in all runs.
    differs: BTreeMap<String, serde_yaml::Value>,
    error: Option<&'a str>,
    faults: &'a [String],
}

fn entries<'a>(runs: &'a [Named], differing: &[Difference]) -> Vec<Entry<'a>> {
    let entry = |(number, Named { name, report }): (usize, &'a Named)| {
        let differs = differing.iter().filter_map(|difference| {
            Some((difference.field(), difference.values[number].clone()?))
        });
        Entry {
            name,
            path: report.folder.path().to_owned(),
            state: report.state,
            begun: report.begun,
            best_epoch: report.best.map(|Best { epoch, .. }| epoch),
            validation: report.best.map(|best| best.validation),
            test: report.test,
            epoch: report.epoch,
            epochs: report.epochs(),
            seconds: report.seconds,
            tokens_per_second: report.tokens_per_second,
            parameters: report.parameters,
            differs: differs.collect(),
            error: report.error.as_deref(),
            faults: &report.faults,
        }
    };
    runs.iter().enumerate().map(entry).collect()
}
