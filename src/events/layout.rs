//! Layout of the event files of a run: sub-runs and tags.
//!
//! The event file in the run directory holds what describes the run as a whole: its configuration and
//! the session records of the HParams dashboard. Curves are in sub-runs, directories that TensorBoard
//! lists as runs of their own. Training and validation use the same tags, so that TensorBoard draws them
//! in one chart, as it does for Keras's callback. The HParams dashboard finds the metrics of a session in
//! the runs below its own.

use std::path::{Path, PathBuf};

/// Tag of the loss.
pub const LOSS: &str = "loss";
/// Tag of the perplexity of a language model: that of both directions together, and `perplexity/forward` and
/// `perplexity/backward`.
pub const PERPLEXITY: &str = "perplexity";
/// Tag of the accuracy.
pub const ACCURACY: &str = "accuracy";
/// Tag of the learning rate of each step.
pub const LEARNING_RATE: &str = "learning_rate";
/// Tag of the norm of each step's gradient.
pub const GRADIENT_NORM: &str = "gradient_norm";
/// Tag of the training throughput.
pub const TOKENS_PER_SECOND: &str = "tokens_per_second";
/// Tag of the factor of the logits of the LSTM that a validation has chosen.
pub const LSTM_SCALE: &str = "scale/lstm";
/// Tag of the factor of the logits of the n-grams that a validation has chosen.
pub const NGRAM_SCALE: &str = "scale/ngrams";
/// Tag of the resolved configuration.
pub const CONFIG: &str = "config";

/// Prefixes of the tags of a run's final scores: the names of its checkpoints.
pub const FINAL_PREFIXES: [&str; 2] = ["best/", "last/"];

/// A sub-run: a directory of event files in the run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubRun {
    /// Training steps.
    Train,
    /// Validations.
    Validation,
    /// The score on the test examples.
    Test,
}

impl SubRun {
    /// All sub-runs.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Returns the name of the sub-run, which is also that of its directory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// Returns the directory of the sub-run in a run directory.
    pub fn directory(self, run: &Path) -> PathBuf {
        run.join(self.as_str())
    }

    /// Returns the tag of a curve in runs of earlier versions, which have no sub-runs: every curve is in
    /// the event file in the run directory, for example as `loss/train` or `train/learning_rate`.
    pub(super) fn legacy_tag(self, tag: &str) -> String {
        match tag {
            LOSS | ACCURACY => format!("{tag}/{}", self.as_str()),
            _ => format!("{}/{tag}", self.as_str()),
        }
    }
}

/// Returns the directories of a run that may contain event files.
pub(super) fn directories(run: &Path) -> impl Iterator<Item = PathBuf> {
    let sub_runs = SubRun::ALL.map(|sub_run| sub_run.directory(run));
    [run.to_owned()].into_iter().chain(sub_runs)
}
