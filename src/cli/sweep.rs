//! `lstmtext sweep`.

use std::env;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::arguments::{ComputeArgs, SetArgs};
use super::exit::{FAILURE, SUCCESS};
use super::hints::{program, relative, tensorboard};
use super::{output_directory, starter};
use crate::config::{ConfigError, Sweep, positive_integer};
use crate::io::files::json_content;
use crate::io::replace::write_atomic;
use crate::output::format::{join_names, pluralize};
use crate::output::sanitize::file_name;
use crate::output::shell::{quoted, quoted_path};
use crate::output::{message, note, print, print_json, print_wrapped, terminal_width, warning};
use crate::run::directory::RunDirectory;
use crate::sweep::{
    Failure, Jobs, Launch, Leaderboard, RunState, SweepDirectory, SweepRun, has_test_examples,
};
use crate::system::signals::{Interrupt, Messages};
use crate::system::threads::cores;

const EXAMPLES: &str = "\
Examples:
  lstmtext sweep configs/sweep.yaml --jobs 2
  lstmtext sweep configs/sweep.yaml --set 'sweep.seed=[1]' --set train.epochs=1 --out sweeps/try
  lstmtext sweep configs/sweep.yaml --list
  lstmtext sweep configs/sweep.yaml --index 3

The section sweep of the configuration lists the values of the fields that vary, for example \
{model.lstm.units: [32, 64], seed: [1, 2]}. The same command continues a sweep that was stopped; \
several processes can share a directory. Runs are ranked by validation metric. To test the best \
run, use lstmtext evaluate.";

const MESSAGES: Messages = Messages {
    first: "\nstopping: each run saves after its current step; press Ctrl-C again to quit at once\n",
    second: "\nquit; the runs may still be saving\n",
};

/// Train and rank the runs of a grid search or random search
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SweepArgs {
    /// Configuration file (YAML) with a section sweep
    config: PathBuf,
    /// Directory of the sweep; by default sweeps/NAME
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number of runs to train at once; they share the CPU cores
    #[arg(long, value_name = "N", value_parser = positive_integer, default_value = "1")]
    jobs: NonZeroUsize,
    /// Print the index, state and settings of each run without training. The state is other if the
    /// directory contains a run with a different configuration
    #[arg(long, conflicts_with = "index")]
    list: bool,
    /// Train only the run with this index, starting at 0, in this process
    #[arg(long, value_name = "I", conflicts_with = "jobs")]
    index: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Runs the command.
pub fn run(args: SweepArgs) -> anyhow::Result<u8> {
    let sweep = Sweep::load(&args.config, &args.set.overrides)
        .map_err(|error| starter::explain(error, &args.config))?;
    let path = args.out.clone().unwrap_or_else(|| default_directory(&sweep));
    output_directory::check(&path)?;
    let directory = SweepDirectory::new(sweep, &path);
    match args.index {
        Some(index) => train_one(&directory, index, &args),
        None if args.list => list(&directory, args.json),
        None => train_all(&directory, &args),
    }
}

/// Returns the default of --out. It is always the same, so that the same command continues a sweep.
fn default_directory(sweep: &Sweep) -> PathBuf {
    let name = sweep.base.config.name.as_deref().unwrap_or_default();
    let name = file_name(name.trim_start_matches('.'));
    Path::new("sweeps").join(if name.is_empty() { "sweep" } else { &name })
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
fn list(directory: &SweepDirectory, json: bool) -> anyhow::Result<u8> {
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

/// Replaces this process with the training of one run. Returns only on failure.
fn train_one(directory: &SweepDirectory, index: usize, args: &SweepArgs) -> anyhow::Result<u8> {
    let run = directory.runs.get(index).ok_or_else(|| {
        let count = directory.runs.len();
        ConfigError::new(format!(
            "--index {index}: the sweep has {count} runs, with indices 0 to {}",
            count - 1
        ))
    })?;
    directory.create()?;
    directory.prepare(run)?;
    message(format!("run {index} of {}: {}", directory.runs.len(), run.point));
    let launch = Launch {
        jobs: NonZeroUsize::MIN,
        threads: args.compute.threads,
        device: args.compute.device,
    };
    let mut command = launch.command(run)?;
    if args.json {
        command.arg("--json");
    }
    Err(command.exec()).context("cannot start the training process")
}

/// Trains the runs that have not finished and prints the leaderboard.
fn train_all(directory: &SweepDirectory, args: &SweepArgs) -> anyhow::Result<u8> {
    directory.create()?;
    directory.check_all()?;
    let unfinished = directory.unfinished();
    let mut failures = Vec::new();
    if !unfinished.is_empty() {
        let launch = launch(args, unfinished.len());
        print_start(directory, unfinished.len(), launch);
        let interrupt = Interrupt::listen_with(MESSAGES)?;
        failures = Jobs::new(directory, unfinished, launch).train(&interrupt);
        if let Some(signal) = interrupt.signal() {
            print_resume(directory);
            return Ok(128 + signal as u8);
        }
    }
    report(directory, &failures, args.json)
}

/// Divides the CPU cores among the runs trained at once, unless --threads or OMP_NUM_THREADS sets the
/// number of threads.
fn launch(args: &SweepArgs, left: usize) -> Launch {
    let jobs = NonZeroUsize::new(left).map_or(args.jobs, |left| left.min(args.jobs));
    let shared = || NonZeroUsize::new(cores() / jobs).or(Some(NonZeroUsize::MIN));
    let threads = match args.compute.threads {
        None if jobs.get() > 1 && env::var_os("OMP_NUM_THREADS").is_none() => shared(),
        given => given,
    };
    Launch { jobs, threads, device: args.compute.device }
}

/// Prints the number of runs and their directory.
fn print_start(directory: &SweepDirectory, left: usize, launch: Launch) {
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
        "sweep: {}{finished}; {} at once{threads}",
        pluralize(total, "run"),
        launch.jobs
    ));
    message(format!("in:    {} (each run has a log.txt)", directory.path().display()));
    let others = directory.other_runs();
    if others > 0 {
        let runs = pluralize(others, "run");
        note(format!("the directory contains {runs} that this sweep does not include"));
    }
    message("");
}

/// Prints how to continue a sweep that a signal stopped.
fn print_resume(directory: &SweepDirectory) {
    let total = directory.runs.len();
    let finished = total - directory.unfinished().len();
    let arguments = env::args_os().skip(1).map(|argument| quoted(&argument));
    message(format!(
        "stopped by a signal; {finished} of {total} runs have finished, the others are saved"
    ));
    message(format!("to continue:\n  {} {}", program(), arguments.collect::<Vec<_>>().join(" ")));
}

/// Prints the leaderboard to stdout and writes it to the directory; prints failures and the next
/// commands to stderr.
fn report(directory: &SweepDirectory, failures: &[Failure], json: bool) -> anyhow::Result<u8> {
    let board = Leaderboard::of(directory);
    for failure in failures {
        let run = &directory.runs[failure.index];
        let log = quoted_path(&relative(&run.log()));
        message(format!("\n{} failed: {}\n  {log}", run.name, failure.reason));
    }
    board.notes().iter().for_each(note);
    let deviation = match board.has_deviations() {
        true => "; ± is the standard deviation over seeds",
        false => "",
    };
    message(format!("\nranked by {}{deviation}\n", board.metric.as_str()));
    let (last, finished) = board.scored_by_last();
    if last > 0 {
        let runs = match last == finished {
            true => String::new(),
            false => format!(" of {last} of {}", pluralize(finished, "run")),
        };
        note(format!(
            "scores{runs} are those of last/ (train.early_stopping.restore_best: false)\n"
        ));
    }
    let changes_data =
        |field: &&str| field.starts_with("data.") || field.ends_with("text.train_max_length");
    let sets = board.validation_sets();
    if sets > 1 {
        note(format!(
            "the runs have {sets} sets of validation examples; each set has its own ranks\n"
        ));
    } else if !board.is_recorded() {
        // Runs of an earlier version.
        if let Some(field) = directory.varied_fields().find(changes_data) {
            note(format!("{field} varies, so the runs may have different validation examples\n"));
        }
        if let Some((min, max)) = board.validation_examples() {
            note(format!(
                "the runs have {min} to {max} validation examples; their data has changed\n"
            ));
        }
    }
    match json {
        true => print_json(&board)?,
        false => print(&board.table(terminal_width()))?,
    }
    // The directory may be read-only. The leaderboard has been printed already.
    if let Err(error) = write_leaderboard(directory, &board) {
        note(format!("{error:#}"));
    }
    let warned = board.warned();
    if !warned.is_empty() {
        warning(format!(
            "{} of {} have warnings about their model, which `{} runs {}` shows: {}",
            warned.len(),
            pluralize(directory.runs.len(), "run"),
            program(),
            quoted_path(&relative(directory.path())),
            join_names(&warned)
        ));
    }
    if board.unfinished() > 0 {
        let runs = pluralize(board.unfinished(), "run");
        message(format!("\n{runs} without a result; run the same command to try again"));
    }
    print_next(directory, &board);
    Ok(if board.unfinished() == 0 { SUCCESS } else { FAILURE })
}

/// Writes the leaderboard to the directory.
fn write_leaderboard(directory: &SweepDirectory, board: &Leaderboard) -> anyhow::Result<()> {
    // Two processes may finish the same sweep at the same time.
    let _lock = RunDirectory::open(directory.path()).lock()?;
    write_atomic(&directory.path().join("leaderboard.json"), &json_content(board)?)
}

/// Prints the commands to look at the runs and to test the best one.
fn print_next(directory: &SweepDirectory, board: &Leaderboard) {
    if board.validation_sets() == 0 {
        return;
    }
    let path = quoted_path(&relative(directory.path()));
    message(format!("\nnext:\n  {}\n  {} plot {path}", tensorboard(directory.path()), program()));
    if let Some(winner) = board.winner()
        && has_test_examples(&directory.sweep.base.config)
    {
        let winner = quoted_path(&relative(&directory.path().join(&winner.run)));
        message(format!("  {} evaluate {winner} --split test", program()));
    }
}
