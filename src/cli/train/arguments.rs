//! Arguments of `lstmtext train`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_yaml::Value;

use crate::cli::arguments::{ColumnArgs, ComputeArgs, SetArgs};
use crate::cli::hints::program;
use crate::cli::processes::ProcessArgs;
use crate::config::{ConfigError, Override, positive_integer};
use crate::output::shell::quoted_path;

const EXAMPLES: &str = "\
Examples:
  lstmtext train reviews.csv
  lstmtext train reviews.csv --text review --label stars --set train.epochs=3
  lstmtext train configs/imdb.yaml
  lstmtext train configs/imdb.yaml --out runs/a --set train.seed=2 --set model.pooling=max
  lstmtext train --resume runs/a
  lstmtext train --resume runs/a --set train.epochs=8
  lstmtext train mine.yaml --from runs/a --set train.freeze='[embedding]'

The run directory contains config.yaml, TensorBoard event files, metrics.jsonl, summary.json and the \
checkpoints best/ and last/. Ctrl-C finishes the current step, saves last/ and prints the command that \
resumes the run.";

/// Train a model and save it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Configuration file (YAML), or data: a file (.csv, .tsv, .jsonl, .parquet, fastText's .txt, compressed
    /// too), or a directory per class. For data, the configuration is guessed; `lstmtext init` writes it
    #[arg(required_unless_present_any = ["resume", "from"])]
    pub config: Option<PathBuf>,
    /// Resume the run in this directory: the same run, with its data, optimizer state and settings
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    pub resume: Option<PathBuf>,
    /// Start a new run of the configuration from the weights of this checkpoint, or of the best one of
    /// this run. Words and labels are matched by name, and the optimizer starts anew
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: Option<PathBuf>,
    /// Directory of the run; by default runs/NAME-TIME
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Do not score the test examples, e.g. while you compare runs; `evaluate` scores them later
    #[arg(long)]
    pub no_test: bool,
    /// Resume the run in --out if it exists, with its saved configuration; otherwise start it. For launchers that
    /// restart failed commands
    #[arg(long, requires = "out", conflicts_with = "resume")]
    pub resume_if_any: bool,
    /// Save and end after this epoch, counted from the start of the run, unless it is over by then: --resume
    /// continues it as if it had never stopped
    #[arg(long, value_name = "EPOCH", value_parser = positive_integer)]
    pub stop_after: Option<NonZeroUsize>,
    /// Print the summary and the directory of the run as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub set: SetArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    #[command(flatten)]
    pub processes: ProcessArgs,
}

impl TrainArgs {
    /// Rejects --resume and --from where the other one is meant.
    pub fn check(&self) -> Result<(), ConfigError> {
        let sets_source = self.set.overrides.iter().any(|set| set.field() == "train.from");
        let message = match (&self.config, &self.resume, &self.from) {
            (Some(config), Some(run), None) => format!(
                "--resume continues a run with the configuration that it began with; to start a new run \
                 of \"{}\" from its weights, use --from {} in place of --resume",
                config.display(),
                quoted_path(run)
            ),
            (_, Some(_), Some(_)) => {
                "--resume continues a run, and --from starts a new one from the \
                                      weights of another: use one of them"
                    .to_owned()
            }
            (_, Some(run), None) if sets_source => format!(
                "train.from starts a new run, and --resume continues one; to start a new run from the \
                 weights of \"{}\", use train CONFIG --from",
                run.display()
            ),
            (None, None, Some(source)) => format!(
                "--from starts a new run, and needs a configuration: train CONFIG --from {source}; to \
                 continue the run itself, use --resume {source}",
                source = quoted_path(source)
            ),
            _ => return Ok(()),
        };
        Err(ConfigError::new(message))
    }

    /// Overrides of the configuration.
    pub fn overrides(&self) -> Vec<Override> {
        let from = self.from.as_ref().map(|path| path.to_string_lossy().into_owned());
        let from = from.map(|path| Override::new("train.from", Value::from(path)));
        self.columns.overrides(&self.set).into_iter().chain(from).collect()
    }

    /// Returns the command that resumes a run as this one computes it. The overrides are saved with
    /// the run.
    pub fn resume_command(&self, run: &Path) -> String {
        let mut words = vec![program(), "train".to_owned()];
        words.extend(self.no_test.then(|| "--no-test".to_owned()));
        words.extend(self.json.then(|| "--json".to_owned()));
        words.extend(self.compute.words());
        words.extend(self.processes.words());
        words.extend(["--resume".to_owned(), quoted_path(run)]);
        words.join(" ")
    }
}
