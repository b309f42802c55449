//! `lstmtext sweep`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::arguments::ComputeArgs;
use super::exit::{FAILURE, SUCCESS};
use super::hints::{program, relative, tensorboard};
use super::many_runs::{self, RunsArgs, Trained};
use super::score_format::{ScoreFormatArgs, ScoreTableFormat, print_scores};
use super::tune::KEPT;
use super::tune::search::{self, SearchRequest};
use super::{output_directory, provenance, starter};
use crate::backend::Backends;
use crate::config::{ConfigError, SearchPlan, SearchSpace};
use crate::data::{SplitName, load_split};
use crate::io::files::json_content;
use crate::io::replace::write_atomic;
use crate::objective::metrics::Score;
use crate::output::format::{join_names, pluralize};
use crate::output::shell::quoted_path;
use crate::output::{message, note, terminal_width, warning};
use crate::run::directory::RunDirectory;
use crate::run::summary::CheckpointKind;
use crate::sweep::{Failure, FinishedRun, Leaderboard, SweepDirectory, TestScores};
use crate::tune::Limits;

const EXAMPLES: &str = "\
Examples:
  lstmtext sweep configs/sweep.yaml --jobs 2
  lstmtext sweep configs/sweep.yaml --set 'sweep.seed=[1]' --set train.epochs=1 --out sweeps/try
  lstmtext sweep configs/sweep.yaml --format latex --test
  lstmtext sweep configs/sweep.yaml --list
  lstmtext sweep configs/sweep.yaml --index 3
  lstmtext sweep reviews.csv --set 'sweep.model.lstm.units=[32, 64]' --set 'sweep.seed=[1, 2]'

The section sweep of the configuration lists the values of the fields that vary, for example \
{model.lstm.units: [32, 64], seed: [1, 2]}. The same command continues a sweep that was stopped; \
several processes can share a directory. Runs are ranked by validation metric. To test the best \
row once you have chosen, add --test. For a paper: --format latex.";

/// Train and rank the runs of a grid search or random search
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SweepArgs {
    /// Configuration file (YAML) with a section sweep, or data, for which the configuration is guessed; with
    /// data, --set has the section
    config: PathBuf,
    /// After all runs have finished, score those of the best row on the test examples. Choose by validation
    /// scores first
    #[arg(long, conflicts_with_all = ["list", "index"])]
    test: bool,
    #[command(flatten)]
    format: ScoreFormatArgs,
    #[command(flatten)]
    runs: RunsArgs,
}

/// Runs the command.
pub fn run(mut args: SweepArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let format = args.format.format(args.runs.json);
    args.runs.json = format == ScoreTableFormat::Json;
    let (config, runs) = (&args.config, &args.runs);
    let overrides = &runs.overrides();
    let plan =
        starter::load_with(config, overrides, |document| SearchPlan::of(document, overrides))?;
    let sweep = match plan {
        SearchPlan::Points(sweep) => *sweep,
        SearchPlan::Adaptive(space) => return run_search(&args, *space, format, backends),
    };
    let path = runs.out.clone().unwrap_or_else(|| many_runs::default_directory("sweeps", &sweep));
    output_directory::check(&path)?;
    let directory = SweepDirectory::new(sweep, &path);
    if args.test && !directory.sweep.base.config.data.has_test() {
        // Another configuration has other runs.
        bail!(ConfigError::new(format!(
            "--test: the configuration has no test examples; set data.test or data.split.test before the runs \
             are trained, or score a trained run on a file: {} evaluate RUN --data FILE",
            program()
        )));
    }
    match runs.index {
        Some(index) => {
            many_runs::train_one(&directory, many_runs::run_at(&directory, index)?, runs)
        }
        None if runs.list => many_runs::list(&directory, runs.json),
        None => match many_runs::train_all(&directory, "sweep", runs)? {
            Trained::Ended(failures) => {
                let mut board = Leaderboard::of(&directory);
                if args.test {
                    match test_scores(&directory, &board, &runs.compute, backends)? {
                        Ok(scores) => board.set_test(scores),
                        Err(reason) => warning(format!("no test scores: {reason}")),
                    }
                }
                report(&directory, &board, &failures, format)
            }
            Trained::Stopped(code) => Ok(code),
        },
    }
}

/// Runs a search whose runs depend on each other's results.
fn run_search(
    args: &SweepArgs,
    space: SearchSpace,
    format: ScoreTableFormat,
    backends: &dyn Backends,
) -> anyhow::Result<u8> {
    let RunsArgs { jobs, json, compute, out, .. } = &args.runs;
    for (is_given, argument) in [
        (args.runs.list, "--list"),
        (args.runs.index.is_some(), "--index"),
        (args.test, "--test"),
        (!matches!(format, ScoreTableFormat::Table | ScoreTableFormat::Json), "--format"),
    ] {
        if is_given {
            bail!(ConfigError::new(format!(
                "{argument} needs a search whose runs are known beforehand, with sweep.method: grid or random"
            )));
        }
    }
    let path = out.clone();
    let path =
        path.unwrap_or_else(|| many_runs::default_directory_of("sweeps", &space.base.config));
    output_directory::check(&path)?;
    let request = SearchRequest {
        space,
        starts_with_base: false,
        limits: Limits::default(),
        keep: Some(KEPT),
        jobs: *jobs,
        compute,
        path: &path,
        json: *json,
        refit: false,
    };
    search::run(request, backends)
}

/// Scores the runs of the best row on their test examples, or returns why there is no such row.
fn test_scores(
    directory: &SweepDirectory,
    board: &Leaderboard,
    compute: &ComputeArgs,
    backends: &dyn Backends,
) -> anyhow::Result<Result<TestScores, &'static str>> {
    if board.unfinished() > 0 {
        return Ok(Err("some runs have no result yet"));
    }
    let Some(best) = board.best_row() else {
        return Ok(Err("the runs have different validation examples, so none is the best"));
    };
    let mut changes: Vec<String> = Vec::new();
    let score = |run: &FinishedRun| -> anyhow::Result<Score> {
        let path = match run.scored.checkpoint {
            CheckpointKind::Best => directory.path().join(&run.run),
            CheckpointKind::Last => directory.path().join(&run.run).join("last"),
        };
        let model = compute.open(backends, &path, &[], true)?;
        let config = model.saved.config();
        let labels = model.saved.labels();
        let examples = load_split(config, SplitName::Test, labels)?;
        let recorded = model.saved.members[0].progress()?.data;
        let change =
            provenance::of_split(SplitName::Test, examples.fingerprint(labels), recorded, &[]);
        changes.extend(change.map(|change| format!("{}: {change}", run.run)));
        let (predictions, _) = model.predict_own(&examples)?;
        Ok(predictions.score_with(config.metric(), labels))
    };
    let scores = best.finished.iter().map(score).collect::<anyhow::Result<Vec<_>>>()?;
    changes.iter().for_each(warning);
    Ok(Ok(TestScores::of(&scores)))
}

/// Prints the leaderboard to stdout and writes it to the directory; prints failures and the next
/// commands to stderr.
fn report(
    directory: &SweepDirectory,
    board: &Leaderboard,
    failures: &[Failure],
    format: ScoreTableFormat,
) -> anyhow::Result<u8> {
    many_runs::print_failures(directory, failures);
    board.notes().iter().for_each(note);
    let deviation = match board.has_deviations() {
        true => "; ± is the standard deviation over seeds",
        false => "",
    };
    message(format!("\nranked by validation {}{deviation}\n", board.metric.title()));
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
    print_scores(format, || board.table(terminal_width()), || board.score_table(), board)?;
    // The directory may be read-only. The leaderboard has been printed already.
    if let Err(error) = write_leaderboard(directory, board) {
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
    print_next(directory, board)?;
    Ok(if board.unfinished() == 0 { SUCCESS } else { FAILURE })
}

/// Writes the leaderboard to the directory.
fn write_leaderboard(directory: &SweepDirectory, board: &Leaderboard) -> anyhow::Result<()> {
    // Two processes may finish the same sweep at the same time.
    let _lock = RunDirectory::open(directory.path()).lock()?;
    write_atomic(&directory.path().join("leaderboard.json"), &json_content(board)?)
}

/// Prints the commands to look at the runs, and to test the best one unless it has been tested.
fn print_next(directory: &SweepDirectory, board: &Leaderboard) -> anyhow::Result<()> {
    if board.validation_sets() == 0 {
        return Ok(());
    }
    let path = quoted_path(&relative(directory.path()));
    message(format!("\nnext:\n  {}\n  {} plot {path}", tensorboard(directory.path()), program()));
    let winner = board.winner().filter(|_| !board.has_test());
    let winner = winner.and_then(|winner| directory.runs.iter().find(|run| run.name == winner.run));
    if let Some(winner) = winner
        && directory.resolve(winner)?.config.data.has_test()
    {
        let winner = quoted_path(&relative(winner.directory.path()));
        message(format!("  {} evaluate {winner} --split test", program()));
    }
    Ok(())
}
