//! `lstmtext sweep`.

use std::env;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::hints::{program, quoted, relative, tensorboard};
use super::{ComputeArgs, FAILED, FINE, SetArgs};
use crate::config::count;
use crate::config::{ConfigError, Sweep};
use crate::io::files::write_atomic;
use crate::output::format::pluralize;
use crate::output::{message, note, print, print_json, terminal_width};
use crate::run::directory::RunDirectory;
use crate::sweep::{
    Failure, Jobs, Launch, Leaderboard, State, SweepDirectory, SweepRun, has_test_examples,
};
use crate::system::signals::{Interrupt, Messages};

const EXAMPLES: &str = "\
Examples:
  lstmtext sweep configs/sweep.yaml --jobs 2
  lstmtext sweep configs/sweep.yaml --set 'sweep.seed=[1]' --set train.epochs=1 --out sweeps/try
  lstmtext sweep configs/sweep.yaml --list
  lstmtext sweep configs/sweep.yaml --index 3

The configuration's section sweep says what varies, as {model.lstm.units: [32, 64], seed: [1, 2]}.
Called again, it goes on where it was stopped; several processes may share one folder. Runs are
ranked by their validation scores; the test examples are left to lstmtext evaluate.";

const MESSAGES: Messages = Messages {
    first: "\nstopping: each run finishes its step and saves; once more ends at once\n",
    second: "\nended; runs that were under way may be finishing their step still\n",
};

/// Train every point of a grid or random search, and rank them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SweepArgs {
    /// The configuration, a YAML file with a section sweep
    config: PathBuf,
    /// Folder of the runs; by default sweeps/NAME
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Train so many runs at once, which share the CPU cores
    #[arg(long, value_name = "N", value_parser = count, default_value = "1")]
    jobs: NonZeroUsize,
    /// Print each run's index, state and settings; train nothing. State other: its folder has a run of
    /// another configuration
    #[arg(long, conflicts_with = "index")]
    list: bool,
    /// Train only the run of this index, from 0, in this process
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
    let sweep = Sweep::load(&args.config, &args.set.overrides)?;
    let path = args.out.clone().unwrap_or_else(|| default_folder(&sweep));
    let folder = SweepDirectory::new(sweep, &path);
    match args.index {
        Some(index) => train_one(&folder, index, &args),
        None if args.list => list(&folder, args.json),
        None => train_all(&folder, &args),
    }
}

/// Always the same, so that the same command goes on.
fn default_folder(sweep: &Sweep) -> PathBuf {
    let name = sweep.base.config.name.as_deref().unwrap_or_default();
    let harmless = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.trim_start_matches('.').chars().map(harmless).collect();
    Path::new("sweeps").join(if name.is_empty() { "sweep" } else { &name })
}

#[derive(Serialize)]
struct Listed<'a> {
    index: usize,
    run: &'a Path,
    state: &'static str,
    settings: Map<String, Value>,
    config: Value,
}

/// Prints what is to be trained, a line each.
fn list(folder: &SweepDirectory, json: bool) -> anyhow::Result<u8> {
    if json {
        let listed = folder.runs.iter().map(|run| listed(folder, run));
        print_json(&listed.collect::<anyhow::Result<Vec<_>>>()?)?;
        return Ok(FINE);
    }
    let width = (folder.runs.len() - 1).to_string().len();
    let line = |run: &SweepRun| {
        format!("{:width$}  {:<8}  {}\n", run.index, state(folder, run), run.point)
    };
    print(&folder.runs.iter().map(line).collect::<String>())?;
    Ok(FINE)
}

fn listed<'a>(folder: &SweepDirectory, run: &'a SweepRun) -> anyhow::Result<Listed<'a>> {
    let json = |value: &serde_yaml::Value| serde_json::to_value(value);
    let settings = run.point.changes().map(|set| Ok((set.field(), json(set.value())?)));
    let settings =
        settings.collect::<serde_json::Result<_>>().context("cannot encode a setting")?;
    let config = serde_yaml::from_str(&folder.resolve(run)?.to_yaml());
    Ok(Listed {
        index: run.index,
        run: run.folder.path(),
        state: state(folder, run),
        settings,
        config: config.context("cannot encode a configuration")?,
    })
}

fn state(folder: &SweepDirectory, run: &SweepRun) -> &'static str {
    if folder.check(run).is_err() {
        // A run of another configuration, or none that can be read.
        return "other";
    }
    match run.state() {
        State::New => "new",
        State::Running => "running",
        State::Stopped => "stopped",
        State::Failed => "failed",
        State::Finished(_) => "finished",
    }
}

/// Goes on as the training of one run, which returns only where that fails.
fn train_one(folder: &SweepDirectory, index: usize, args: &SweepArgs) -> anyhow::Result<u8> {
    let run = folder.runs.get(index).ok_or_else(|| {
        let count = folder.runs.len();
        ConfigError::new(format!("--index {index}: the sweep has {count} runs, 0 to {}", count - 1))
    })?;
    folder.make()?;
    folder.prepare(run)?;
    message(format!("run {index} of {}: {}", folder.runs.len(), run.point));
    let launch = Launch {
        jobs: NonZeroUsize::MIN,
        threads: args.compute.threads,
        device: args.compute.device,
    };
    let mut command = launch.command(run)?;
    if args.json {
        command.arg("--json");
    }
    Err(command.exec()).context("cannot start the training")
}

/// Trains what is left, and prints the leaderboard.
fn train_all(folder: &SweepDirectory, args: &SweepArgs) -> anyhow::Result<u8> {
    folder.make()?;
    folder.check_all()?;
    let unfinished = folder.unfinished();
    let mut failures = Vec::new();
    if !unfinished.is_empty() {
        let launch = launch(args, unfinished.len());
        introduce(folder, unfinished.len(), launch);
        let interrupt = Interrupt::listen_with(MESSAGES)?;
        failures = Jobs::new(folder, unfinished, launch).train(&interrupt);
        if let Some(signal) = interrupt.signal() {
            say_how_to_go_on(folder);
            return Ok(128 + signal as u8);
        }
    }
    report(folder, &failures, args.json)
}

/// Where neither the command line nor the environment says how many threads a training has, those
/// that run at once share the cores.
fn launch(args: &SweepArgs, left: usize) -> Launch {
    let jobs = NonZeroUsize::new(left).map_or(args.jobs, |left| left.min(args.jobs));
    let shared = || {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new(cores / jobs).or(Some(NonZeroUsize::MIN))
    };
    let threads = match args.compute.threads {
        None if jobs.get() > 1 && env::var_os("OMP_NUM_THREADS").is_none() => shared(),
        given => given,
    };
    Launch { jobs, threads, device: args.compute.device }
}

/// Says what will be trained, and where it goes.
fn introduce(folder: &SweepDirectory, left: usize, launch: Launch) {
    let total = folder.runs.len();
    let finished = match total - left {
        0 => String::new(),
        finished => format!(", {finished} of them finished before"),
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
    message(format!("in:    {}, each with its log.txt", folder.path().display()));
    let others = folder.other_runs();
    if others > 0 {
        let runs = pluralize(others, "other run");
        note(format!("the folder holds {runs}, not of this sweep"));
    }
    message("");
}

fn say_how_to_go_on(folder: &SweepDirectory) {
    let total = folder.runs.len();
    let finished = total - folder.unfinished().len();
    let words = env::args().skip(1).map(|word| quoted(Path::new(&word)));
    message(format!(
        "stopped by a signal; {finished} of {total} runs are finished, and none is lost"
    ));
    message(format!("go on with:\n  {} {}", program(), words.collect::<Vec<_>>().join(" ")));
}

/// The leaderboard on stdout and in the folder; what failed and what to do next on stderr.
fn report(folder: &SweepDirectory, failures: &[Failure], json: bool) -> anyhow::Result<u8> {
    let board = Leaderboard::of(folder);
    for failure in failures {
        let run = &folder.runs[failure.index];
        let log = quoted(&relative(&run.log()));
        message(format!("\n{} failed: {}\n  {log}", run.name, failure.reason));
    }
    let deviation = match board.has_deviations() {
        true => "; ± is the standard deviation over seeds",
        false => "",
    };
    message(format!("\nranked by {}{deviation}\n", board.metric));
    let of_data =
        |field: &&str| field.starts_with("data.") || field.ends_with("text.train_max_length");
    if let Some(field) = folder.varied().find(of_data) {
        note(format!("{field} varies: scores may be of different validation examples\n"));
    }
    if let Some((least, most)) = board.validation_examples() {
        note(format!("runs have {least} to {most} validation examples: their data has changed\n"));
    }
    match json {
        true => print_json(&board)?,
        false => print(&board.table(terminal_width()))?,
    }
    // Whoever may only read the folder has seen all there is.
    if let Err(error) = keep(folder, &board) {
        note(format!("{error:#}"));
    }
    if board.missing() > 0 {
        let missing = pluralize(board.missing(), "run");
        message(format!("\n{missing} without a result: the same command tries again"));
    }
    say_next(folder, &board);
    Ok(if board.missing() == 0 { FINE } else { FAILED })
}

/// Writes the leaderboard into the folder.
fn keep(folder: &SweepDirectory, board: &Leaderboard) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(board).context("cannot encode the leaderboard")?;
    bytes.push(b'\n');
    // Two sweeps of one folder may end at once.
    let _lock = RunDirectory::open(folder.path()).lock()?;
    write_atomic(&folder.path().join("leaderboard.json"), &bytes)
}

fn say_next(folder: &SweepDirectory, board: &Leaderboard) {
    let config = &folder.sweep.base.config;
    let Some(winner) = board.winner(config.train.early_stopping.metric) else { return };
    let path = quoted(&relative(folder.path()));
    message(format!("\nnext:\n  {}\n  {} plot {path}", tensorboard(folder.path()), program()));
    if has_test_examples(config) {
        let winner = quoted(&relative(&folder.path().join(&winner.run)));
        message(format!("  {} evaluate {winner} --split test", program()));
    }
}
