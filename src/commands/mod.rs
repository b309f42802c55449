//! The command line: one file for each command.

mod completions;
mod config;
mod data;
mod devices;
mod evaluate;
mod export;
mod import;
mod output;
mod plot;
mod predict;
mod states;
mod summary;
mod texts;
mod train;

use clap::{Args, Parser, Subcommand};

use crate::config::{Backend, Override};
use crate::engine::Engine;
use crate::torch::{self, DeviceChoice};

pub use output::is_closed_pipe;

/// The exit code of a run that did what was asked.
const FINE: u8 = 0;

const EXAMPLES: &str = "\
Examples:
  lstmtext train configs/imdb.yaml
  lstmtext train configs/imdb.yaml --set model.lstm.units=128 --out runs/wide
  lstmtext predict runs/wide \"One of the best films of the year.\"
  lstmtext evaluate runs/wide --split test --json
  lstmtext plot runs/wide
  tensorboard --logdir runs

A checkpoint is a folder: runs/NAME/best or runs/NAME/last; runs/NAME alone means its best.
Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, 130/143 stopped by Ctrl-C/SIGTERM.";

/// Trains, evaluates and reuses LSTM text classifiers on libtorch.
#[derive(Debug, Parser)]
#[command(name = "lstmtext", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::TrainArgs),
    Evaluate(evaluate::EvaluateArgs),
    Predict(predict::PredictArgs),
    States(states::StatesArgs),
    Plot(plot::PlotArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Summary(summary::SummaryArgs),
    Config(config::ConfigArgs),
    Data(data::DataArgs),
    Devices(devices::DevicesArgs),
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Whether the command is worth a slower start.
    pub fn computes_for_long(&self) -> bool {
        match &self.command {
            Command::Train(_) | Command::Evaluate(_) | Command::Plot(_) => true,
            Command::Predict(args) => args.reads_a_stream(),
            _ => false,
        }
    }

    /// Runs the command; the exit code where nothing went wrong that is an error.
    ///
    /// # Errors
    /// Whatever the command could not do; a [`crate::config::ConfigError`] where the
    /// configuration is at fault.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Train(args) => train::run(args),
            Command::Evaluate(args) => evaluate::run(args),
            Command::Predict(args) => predict::run(args),
            Command::States(args) => states::run(args),
            Command::Plot(args) => plot::run(args),
            Command::Export(args) => export::run(args),
            Command::Import(args) => import::run(args),
            Command::Summary(args) => summary::run(args),
            Command::Config(args) => config::run(args),
            Command::Data(args) => data::run(args),
            Command::Devices(args) => devices::run(args),
            Command::Completions(args) => completions::run(args),
        }
    }
}

/// `--set`, for every command that reads a configuration.
#[derive(Debug, Args)]
struct SetArgs {
    /// Change a field of the configuration, as train.epochs=5; may be repeated
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    overrides: Vec<Override>,
}

/// Where and how wide to compute.
#[derive(Debug, Args)]
struct ComputeArgs {
    /// auto | cpu | cuda | cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads; all cores by default
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

impl ComputeArgs {
    /// Sets the threads and chooses what computes.
    fn start(&self, backend: Backend) -> anyhow::Result<Engine> {
        torch::set_threads(self.threads);
        Engine::choose(backend, self.device)
    }
}
