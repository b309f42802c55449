//! The folds of a cross-validation, and the predictions of their models.

use anyhow::bail;

use crate::cli::hints::relative;
use crate::cli::open_model::OpenModel;
use crate::config::Config;
use crate::data::{self, DataSplits, Examples, FileExamples, SplitFingerprints, SplitName};
use crate::evaluation::Predictions;
use crate::output::format::group_digits;
use crate::run::checkpoint::{self, Checkpoint};
use crate::sweep::{SweepDirectory, SweepRun};

/// A fold and the predictions of the model that has not seen it.
pub struct Fold {
    pub name: String,
    /// Number of the fold, from 1, and seed of the split.
    pub fold: usize,
    pub seed: u64,
    pub config: Config,
    pub labels: Vec<String>,
    pub examples: Examples,
    pub predictions: Predictions,
}

/// Data of all folds, read once.
pub struct FoldData(FileExamples);

impl FoldData {
    pub fn read(directory: &SweepDirectory) -> anyhow::Result<Self> {
        // The folds differ in their split only.
        let config = directory.resolve(&directory.runs[0])?.config;
        FileExamples::read(&config, None).map(Self)
    }

    /// Checks that all folds are possible, and that those that have begun had this data.
    pub fn check(&self, directory: &SweepDirectory) -> anyhow::Result<()> {
        directory.runs.iter().try_for_each(|run| self.splits(directory, run).map(drop))
    }

    /// Splits the data for a fold, and checks that it is the data on which the fold was trained, if it was.
    pub fn splits(&self, directory: &SweepDirectory, run: &SweepRun) -> anyhow::Result<DataSplits> {
        let config = directory.resolve(run)?.config;
        let paths = [run.directory.last(), run.directory.best()];
        // A checkpoint that cannot be read is reported by whatever uses it.
        let recorded = paths.iter().find_map(|path| checkpoint::progress(path).ok()?.data);
        let mut tokenizers = config.inputs.iter().map(|input| &input.text.tokenizer);
        let trained = match tokenizers.any(|tokenizer| tokenizer.needs_training()) {
            true => paths.iter().find_map(|path| Checkpoint::open(path).ok()),
            false => None,
        };
        let mut splits = match &trained {
            // Each fold has a byte-pair encoding of its own.
            Some(checkpoint) => data::load(&checkpoint.resolved.config, None)?,
            None => self.0.split(&config)?,
        };
        splits.drop_long_texts(&config)?;
        if let Some(recorded) = recorded {
            let now =
                SplitFingerprints { unlabelled: recorded.unlabelled, ..splits.fingerprints() };
            if now != recorded {
                let examples = |splits: SplitFingerprints| {
                    let count = |name| splits.split(name).examples();
                    group_digits(SplitName::ALL.into_iter().map(count).sum())
                };
                bail!(
                    "the data has changed since \"{}\" was trained ({} examples then, {} now), but all folds of \
                     a cross-validation need the same data; restore it, or choose another --out",
                    relative(run.directory.path()).display(),
                    examples(recorded),
                    examples(now)
                );
            }
        }
        Ok(splits)
    }
}

impl Fold {
    pub fn predict(run: &SweepRun, model: &OpenModel, splits: DataSplits) -> anyhow::Result<Self> {
        let (config, labels) = (model.saved.config().clone(), model.saved.labels().to_vec());
        let examples = splits.test;
        let (predictions, _) = model.predict_own(&examples)?;
        let split = &config.data.split;
        let (fold, seed) = (split.fold, split.seed);
        Ok(Self { name: run.name.clone(), fold, seed, config, labels, examples, predictions })
    }

    /// Probabilities of the classes of an example.
    pub fn probabilities(&self, example: usize) -> impl Iterator<Item = f64> {
        (0..self.labels.len()).map(move |class| self.predictions.probability(example, class))
    }
}
