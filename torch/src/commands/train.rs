//! `lstmtext train`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail, ensure};

use crate::engine::Engine;
use crate::libtorch::{Failure, catch_libtorch_panics};
use crate::token_budget::resolve_token_budget;
use crate::training::Training;
use lstmtext::cli::hints::{program, quoted, relative, tensorboard};
use lstmtext::cli::{FINE, TrainArgs};
use lstmtext::config::logit_count;
use lstmtext::config::{self, Override};
use lstmtext::data::prepared::PreparedData;
use lstmtext::events;
use lstmtext::model::summary::summarize;
use lstmtext::output::format::{group_digits, join_names};
use lstmtext::output::{message, note, print, print_json};
use lstmtext::prediction::text_columns::TextColumns;
use lstmtext::run::checkpoint::{Checkpoint, is_checkpoint};
use lstmtext::run::directory::{Outcome, RunDirectory};
use lstmtext::run::progress::Finished;
use lstmtext::system::signals::Interrupt;
use lstmtext::train::trainer::Ending;

/// Runs the command.
pub fn run(args: TrainArgs) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    let Session { run, columns, ending } = match (&args.resume, &args.config) {
        (Some(run), _) => resume(run, &args, &interrupt)?,
        (None, Some(config)) => begin(config, &args, &interrupt)?,
        (None, None) => bail!("name a configuration, or a run with --resume"),
    };
    match ending {
        Ending::Finished(outcome) => {
            report(&run, &outcome, &columns, args.json)?;
            Ok(FINE)
        }
        Ending::Interrupted(signal) => {
            message(format!(
                "stopped by a signal; everything so far is in \"{}\"",
                run.last().display()
            ));
            let no_test = if args.no_test { "--no-test " } else { "" };
            let run = quoted(run.path());
            message(format!("go on with:\n  {} train {no_test}--resume {run}", program()));
            Ok(128 + signal as u8)
        }
    }
}

/// A run that was trained, to its end or to a signal.
struct Session {
    run: RunDirectory,
    /// What its model reads.
    columns: TextColumns,
    ending: Ending,
}

fn begin(config: &Path, args: &TrainArgs, interrupt: &Interrupt) -> anyhow::Result<Session> {
    let resolved = config::load_single(config, &args.set.overrides)?;
    let engine = Engine::start(&args.compute, &resolved.config)?;
    let name = resolved.config.name.clone().unwrap_or_else(|| "run".into());
    let path = match &args.out {
        Some(path) => path.clone(),
        None => new_folder(&name)?,
    };
    let run = RunDirectory::create(&path, &resolved.to_yaml())?;
    let _lock = run.lock()?;
    // A run that cannot begin leaves no folder behind.
    let mut experiment = PreparedData::prepare(resolved).inspect_err(|_| run.discard())?;
    set_test_aside(&mut experiment, args);
    let columns = TextColumns::of(&experiment.resolved.config.inputs);
    let training = start(&mut experiment, &run, engine).inspect_err(|_| run.discard())?;
    train(training, run, columns, interrupt)
}

/// A run from its beginning, with everything of its configuration decided.
fn start<'a>(
    experiment: &'a mut PreparedData,
    run: &RunDirectory,
    engine: Engine,
) -> anyhow::Result<Training<'a>> {
    introduce(experiment, run, engine)?;
    catch_libtorch_panics(move || {
        if resolve_token_budget(experiment, engine)? {
            run.write_config(&experiment.resolved.to_yaml())?;
        }
        Training::begin(experiment, run.clone(), engine)
    })
}

/// Begins a run anew that was stopped before its first checkpoint.
fn begin_again(
    run: RunDirectory,
    args: &TrainArgs,
    interrupt: &Interrupt,
) -> anyhow::Result<Session> {
    let resolved = config::load(&run.config(), &args.set.overrides)?;
    let engine = Engine::start(&args.compute, &resolved.config)?;
    let mut experiment =
        PreparedData::prepare(resolved).inspect_err(|error| run.write_error(error))?;
    set_test_aside(&mut experiment, args);
    if events::any_in(run.path()) {
        message("there is no checkpoint yet: the run begins again");
    }
    let columns = TextColumns::of(&experiment.resolved.config.inputs);
    run.truncate_to_step(0, &experiment.resolved.to_yaml())?;
    let training = start(&mut experiment, &run, engine);
    let training = training.inspect_err(|error| run.write_error(error))?;
    train(training, run, columns, interrupt)
}

fn resume(path: &Path, args: &TrainArgs, interrupt: &Interrupt) -> anyhow::Result<Session> {
    if let Some(parent) = path.parent().filter(|_| is_checkpoint(path)) {
        bail!(
            "\"{}\" is a checkpoint; its run is \"{}\"",
            path.display(),
            if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.display()
        );
    }
    let run = RunDirectory::open(path);
    ensure!(run.config().is_file(), "\"{}\" holds no run: config.yaml is missing", path.display());
    let _lock = run.lock()?;
    run.restore();
    let Some(checkpoint) = latest_checkpoint(&run, &args.set.overrides)? else {
        return begin_again(run, args, interrupt);
    };
    let engine = Engine::start(&args.compute, &checkpoint.resolved.config)?;
    let progress = checkpoint.progress()?;
    let columns = TextColumns::of(&checkpoint.resolved.config.inputs);
    if let Some(reason) = progress.finished(&checkpoint.resolved.config.train)
        && let Some(outcome) = run.summary()
    {
        let limit = match reason {
            Finished::Epochs => "train.epochs",
            Finished::EarlyStopping => "train.early_stopping.patience",
        };
        let (epochs, waited) = (progress.epoch, progress.waited);
        let over = format!(
            "the run is over, after {epochs} epochs, {waited} validations after the best; to train on, \
             raise {limit} with --set"
        );
        ensure!(args.set.overrides.is_empty(), over);
        message(over);
        return Ok(Session { run, columns, ending: Ending::Finished(outcome) });
    }
    let mut experiment = PreparedData::reopen(
        checkpoint.resolved.clone(),
        &checkpoint.labels,
        checkpoint.encoders.clone(),
    )?;
    set_test_aside(&mut experiment, args);
    introduce(&experiment, &run, engine)?;
    resolve_token_budget(&mut experiment, engine)?;
    message(format!("resumed after step {}", progress.step));
    let training = Training::resume(&experiment, run.clone(), &checkpoint, engine)?;
    train(training, run, columns, interrupt)
}

/// Trains; an error that ends it is written down in the run's folder.
fn train(
    training: Training,
    run: RunDirectory,
    columns: TextColumns,
    interrupt: &Interrupt,
) -> anyhow::Result<Session> {
    let ending = catch_libtorch_panics(|| training.train(interrupt));
    let ending = ending.map_err(|error| with_checkpoint(error, &run));
    let ending = ending.inspect_err(|error| run.write_error(error))?;
    Ok(Session { run, columns, ending })
}

/// What failed in the middle of a run, and what is left of it.
fn with_checkpoint(error: anyhow::Error, run: &RunDirectory) -> anyhow::Error {
    if !error.is::<Failure>() || !run.last().exists() {
        return error;
    }
    let (last, run) = (run.last(), quoted(run.path()));
    anyhow!(
        "{error}; the last checkpoint, \"{}\", is intact: {} train --resume {run} goes on from it",
        last.display(),
        program()
    )
}

/// The later of `last/` and `best/`: a killed run may have written only one of them lately.
fn latest_checkpoint(
    run: &RunDirectory,
    overrides: &[Override],
) -> anyhow::Result<Option<Checkpoint>> {
    let mut latest: Option<(u64, Checkpoint)> = None;
    for path in [run.last(), run.best()].into_iter().filter(|path| path.exists()) {
        let checkpoint = Checkpoint::open_with(&path, overrides)?;
        let step = checkpoint.progress()?.step;
        if latest.as_ref().is_none_or(|(known, _)| step > *known) {
            latest = Some((step, checkpoint));
        }
    }
    Ok(latest.map(|(_, checkpoint)| checkpoint))
}

/// Takes the test examples away where they are not to be scored.
fn set_test_aside(experiment: &mut PreparedData, args: &TrainArgs) {
    if args.no_test && !experiment.test.is_empty() {
        let test = std::mem::take(&mut experiment.test);
        experiment.notes.push(format!(
            "{} test examples are set aside (--no-test); evaluate scores them",
            group_digits(test.len())
        ));
    }
}

/// Says what will be trained, on what, and where it goes.
fn introduce(experiment: &PreparedData, run: &RunDirectory, engine: Engine) -> anyhow::Result<()> {
    let config = &experiment.resolved.config;
    let logits = logit_count(config.model.head.activation, experiment.labels.len())?;
    let words = experiment.encoders.sizes();
    let ids: Vec<String> = words.iter().map(|ids| group_digits(*ids)).collect();
    message(format!(
        "data: {} train, {} validation, {} test examples; labels {}",
        group_digits(experiment.train.len()),
        group_digits(experiment.validation.len()),
        group_digits(experiment.test.len()),
        join_names(&experiment.labels),
    ));
    message(format!(
        "text: {} ids, {} training tokens; read and encoded in {:.1} s, {} tokens/s",
        ids.join(" + "),
        group_digits(experiment.train.tokens()),
        experiment.seconds,
        group_digits((experiment.tokens() as f64 / experiment.seconds) as usize),
    ));
    experiment.notes.iter().for_each(note);
    let precision = config.precision.as_str();
    let mut how = String::new();
    if engine.is_cuda() || engine != Engine::Native && config.precision.is_half() {
        how = format!(", {precision}");
    }
    if engine.is_cuda() && config.deterministic {
        how += ", deterministic";
    }
    message(format!("run:  {}", run.path().display()));
    message(format!("on:   {engine}{how}"));
    message(format!("\n{}\n", summarize(config, &words, logits)));
    Ok(())
}

/// The result on stdout, what to do next on stderr.
fn report(
    run: &RunDirectory,
    outcome: &Outcome,
    columns: &TextColumns,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        print_json(outcome)?;
    } else {
        let mut scores = vec![("validation", outcome.validation)];
        scores.extend(outcome.test.map(|test| ("test", test)));
        for (split, score) in scores {
            let (accuracy, loss) = (100.0 * score.accuracy, score.loss);
            print(&format!("{split:<10}  accuracy {accuracy:.2} %  loss {loss:.4}"))?;
        }
    }
    // A folder of runs shows them all; any other parent may hold anything.
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
        path = quoted(&relative(run.path())),
    ));
    Ok(())
}

/// Makes a new folder `runs/NAME-TIME`; two runs begun in one second get two.
fn new_folder(name: &str) -> anyhow::Result<PathBuf> {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let stamp = time.replace([':', '-'], "").replace('T', "-").replace('Z', "");
    let harmless = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(harmless).collect();
    let runs = Path::new("runs");
    fs::create_dir_all(runs).context("cannot make the folder \"runs\"")?;
    let mut number: u64 = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let folder = runs.join(format!("{name}-{stamp}{suffix}"));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            result => {
                result.with_context(|| format!("cannot make \"{}\"", folder.display()))?;
                return Ok(folder);
            }
        }
    }
}
