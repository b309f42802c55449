//! The command line: one file for each command. Those that need libtorch have only their arguments
//! here.

mod bench;
mod completions;
mod config;
mod data;
mod devices;
pub mod evaluate;
mod explain;
mod export;
pub mod hints;
mod import;
mod plot;
pub mod predict;
mod runs;
pub mod serve;
mod states;
mod summary;
mod sweep;
mod train;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::backend::Inference;
use crate::config::{Backend, ConfigError, Override, count};
use crate::output::{is_broken_pipe, message};
use crate::run::checkpoint::Checkpoint;
use crate::system::device::{DeviceChoice, driver};
use crate::system::threads;

pub use bench::BenchArgs;
pub use devices::DevicesArgs;
pub use evaluate::EvaluateArgs;
pub use export::ExportArgs;
pub use import::ImportArgs;
pub use predict::PredictArgs;
pub use serve::ServeArgs;
pub use states::StatesArgs;
pub use train::TrainArgs;

/// The exit code of a run that did what was asked.
pub const FINE: u8 = 0;
const FAILED: u8 = 1;
/// The command line or the configuration is wrong, as clap has it too.
const BAD_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  lstmtext train configs/imdb.yaml
  lstmtext train configs/imdb.yaml --set model.lstm.units=128 --out runs/wide
  lstmtext sweep configs/sweep.yaml --jobs 2
  lstmtext predict runs/wide \"One of the best films of the year.\"
  lstmtext evaluate runs/wide --split test --json
  lstmtext runs
  lstmtext plot runs/wide
  tensorboard --logdir runs

A checkpoint is a folder: runs/NAME/best or runs/NAME/last; runs/NAME alone means its best.
Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, 130/143/129 stopped by Ctrl-C/SIGTERM/SIGHUP.";

/// Trains, evaluates and reuses LSTM text classifiers.
#[derive(Debug, Parser)]
#[command(name = "lstmtext", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "each is documented where its arguments are")]
pub enum Command {
    Train(train::TrainArgs),
    Sweep(sweep::SweepArgs),
    Evaluate(evaluate::EvaluateArgs),
    Predict(predict::PredictArgs),
    Explain(explain::ExplainArgs),
    Serve(serve::ServeArgs),
    States(states::StatesArgs),
    Runs(runs::RunsArgs),
    Plot(plot::PlotArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Summary(summary::SummaryArgs),
    Config(config::ConfigArgs),
    Bench(bench::BenchArgs),
    Data(data::DataArgs),
    Devices(devices::DevicesArgs),
    Completions(completions::CompletionsArgs),
}

/// How far a command came without libtorch.
pub enum Light {
    /// It is done, with this exit code.
    Done(u8),
    /// It has done nothing yet.
    NeedsLibtorch,
}

/// The one exit: says what went wrong, where something did.
pub fn exit_code(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            message(format!("error: {error:#}"));
            ExitCode::from(if error.is::<ConfigError>() { BAD_USAGE } else { FAILED })
        }
    }
}

impl Cli {
    /// Runs the command as far as it can do without libtorch, which takes longer to load than most
    /// answers take.
    ///
    /// # Errors
    /// Whatever the command could not do; a [`ConfigError`] where the configuration is at fault.
    pub fn run(self) -> anyhow::Result<Light> {
        match self.command {
            Command::Sweep(args) => sweep::run(args).map(Light::Done),
            Command::Predict(args) => predict::run(args),
            Command::Evaluate(args) => evaluate::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Export(args) => export::run(args),
            Command::Explain(args) => explain::run(args).map(Light::Done),
            Command::Runs(args) => runs::run(args).map(Light::Done),
            Command::Plot(args) => plot::run(args).map(Light::Done),
            Command::Summary(args) => summary::run(args).map(Light::Done),
            Command::Config(args) => config::run(args).map(Light::Done),
            Command::Data(args) => data::run(args).map(Light::Done),
            Command::Completions(args) => completions::run(args).map(Light::Done),
            Command::Train(_)
            | Command::States(_)
            | Command::Import(_)
            | Command::Bench(_)
            | Command::Devices(_) => Ok(Light::NeedsLibtorch),
        }
    }

    /// Whether the command is worth a slower start.
    pub fn computes_for_long(&self) -> bool {
        match &self.command {
            Command::Train(_) | Command::Evaluate(_) | Command::Serve(_) | Command::Bench(_) => {
                true
            }
            Command::Predict(args) => args.reads_a_stream(),
            _ => false,
        }
    }
}

/// `--set`, for every command that reads a configuration.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Change a field of the configuration, as train.epochs=5; may be repeated
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub overrides: Vec<Override>,
}

/// Where and how wide to compute.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// auto | cpu | cuda | cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// CPU threads; all cores by default
    #[arg(long, value_name = "N", value_parser = count)]
    pub threads: Option<NonZeroUsize>,
}

impl ComputeArgs {
    /// The kernel's network of a checkpoint, where it can do without libtorch: neither the
    /// configuration nor the command line asks for it, and there is no CUDA device to be used.
    fn light(&self, checkpoint: &Checkpoint) -> anyhow::Result<Option<Box<dyn Inference>>> {
        let native = match (checkpoint.resolved.config.backend, self.device) {
            (Backend::Libtorch, _) | (_, DeviceChoice::Cuda(_)) => false,
            (Backend::Native, _) | (_, DeviceChoice::Cpu) => true,
            (Backend::Auto, DeviceChoice::Auto) => driver().is_err(),
        };
        if !native {
            return Ok(None);
        }
        threads::set_count(self.threads)?;
        Ok(Some(Box::new(checkpoint.native()?)))
    }
}
