//! Training of the runs of a sweep or of a cross-validation: arguments, listing, and processes.

use std::env;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::arguments::{ColumnArgs, ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::{program, relative};
use crate::config::{Config, ConfigError, Override, Sweep, positive_integer};
use crate::output::format::pluralize;
use crate::output::sanitize::file_name;
use crate::output::shell::{quoted, quoted_path};
use crate::output::{message, note, print_json, print_wrapped};
use crate::sweep::{Failure, Jobs, Launch, RunState, SweepDirectory, SweepRun};
use crate::system::signals::{Interrupt, Messages};
use crate::system::threads::cores;

const MESSAGES: Messages = Messages {
    first: "\nstopping: each run saves after its current step; press Ctrl-C again to quit at once\n",
    second: "\nquit; the runs may still be saving\n",
};

/// Arguments of commands that train several runs.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Directory of the runs; by default COMMAND/NAME
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Number of runs to train at once; they share the CPU cores
    #[arg(long, value_name = "N", value_parser = positive_integer, default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Print the index, state and settings of each run without training. The state is other if the
    /// directory contains a run with a different configuration
    #[arg(long, conflicts_with = "index")]
    pub list: bool,
    /// Train only the run with this index, starting at 0, in this process
    #[arg(long, value_name = "I", conflicts_with = "jobs")]
    pub index: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

impl RunsArgs {
    /// Overrides of the configuration.
    pub fn overrides(&self) -> Vec<Override> {
        self.columns.overrides(&self.set)
    }
}

/// Outcome of training several runs.
pub enum Trained {
    /// All runs have finished or failed.
    Ended(Vec<Failure>),
    /// A signal has stopped the runs, which are saved. The exit code says so.
    Stopped(u8),
}

/// Returns the default of --out in the directory `parent`. It is always the same, so that the same command
/// continues.
pub fn default_directory(parent: &str, sweep: &Sweep) -> PathBuf {
    default_directory_of(parent, &sweep.base.config)
}

/// Returns the default of --out for a configuration like [`default_directory`].
pub fn default_directory_of(parent: &str, config: &Config) -> PathBuf {
    let name = config.name.as_deref().unwrap_or_default();
    let name = file_name(name.trim_start_matches('.'));
    Path::new(parent).join(if name.is_empty() { parent.trim_end_matches('s') } else { &name })
}

/// A run in the output of --list --json.
#[derive(Serialize)]
struct ListedRun<'a> {
    index: usize,
    run: &'a Path,
    state: &'static str,
    settings: Map<String, Value>,
    config: Value,
}

/// Prints the runs, one line each.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn list(directory: &SweepDirectory, json: bool) -> anyhow::Result<u8> {
    if json {
        let listed = directory.runs.iter().map(|run| listed(directory, run));
        print_json(&listed.collect::<anyhow::Result<Vec<_>>>()?)?;
        return Ok(SUCCESS);
    }
    let width = (directory.runs.len() - 1).to_string().len();
    let line = |run: &SweepRun| {
        format!("{:width$}  {:<8}  {}\n", run.index, state(directory, run), run.point)
    };
    print_wrapped(&directory.runs.iter().map(line).collect::<String>())?;
    Ok(SUCCESS)
}

fn listed<'a>(directory: &SweepDirectory, run: &'a SweepRun) -> anyhow::Result<ListedRun<'a>> {
    let json = |value: &serde_yaml::Value| serde_json::to_value(value);
    let settings = run.point.overrides().map(|set| Ok((set.field(), json(set.value())?)));
    let settings =
        settings.collect::<serde_json::Result<_>>().context("cannot encode a setting")?;
    let config = serde_yaml::from_str(&directory.resolve(run)?.to_yaml());
    Ok(ListedRun {
        index: run.index,
        run: run.directory.path(),
        state: state(directory, run),
        settings,
        config: config.context("cannot encode a configuration")?,
    })
}

fn state(directory: &SweepDirectory, run: &SweepRun) -> &'static str {
    if directory.check(run).is_err() {
        // The configuration differs or cannot be read.
        return "other";
    }
    match run.state() {
        RunState::New => "new",
        RunState::Running => "running",
        RunState::Stopped => "stopped",
        RunState::Failed => "failed",
        RunState::Finished(_) => "finished",
    }
}

/// Returns the run with an index.
///
/// # Errors
/// Returns an error if there is none.
pub fn run_at(directory: &SweepDirectory, index: usize) -> Result<&SweepRun, ConfigError> {
    directory.runs.get(index).ok_or_else(|| {
        let count = directory.runs.len();
        ConfigError::new(format!(
            "--index {index}: there are {count} runs, with indices 0 to {}",
            count - 1
        ))
    })
}

/// Replaces this process with the training of one run. Returns only on failure.
///
/// # Errors
/// Returns an error if the run cannot be trained.
pub fn train_one(
    directory: &SweepDirectory,
    run: &SweepRun,
    args: &RunsArgs,
) -> anyhow::Result<u8> {
    directory.create()?;
    directory.prepare(run)?;
    message(format!("run {} of {}: {}", run.index, directory.runs.len(), run.point));
    let launch = Launch {
        jobs: NonZeroUsize::MIN,
        threads: args.compute.threads,
        device: args.compute.device,
    };
    let mut command = launch.command(run.directory.path())?;
    if args.json {
        command.arg("--json");
    }
    Err(command.exec()).context("cannot start the training process")
}

/// Divides the CPU cores among the runs trained at once, unless --threads or OMP_NUM_THREADS sets the
/// number of threads.
fn launch(args: &RunsArgs, left: usize) -> Launch {
    let jobs = NonZeroUsize::new(left).map_or(args.jobs, |left| left.min(args.jobs));
    let threads = threads_per_run(&args.compute, jobs);
    Launch { jobs, threads, device: args.compute.device }
}

/// Returns the number of threads of each of `jobs` runs at once. `None`: the default of `train`.
pub fn threads_per_run(compute: &ComputeArgs, jobs: NonZeroUsize) -> Option<NonZeroUsize> {
    let shared = || NonZeroUsize::new(cores() / jobs).or(Some(NonZeroUsize::MIN));
    match compute.threads {
        None if jobs.get() > 1 && env::var_os("OMP_NUM_THREADS").is_none() => shared(),
        given => given,
    }
}

/// Trains the runs that have not finished. `name` is that of the whole, such as sweep.
///
/// # Errors
/// Returns an error if the directory has other runs of these names, or cannot be written.
pub fn train_all(
    directory: &SweepDirectory,
    name: &str,
    args: &RunsArgs,
) -> anyhow::Result<Trained> {
    directory.create()?;
    directory.check_all()?;
    let unfinished = directory.unfinished();
    if unfinished.is_empty() {
        return Ok(Trained::Ended(Vec::new()));
    }
    let launch = launch(args, unfinished.len());
    print_start(directory, name, unfinished.len(), launch);
    let interrupt = Interrupt::listen_with(MESSAGES)?;
    let failures = Jobs::new(directory, unfinished, launch).train(&interrupt);
    match interrupt.signal() {
        None => Ok(Trained::Ended(failures)),
        Some(signal) => {
            print_resume(directory);
            Ok(Trained::Stopped(128 + signal as u8))
        }
    }
}

/// Prints the number of runs and their directory.
fn print_start(directory: &SweepDirectory, name: &str, left: usize, launch: Launch) {
    let total = directory.runs.len();
    let finished = match total - left {
        0 => String::new(),
        finished => format!(", {finished} already finished"),
    };
    let threads = match launch.threads {
        Some(threads) => format!(" with {} each", pluralize(threads.get(), "thread")),
        None => String::new(),
    };
    message(format!(
        "{:<6} {}{finished}; {} at once{threads}",
        format!("{name}:"),
        pluralize(total, "run"),
        launch.jobs
    ));
    message(format!("in:    {} (each run has a log.txt)", directory.path().display()));
    let others = directory.other_runs();
    if others > 0 {
        let runs = pluralize(others, "run");
        note(format!("the directory contains {runs} that are not among these"));
    }
    message("");
}

/// Prints how to continue a sweep that a signal stopped.
fn print_resume(directory: &SweepDirectory) {
    let total = directory.runs.len();
    let finished = total - directory.unfinished().len();
    message(format!(
        "stopped by a signal; {finished} of {total} runs have finished, the others are saved"
    ));
    message(format!("to continue:\n  {}", resume_command()));
}

/// Returns the command line of this process, which continues it.
pub fn resume_command() -> String {
    let arguments = env::args_os().skip(1).map(|argument| quoted(&argument));
    std::iter::once(program()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Prints the failures of runs, with their logs.
pub fn print_failures(directory: &SweepDirectory, failures: &[Failure]) {
    for failure in failures {
        let run = &directory.runs[failure.index];
        let log = quoted_path(&relative(&run.directory.log()));
        message(format!("\n{} failed: {}\n  {log}", run.name, failure.reason));
    }
}
