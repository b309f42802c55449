//! The command line: a file or a directory per command, with its arguments, its help and what it does.
//! Whatever another program could use belongs in the other directories.

mod arguments;
mod bench;
mod calibrate;
mod compact;
mod completions;
mod config;
mod data;
mod devices;
mod doctor;
mod embed;
mod ensemble;
mod evaluate;
mod exit;
mod explain;
mod export;
mod folds;
mod habits;
mod hints;
mod import;
mod init;
mod language_model_run;
mod lr_find;
mod man;
mod many_runs;
mod open_model;
mod output_directory;
mod output_file;
mod perplexity;
mod plot;
mod predict;
mod pretrain;
mod pretraining_texts;
mod processes;
mod provenance;
mod reliability;
mod runs;
mod score_format;
mod serve;
mod starter;
mod states;
mod summary;
mod sweep;
mod texts;
mod train;
mod tune;
mod unsure;
mod vectors;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::backend::Backends;
use crate::config::ConfigError;

pub use exit::exit_code;

const EXAMPLES: &str = "\
Examples:
  lstmtext train reviews.csv
  lstmtext init reviews.csv > mine.yaml
  lstmtext train mine.yaml
  lstmtext train configs/imdb.yaml --set model.lstm.units=128 --out runs/wide
  lstmtext sweep configs/sweep.yaml --jobs 2
  lstmtext tune reviews.csv --budget 10m
  lstmtext predict runs/wide \"One of the best films of the year.\"
  lstmtext evaluate runs/wide --split test --json
  lstmtext runs
  lstmtext plot runs/wide
  tensorboard --logdir runs

A checkpoint is a directory: runs/NAME/best or runs/NAME/last. A run, runs/NAME, stands for its best \
checkpoint. An ensemble of checkpoints can be used like one.
Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 130/143/129 stopped by \
Ctrl-C/SIGTERM/SIGHUP.";

/// Train, evaluate and reuse LSTM text classifiers
#[derive(Debug, Parser)]
#[command(name = "lstmtext", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    /// Returns the exit code after it has printed an error, or the help.
    pub fn of_arguments() -> Result<Self, ExitCode> {
        let arguments: Vec<OsString> = env::args_os().collect();
        Self::try_parse_from(&arguments).map_err(|fault| {
            match habits::advice(&fault, &arguments, &Self::command()) {
                Some(advice) => exit::exit_code(Err(ConfigError::new(advice).into())),
                None => exit::after_clap(&fault, &arguments),
            }
        })
    }
}

/// All commands.
#[derive(Debug, Subcommand)]
enum Command {
    Train(train::TrainArgs),
    Pretrain(pretrain::PretrainArgs),
    Perplexity(perplexity::PerplexityArgs),
    Sweep(sweep::SweepArgs),
    Tune(tune::TuneArgs),
    Folds(folds::FoldsArgs),
    Vectors(vectors::VectorsArgs),
    #[command(name = "lr-find")]
    LrFind(lr_find::LrFindArgs),
    Ensemble(ensemble::EnsembleArgs),
    Calibrate(calibrate::CalibrateArgs),
    Evaluate(evaluate::EvaluateArgs),
    Predict(predict::PredictArgs),
    Embed(embed::EmbedArgs),
    Explain(explain::ExplainArgs),
    Serve(serve::ServeArgs),
    States(states::StatesArgs),
    Runs(runs::RunsArgs),
    Plot(plot::PlotArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Summary(summary::SummaryArgs),
    Init(init::InitArgs),
    Config(config::ConfigArgs),
    Bench(bench::BenchArgs),
    Data(data::DataArgs),
    Devices(devices::DevicesArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the command with the backends of this program. Returns the exit code.
///
/// # Errors
/// Returns the error of the command; a [`ConfigError`] if the command line or the configuration is wrong.
pub fn run(cli: Cli, backends: &dyn Backends) -> anyhow::Result<u8> {
    match cli.command {
        Command::Train(args) => train::run(args, backends),
        Command::Pretrain(args) => pretrain::run(args, backends),
        Command::Perplexity(args) => perplexity::run(args, backends),
        Command::Sweep(args) => sweep::run(args, backends),
        Command::Tune(args) => tune::run(args, backends),
        Command::Folds(args) => folds::run(args, backends),
        Command::Vectors(args) => vectors::run(args),
        Command::LrFind(args) => lr_find::run(args, backends),
        Command::Ensemble(args) => ensemble::run(args, backends),
        Command::Calibrate(args) => calibrate::run(args, backends),
        Command::Evaluate(args) => evaluate::run(args, backends),
        Command::Predict(args) => predict::run(args, backends),
        Command::Embed(args) => embed::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Serve(args) => serve::run(args, backends),
        Command::States(args) => states::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Summary(args) => summary::run(args),
        Command::Init(args) => init::run(args),
        Command::Config(args) => config::run(args),
        Command::Bench(args) => bench::run(args, backends),
        Command::Data(args) => data::run(args),
        Command::Devices(args) => devices::run(args, backends),
        Command::Doctor(args) => doctor::run(args, backends),
        Command::Completions(args) => completions::run(args, Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
    }
}
