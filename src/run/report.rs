//! Information about a run, from its files. Changes nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{self, Config, EarlyStoppingConfig, Metric, Resolved};
use crate::data::Fingerprint;
use crate::events;
use crate::model::parameters::{embedding_name, ngram_weight_name};
use crate::model::summary::summarize;
use crate::objective::metrics::Score;
use crate::run::checkpoint::{self, is_checkpoint};
use crate::run::directory::RunDirectory;
use crate::run::progress::{Best, Progress};
use crate::run::records::{ValidationRecord, ValidationTime};
use crate::run::summary::{CheckpointKind, RunSummary, ScoredWeights};

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A process trains in its directory.
    Running,
    /// It has finished and has a summary.
    Finished,
    /// It was interrupted or killed, and can be resumed.
    Stopped,
    /// An error ended the run.
    Failed,
}

impl RunState {
    /// Name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// Score on the validation examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Weights that the score belongs to.
    pub weights: ScoredWeights,
    /// The score.
    pub validation: Score,
}

/// Information about a run, from its files.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Directory of the run.
    pub directory: RunDirectory,
    /// State of the run.
    pub state: RunState,
    /// Start time, in seconds since 1970.
    pub started: Option<u64>,
    /// Configuration, if it can be read.
    pub resolved: Option<Resolved>,
    /// Best validation so far.
    pub best: Option<Best>,
    /// Score by which the run is ranked: that of its best weights so far, or of its latest ones with
    /// `restore_best: false`.
    pub scored: Option<Scored>,
    /// Fingerprint of the validation examples; unknown before the first checkpoint, and for runs of
    /// earlier versions.
    pub validation_data: Option<Fingerprint>,
    /// Score on the test examples, if the run has finished and has any.
    pub test: Option<Score>,
    /// Fingerprint of the test examples that it belongs to; unknown for runs of earlier versions.
    pub test_data: Option<Fingerprint>,
    /// Epoch of the last validation or checkpoint, from 1; 0 before the first.
    pub epoch: usize,
    /// Seconds of training.
    pub seconds: f64,
    /// Number of tokens trained on per second.
    pub tokens_per_second: Option<f64>,
    /// Number of trainable parameters; unknown before the first checkpoint.
    pub parameters: Option<usize>,
    /// Error that ended the run.
    pub error: Option<String>,
    /// Warnings about its model.
    pub warnings: Vec<String>,
    /// Errors in its files.
    pub faults: Vec<String>,
}

impl RunReport {
    /// Reads the files of a run. Skips damaged files and adds their errors to
    /// [`RunReport::faults`].
    pub fn read(path: &Path) -> Self {
        let directory = RunDirectory::open(path);
        let mut faults = Vec::new();
        let files = RunFiles::read(&directory, &mut faults);
        let resolved = ok_or_fault(&mut faults, config::load_recorded(&directory.config(), &[]));
        let config = resolved.as_ref().map(|resolved| &resolved.config);
        let error = directory.error();
        let state = match &files.summary {
            _ if directory.is_training() => RunState::Running,
            Some(_) => RunState::Finished,
            None if error.is_some() => RunState::Failed,
            None => RunState::Stopped,
        };
        let prefix = format!("{}/", directory.path().display());
        Self {
            state,
            started: events::start_time(directory.path()),
            best: files.best(config),
            scored: files.scored(config),
            validation_data: files.validation_data(),
            test: files.summary.as_ref().and_then(|summary| summary.test),
            test_data: files.test_data(),
            epoch: files.epoch(),
            seconds: files.seconds(),
            tokens_per_second: files.tokens_per_second(),
            parameters: files.parameters(config, &mut faults),
            warnings: files.summary.map(|summary| summary.warnings).unwrap_or_default(),
            error: error.filter(|_| state == RunState::Failed),
            faults: faults.iter().map(|fault| fault.replace(&prefix, "")).collect(),
            resolved,
            directory,
        }
    }

    /// Configuration, if it can be read.
    pub fn config(&self) -> Option<&Config> {
        self.resolved.as_ref().map(|resolved| &resolved.config)
    }

    /// Maximum number of epochs, if the configuration can be read.
    pub fn epochs(&self) -> Option<usize> {
        self.config().map(|config| config.train.epoch_limit())
    }
}

/// Returns the value, or adds the error to `faults`.
fn ok_or_fault<T, E: Into<anyhow::Error>>(
    faults: &mut Vec<String>,
    result: Result<T, E>,
) -> Option<T> {
    result.map_err(|error| faults.push(format!("{:#}", error.into()))).ok()
}

/// Measurements in the files of a run.
struct RunFiles {
    summary: Option<RunSummary>,
    records: Vec<ValidationRecord>,
    times: Vec<ValidationTime>,
    /// A checkpoint, if there is one.
    checkpoint: Option<PathBuf>,
    /// Progress of the later checkpoint.
    latest: Option<Progress>,
}

impl RunFiles {
    fn read(directory: &RunDirectory, faults: &mut Vec<String>) -> Self {
        let summary = ok_or_fault(faults, directory.read_summary()).flatten();
        let records = ok_or_fault(faults, directory.records()).unwrap_or_default();
        if let Some(line) = directory.damaged_line() {
            faults.push(format!("metrics.jsonl:{line}: damaged line"));
        }
        let times = ok_or_fault(faults, directory.times()).unwrap_or_default();
        let checkpoints = [directory.best(), directory.last()].into_iter();
        let checkpoints: Vec<PathBuf> = checkpoints.filter(|path| is_checkpoint(path)).collect();
        let progress = checkpoints.iter().map(|path| checkpoint::progress(path));
        let progress = progress.filter_map(|progress| ok_or_fault(faults, progress));
        let latest = progress.max_by_key(|progress| progress.step);
        Self { summary, records, times, checkpoint: checkpoints.into_iter().next(), latest }
    }

    fn best(&self, config: Option<&Config>) -> Option<Best> {
        let summary = self.summary.as_ref().map(|summary| (summary.scored(), summary.validation));
        if let Some((ScoredWeights { checkpoint: CheckpointKind::Best, epoch }, validation)) =
            summary
        {
            return Some(Best { epoch, validation });
        }
        // Without a checkpoint, the best validation follows from the records.
        let saved = self.latest.as_ref().and_then(|latest| latest.best);
        saved.or_else(|| self.best_record(&config?.train.early_stopping)).or_else(|| {
            // Without the configuration, the metric is unknown.
            let records = self.records.iter();
            let best = records.min_by(|a, b| a.validation.rank(b.validation, &Metric::Loss))?;
            Some(Best { epoch: best.epoch, validation: best.validation })
        })
    }

    /// Returns the validation of which training has saved `best/`.
    fn best_record(&self, early_stopping: &EarlyStoppingConfig) -> Option<Best> {
        let mut progress = Progress::default();
        for record in &self.records {
            progress.validated(record.epoch, record.validation, early_stopping);
        }
        progress.best
    }

    fn scored(&self, config: Option<&Config>) -> Option<Scored> {
        if let Some(summary) = &self.summary {
            return Some(Scored { weights: summary.scored(), validation: summary.validation });
        }
        let restores_best = config.is_none_or(|config| config.train.early_stopping.restore_best);
        let (checkpoint, epoch, validation) = match restores_best {
            true => {
                let best = self.best(config)?;
                (CheckpointKind::Best, best.epoch, best.validation)
            }
            false => {
                let last = self.records.last()?;
                (CheckpointKind::Last, last.epoch, last.validation)
            }
        };
        Some(Scored { weights: ScoredWeights { checkpoint, epoch }, validation })
    }

    fn validation_data(&self) -> Option<Fingerprint> {
        let summary = self.summary.as_ref().and_then(|summary| summary.validation_data);
        summary.or_else(|| Some(self.latest.as_ref()?.data?.validation))
    }

    fn test_data(&self) -> Option<Fingerprint> {
        let summary = self.summary.as_ref()?;
        summary.test?;
        summary.test_data.or_else(|| Some(self.latest.as_ref()?.data?.test))
    }

    fn epoch(&self) -> usize {
        let recorded = self.records.last().map_or(0, |record| record.epoch);
        self.latest.as_ref().map_or(0, Progress::epoch_number).max(recorded)
    }

    fn seconds(&self) -> f64 {
        let recorded = self.times.iter().map(|time| time.train_seconds).sum();
        let saved = self.latest.as_ref().map_or(0.0, |latest| latest.seconds);
        self.summary.as_ref().map_or(saved.max(recorded), |summary| summary.seconds)
    }

    fn tokens_per_second(&self) -> Option<f64> {
        let latest = self.latest.as_ref().filter(|latest| latest.seconds > 0.0);
        let saved = latest.map(|latest| latest.tokens as f64 / latest.seconds);
        self.summary.as_ref().map(|summary| summary.tokens_per_second).or(saved)
    }

    fn parameters(&self, config: Option<&Config>, faults: &mut Vec<String>) -> Option<usize> {
        if let Some(summary) = &self.summary {
            return Some(summary.parameters);
        }
        let shapes = ok_or_fault(faults, checkpoint::shapes(self.checkpoint.as_ref()?))?;
        let rows = |name: &str| shapes.get(name)?.first().copied();
        let config = config?;
        let size = |has_rows: bool, name: String| if has_rows { rows(&name) } else { Some(0) };
        let inputs = || config.inputs.iter();
        let words = inputs().map(|input| size(input.has_lstm(), embedding_name(input)));
        let ngrams = inputs().map(|input| size(input.ngrams.is_on(), ngram_weight_name(input)));
        let words: Vec<usize> = words.collect::<Option<_>>()?;
        let ngrams: Vec<usize> = ngrams.collect::<Option<_>>()?;
        Some(summarize(config, &words, &ngrams, rows("head.bias")?).trainable())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::objective::AddedLosses;
    use crate::run::new_run::NewRun;

    const CONFIG: &str = "data: {train: x.csv}\ntrain: {epochs: 8}\n";

    fn record(epoch: usize, loss: f64, accuracy: f64) -> ValidationRecord {
        let score = Score::new(loss, accuracy);
        ValidationRecord {
            epoch,
            step: 10 * epoch as u64,
            train: score,
            added: AddedLosses::default(),
            validation: score,
            learning_rate: 0.1,
            branch_scales: None,
        }
    }

    fn run(path: &Path) -> RunDirectory {
        let run = RunDirectory::open(path);
        NewRun::create(path, CONFIG).unwrap().begin();
        run.append_record(&record(1, 0.5, 0.7), 1.5).unwrap();
        run.append_record(&record(2, 0.6, 0.8), 2.0).unwrap();
        run
    }

    #[test]
    fn the_state_of_a_run_follows_from_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let run = run(directory.path());
        let state = || RunReport::read(directory.path()).state;
        assert_eq!(state(), RunState::Stopped);
        run.write_error(&anyhow::anyhow!("disk full"));
        assert_eq!(state(), RunState::Failed);
        assert_eq!(RunReport::read(directory.path()).error.unwrap(), "disk full");
        let lock = run.lock().unwrap();
        assert_eq!(state(), RunState::Running);
        assert_eq!(RunReport::read(directory.path()).error, None);
        drop(lock);
        run.write_summary(&RunSummary::EXAMPLE).unwrap();
        assert_eq!(state(), RunState::Finished);
    }

    #[test]
    fn the_report_of_an_unfinished_run_is_based_on_its_records() {
        let directory = tempfile::tempdir().unwrap();
        run(directory.path());
        let report = RunReport::read(directory.path());
        assert_eq!(report.best.unwrap().epoch, 1);
        assert_eq!((report.epoch, report.epochs()), (2, Some(8)));
        assert_eq!((report.seconds, report.parameters), (3.5, None));
        assert_eq!((report.test, report.faults), (None, vec![]));

        let accuracy = "data: {train: x}\ntrain: {early_stopping: {metric: validation_accuracy}}\n";
        fs::write(report.directory.config(), accuracy).unwrap();
        assert_eq!(RunReport::read(directory.path()).best.unwrap().epoch, 2);
    }

    #[test]
    fn a_run_that_keeps_its_last_weights_is_ranked_by_their_score() {
        let directory = tempfile::tempdir().unwrap();
        let run = run(directory.path());
        let yaml = "data: {train: x}\ntrain: {early_stopping: {restore_best: false}}\n";
        fs::write(run.config(), yaml).unwrap();
        let last = ScoredWeights { checkpoint: CheckpointKind::Last, epoch: 2 };
        let scored = || RunReport::read(directory.path()).scored.unwrap();
        assert_eq!((scored().weights, scored().validation.loss), (last, 0.6));
        run.write_summary(&RunSummary { scored: Some(last), ..RunSummary::EXAMPLE }).unwrap();
        assert_eq!((scored().weights, scored().validation), (last, RunSummary::EXAMPLE.validation));
        // The best validation is still that of the records.
        assert_eq!(RunReport::read(directory.path()).best.unwrap().epoch, 1);
    }

    #[test]
    fn damaged_files_are_reported_and_the_others_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let run = run(directory.path());
        let path = |name: &str| directory.path().join(name);
        fs::write(path("summary.json"), "{").unwrap();
        fs::write(path("config.yaml"), "data: {trian: x}\n").unwrap();
        let intact = fs::read_to_string(path("metrics.jsonl")).unwrap();
        fs::write(path("metrics.jsonl"), format!("{intact}\0\0\n")).unwrap();
        fs::create_dir(run.last()).unwrap();
        fs::write(run.last().join("checkpoint.json"), "{}").unwrap();
        let report = RunReport::read(directory.path());
        assert_eq!((report.epoch, report.best.unwrap().epoch), (2, 1));
        let faults = report.faults.join("\n");
        for part in [
            "cannot parse \"summary.json\"",
            "metrics.jsonl:3: damaged line",
            "cannot read \"last/progress.json\"",
            "cannot read \"last/model.safetensors\"",
            "config.yaml:1:",
            "did you mean data.train?",
        ] {
            assert!(faults.contains(part), "{part:?} is not in: {faults}");
        }
    }
}
