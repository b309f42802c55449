//! The commands that need libtorch: one file for each.

mod bench;
mod devices;
mod export;
mod import;
mod states;
mod train;

use crate::engine::Engine;
use anyhow::bail;
pub use lstmtext::cli::*;
use lstmtext::explanation::Explainer;
use lstmtext::prediction::Classifier;
use lstmtext::run::checkpoint::Checkpoint;

/// Runs a command; the exit code where nothing went wrong that is an error.
///
/// # Errors
/// As [`Cli::run`].
pub fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Train(args) => train::run(args),
        Command::States(args) => states::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Predict(args) => {
            let checkpoint = Checkpoint::open(&args.checkpoint)?;
            let engine = Engine::start(&args.compute, &checkpoint.resolved.config)?;
            let classifier = engine.classifier(&checkpoint)?;
            predict::answer(args, &Classifier::new(checkpoint, classifier))
        }
        Command::Serve(args) => {
            let checkpoint = Checkpoint::open(&args.checkpoint)?;
            let engine = Engine::start(&args.compute, &checkpoint.resolved.config)?;
            let (classifier, explainer) =
                (engine.classifier(&checkpoint)?, Explainer::new(&checkpoint)?);
            serve::answer(args, &Classifier::new(checkpoint, classifier), explainer)
        }
        Command::Evaluate(args) => {
            let subjects = evaluate::checkpoints(&args)?.into_iter().map(|checkpoint| {
                let engine = Engine::start(&args.compute, &checkpoint.resolved.config)?;
                let classifier = engine.classifier(&checkpoint)?;
                Ok(evaluate::Subject { checkpoint, classifier })
            });
            evaluate::report(&args, &subjects.collect::<anyhow::Result<Vec<_>>>()?)
        }
        command => match (Cli { command }).run()? {
            Light::Done(code) => Ok(code),
            Light::NeedsLibtorch => bail!("the command wants libtorch and is not known to it"),
        },
    }
}
