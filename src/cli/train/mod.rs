//! `lstmtext train`.

mod arguments;
mod description;
mod resumption;
mod session;
mod stage_inputs;
mod stages;

use std::path::Path;

use anyhow::bail;
use serde::Serialize;

pub use self::arguments::TrainArgs;
use self::session::{Session, Trained};
use super::exit::SUCCESS;
use super::hints::{program, relative, tensorboard};
use super::processes::Processes;
use crate::backend::Backends;
use crate::config::Metric;
use crate::output::format::group_digits;
use crate::output::shell::quoted_path;
use crate::output::{message, print, print_json, warning};
use crate::prediction::text_columns::TextColumns;
use crate::run::directory::RunDirectory;
use crate::run::summary::RunSummary;
use crate::system::signals::Interrupt;
use crate::train::Ending;

/// Runs the command.
pub fn run(args: TrainArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    args.check()?;
    let group = args.processes.join(backends, "train")?;
    if !group.collective.is_alone() {
        interrupt.expect_launcher();
    }
    group.finish(train(&args, backends, &interrupt, &group))
}

fn train(
    args: &TrainArgs,
    backends: &dyn Backends,
    interrupt: &Interrupt,
    group: &Processes,
) -> anyhow::Result<u8> {
    let overrides = &args.overrides();
    let compute = &group.compute(&args.compute);
    let session = Session { args, compute, overrides, backends, interrupt, group };
    let Trained { run, columns, metric, ending } = match (&args.resume, &args.config) {
        (Some(run), _) => session.resume(run)?,
        (None, Some(config)) => session.start(config)?,
        (None, None) => bail!("name a configuration, or a run with --resume"),
    };
    match ending {
        Ending::Finished(outcome) => {
            report(&run, &outcome, &metric, &columns, args.json)?;
            Ok(SUCCESS)
        }
        Ending::Interrupted(signal) => {
            // Before its first checkpoint, a run has only the results of pre-training.
            let saved = if run.last().exists() { run.last() } else { run.path().to_owned() };
            message(format!("stopped by a signal; progress is saved in \"{}\"", saved.display()));
            message(session.resume_hint(run.path()));
            Ok(128 + signal as u8)
        }
        Ending::Paused(epoch) => {
            if args.json {
                print_json(&PrintedPause { run: run.path(), stopped_after_epoch: epoch })?;
            }
            message(format!(
                "stopped after epoch {epoch} (--stop-after); progress is saved in \"{}\"",
                run.last().display()
            ));
            message(session.resume_hint(run.path()));
            Ok(SUCCESS)
        }
    }
}

/// Output of --json after --stop-after.
#[derive(Serialize)]
struct PrintedPause<'a> {
    /// Directory of the run.
    run: &'a Path,
    /// Number of epochs that are done.
    stopped_after_epoch: usize,
}

/// Output of --json.
#[derive(Serialize)]
struct Printed<'a> {
    /// Directory of the run.
    run: &'a Path,
    #[serde(flatten)]
    outcome: &'a RunSummary,
}

/// Prints the scores to stdout, and the next commands to try to stderr.
fn report(
    run: &RunDirectory,
    outcome: &RunSummary,
    metric: &Metric,
    columns: &TextColumns,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        print_json(&Printed { run: run.path(), outcome })?;
    } else {
        let weights = outcome.scored();
        let mut scores = vec![("validation", outcome.validation)];
        scores.extend(outcome.test.map(|test| ("test", test)));
        for (split, score) in scores {
            let (accuracy, loss) = (100.0 * score.accuracy, score.loss);
            let metric = score
                .metric
                .map_or(String::new(), |value| format!("  {} {value:.4}", metric.title()));
            print(&format!(
                "{split:<10}  accuracy {accuracy:.2} %  loss {loss:.4}{metric}  {weights}"
            ))?;
        }
    }
    outcome.warnings.iter().for_each(warning);
    // TensorBoard can compare all runs in `runs`. Any other parent may contain unrelated files.
    let parent = run.path().parent().filter(|parent| parent.ends_with("runs"));
    let curves = parent.unwrap_or(run.path());
    message(format!(
        "trained in {:.1} s, {} tokens/s",
        outcome.seconds,
        group_digits(outcome.tokens_per_second as usize)
    ));
    message(format!(
        "\nnext:\n  {}\n  {} plot {path}\n  {} predict {path} {}",
        tensorboard(curves),
        program(),
        program(),
        columns.usage(),
        path = quoted_path(&relative(run.path())),
    ));
    Ok(())
}
