//! Logging a run to TensorBoard: the curves, the HParams dashboard, precision-recall curves, confusion
//! matrices, sample predictions, histograms, and the embedding projector's files. The format of event
//! files, and which sub-run has which curve, belong in [`crate::events`].

mod classes;
mod histogram;
mod hyperparameters;
mod labels;
mod precision_recall;
mod projector;
mod samples;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tensorboard_proto::summary::Summary;

use crate::config::{Labelling, TensorboardConfig};
use crate::data::prepared::PreparedData;
use crate::evaluation::{ClassAverages, Predictions};
use crate::events;
use crate::events::summaries::{self, RunStatus};
use crate::events::{
    ACCURACY, CONFIG, EventWriter, GRADIENT_NORM, LEARNING_RATE, LOSS, LSTM_SCALE, NGRAM_SCALE,
    SubRun, TOKENS_PER_SECOND, unix_seconds,
};
use crate::model::NamedTensor;
use crate::model::branch_scales::BranchScales;
use crate::objective::AddedLosses;
use crate::objective::metrics::Score;
use crate::run::records::ValidationRecord;
use crate::run::summary::RunSummary;

use classes::{ConfusionMatrix, classes_with_curves};
use histogram::buckets;
use hyperparameters::hyperparameters;
use samples::Samples;

/// Writes the event files of a run and of its sub-runs.
pub struct SummaryWriter<'a> {
    data: &'a PreparedData,
    config: &'a TensorboardConfig,
    /// The run directory.
    directory: PathBuf,
    /// The configuration and the session records, in the run directory itself.
    session: EventWriter,
    train: EventWriter,
    validation: EventWriter,
    /// Classes that have a precision-recall curve.
    pr_classes: Vec<usize>,
    confusion_matrix: ConfusionMatrix,
    samples: Samples<'a>,
}

/// Measurements of a training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepPoint {
    /// Mean loss of the batch.
    pub loss: f64,
    /// Means of the losses that training adds to that of the labels.
    pub added: AddedLosses,
    /// Accuracy on the batch.
    pub accuracy: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping, if it was computed.
    pub gradient_norm: Option<f64>,
    /// Training throughput.
    pub tokens_per_second: f64,
}

impl<'a> SummaryWriter<'a> {
    /// Creates the event files in a run directory, and logs the configuration.
    ///
    /// # Errors
    /// Returns an error if a file cannot be created or written.
    pub fn new(data: &'a PreparedData, directory: &Path) -> anyhow::Result<Self> {
        let config = &data.resolved.config.train.tensorboard;
        let targets = &data.validation.targets;
        let labelling = data.resolved.config.data.labelling();
        let now = SystemTime::now();
        let sub_run = |sub_run: SubRun| EventWriter::create(&sub_run.directory(directory), now);
        let mut session = EventWriter::create(directory, now)?;
        let hyperparameters = hyperparameters(&data.resolved.fields);
        session.summary(summaries::session_start(hyperparameters, unix_seconds(now)), 0, now)?;
        let yaml = without_comment_lines(&data.resolved.to_yaml());
        let description = "The resolved configuration.";
        let markdown = format!("```\n{yaml}```\n");
        session.summary(summaries::text(CONFIG, description, &markdown), 0, now)?;
        session.flush()?;
        Ok(Self {
            config,
            directory: directory.to_owned(),
            session,
            train: sub_run(SubRun::Train)?,
            validation: sub_run(SubRun::Validation)?,
            pr_classes: classes_with_curves(labelling, data.labels.len(), targets),
            confusion_matrix: ConfusionMatrix::new(&data.labels, targets),
            samples: Samples::new(data, config.predictions),
            data,
        })
    }

    /// Logs a training step.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn train_step(&mut self, point: &StepPoint, step: u64) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let scalars = [
            (LOSS, Some(point.loss)),
            (ACCURACY, Some(point.accuracy)),
            (LEARNING_RATE, Some(point.learning_rate)),
            (GRADIENT_NORM, point.gradient_norm),
            (TOKENS_PER_SECOND, Some(point.tokens_per_second)),
        ];
        for (tag, value) in scalars {
            if let Some(value) = value {
                self.train.scalar(tag, value, step, now)?;
            }
        }
        point.added.terms().try_for_each(|(tag, value)| self.train.scalar(tag, value, step, now))
    }

    /// Logs a validation: its score, the scales of the branches if it has chosen them, and whichever
    /// of precision-recall curves, confusion matrix and sample predictions are enabled. Flushes all files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn validation(
        &mut self,
        predictions: &Predictions,
        record: &ValidationRecord,
    ) -> anyhow::Result<()> {
        let step = record.step;
        add_score(&mut self.validation, self.data, record.validation, step)?;
        if let Some(BranchScales { lstm, ngrams }) = record.branch_scales {
            for (tag, scale) in [(LSTM_SCALE, lstm), (NGRAM_SCALE, ngrams)] {
                self.validation.scalar(tag, scale, step, SystemTime::now())?;
            }
        }
        if self.config.pr_curves {
            for class in &self.pr_classes {
                let counts = precision_recall::confusion_counts(predictions, *class);
                let tag = format!("precision_recall/{}", self.data.labels[*class]);
                let description = "Validation examples, by threshold on the class probability.";
                let curve = summaries::precision_recall(&tag, description, &counts);
                add(&mut self.validation, curve, step)?;
            }
        }
        if predictions.labelling() == Labelling::Several {
            self.label_scores(predictions, step)?;
        } else if self.config.confusion_matrix {
            let image = self.confusion_matrix.image(predictions)?;
            let description = "Validation examples. Percentages are of the true class.";
            let image = summaries::image("confusion_matrix", description, image.size, image.bytes);
            add(&mut self.validation, image, step)?;
        }
        if !self.samples.is_empty() {
            let table = self.samples.table(predictions);
            let description = "Validation examples as token sequences. Wrong predictions are bold.";
            let table = summaries::text("predictions", description, &table);
            add(&mut self.validation, table, step)?;
        }
        self.flush()
    }

    /// Logs F1 scores of labels of which a text can have several, and in the place of a confusion matrix, a
    /// table with the counts of each label.
    fn label_scores(&mut self, predictions: &Predictions, step: u64) -> anyhow::Result<()> {
        let names = &self.data.labels;
        let counts = predictions.class_counts();
        let averages = ClassAverages::of(Labelling::Several, &counts);
        let of_labels = self
            .pr_classes
            .iter()
            .map(|class| (format!("f1/{}", names[*class]), counts[*class].score()));
        let scores = [
            ("macro_f1".to_owned(), averages.macro_average),
            ("micro_f1".to_owned(), averages.micro_average),
        ];
        // The metric of the run has been logged with its score.
        let metric = metric_tag(self.data);
        let scores = scores.into_iter().chain(of_labels).filter(|(tag, _)| *tag != metric);
        for (tag, score) in scores.collect::<Vec<_>>() {
            self.validation.scalar(&tag, score.f1, step, SystemTime::now())?;
        }
        if self.config.confusion_matrix {
            let table = labels::table(names, &counts);
            let description = "Validation examples with and without each label.";
            add(&mut self.validation, summaries::text("labels", description, &table), step)?;
        }
        Ok(())
    }

    /// Logs the score on the test examples, in place of an older one at the same step.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created or written.
    pub fn test(&mut self, score: Score, step: u64) -> anyhow::Result<()> {
        events::remove_test_scores(&self.directory, step)?;
        let directory = SubRun::Test.directory(&self.directory);
        let mut test = EventWriter::create(&directory, SystemTime::now())?;
        add_score(&mut test, self.data, score, step)?;
        test.sync()
    }

    /// Logs the final scores for the HParams dashboard, under the name of the checkpoint that they
    /// belong to.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn scores(&mut self, outcome: &RunSummary, step: u64) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let checkpoint = outcome.scored().checkpoint.as_str();
        let splits = [("validation", Some(outcome.validation)), ("test", outcome.test)];
        for (split, score) in splits {
            let Some(score) = score else { continue };
            for (tag, value) in scalars(self.data, score) {
                let tag = format!("{checkpoint}/{split}_{tag}");
                self.session.scalar(&tag, value, step, now)?;
            }
        }
        Ok(())
    }

    /// Returns true if histograms are due after a step.
    pub fn wants_histograms(&self, step: u64) -> bool {
        self.config.histograms.is_some_and(|interval| step.is_multiple_of(interval))
    }

    /// Logs histograms of all gradients, and of the weights that have one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn histograms(
        &mut self,
        weights: &[NamedTensor],
        gradients: &[NamedTensor],
        step: u64,
    ) -> anyhow::Result<()> {
        let has_gradient =
            |weight: &&NamedTensor| gradients.iter().any(|gradient| gradient.name == weight.name);
        let weights = weights.iter().filter(has_gradient).map(|tensor| ("weights", tensor));
        let gradients = gradients.iter().map(|tensor| ("gradients", tensor));
        for (kind, tensor) in weights.chain(gradients) {
            let buckets = buckets(&tensor.values);
            if !buckets.is_empty() {
                let tag = format!("{kind}/{}", tensor.name);
                add(&mut self.train, summaries::histogram(&tag, "", &buckets), step)?;
            }
        }
        Ok(())
    }

    /// Returns true if [`SummaryWriter::vectors`] writes anything.
    pub fn wants_vectors(&self) -> bool {
        self.config.projector.is_some()
    }

    /// Writes word vectors for the embedding projector, if it is enabled. `weights` returns all weights
    /// of the model.
    ///
    /// # Errors
    /// Returns an error if the files cannot be written.
    pub fn vectors(&self, weights: impl FnOnce() -> Vec<NamedTensor>) -> anyhow::Result<()> {
        match self.config.projector {
            Some(words) => projector::write(&self.directory, self.data, &weights(), words),
            None => Ok(()),
        }
    }

    /// Logs the end of the run, and flushes all files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn end(&mut self, status: RunStatus, step: u64) -> anyhow::Result<()> {
        let end = summaries::session_end(status, unix_seconds(SystemTime::now()));
        add(&mut self.session, end, step)?;
        self.flush()
    }

    /// Flushes the buffers, so that readers see everything logged so far.
    fn flush(&mut self) -> anyhow::Result<()> {
        self.writers().into_iter().try_for_each(EventWriter::flush)
    }

    /// Flushes the buffers and waits until the data is on disk.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        self.writers().into_iter().try_for_each(EventWriter::sync)
    }

    fn writers(&mut self) -> [&mut EventWriter; 3] {
        [&mut self.session, &mut self.train, &mut self.validation]
    }
}

fn add_score(
    events: &mut EventWriter,
    data: &PreparedData,
    score: Score,
    step: u64,
) -> anyhow::Result<()> {
    let now = SystemTime::now();
    scalars(data, score)
        .into_iter()
        .try_for_each(|(tag, value)| events.scalar(&tag, value, step, now))
}

/// Returns the tag of the metric of a run. Metrics of one label, such as `recall/spam`, form a group.
fn metric_tag(data: &PreparedData) -> String {
    data.resolved.config.metric().to_string().replacen(':', "/", 1)
}

/// Returns the tags and values of a score: loss, accuracy, and the metric of the run if it is another.
fn scalars(data: &PreparedData, score: Score) -> Vec<(String, f64)> {
    let metric = metric_tag(data);
    let mut scalars = vec![(LOSS.to_owned(), score.loss), (ACCURACY.to_owned(), score.accuracy)];
    scalars.extend(score.metric.map(|value| (metric, value)));
    scalars
}

fn add(events: &mut EventWriter, summary: Summary, step: u64) -> anyhow::Result<()> {
    events.summary(summary, step, SystemTime::now())
}

/// Returns a configuration without lines that are comments or empty.
fn without_comment_lines(yaml: &str) -> String {
    let fields = yaml.lines().filter(|line| !line.is_empty() && !line.trim().starts_with('#'));
    fields.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_configuration_is_logged_without_comment_lines() {
        let yaml = "data: {train: \"#1.csv\"}\nname: a # b\n";
        let resolved = config::parse(yaml, "test", &[]).unwrap();
        let logged = without_comment_lines(&resolved.to_yaml());
        assert!(!logged.contains("\n#") && logged.contains("\ntrain:\n  epochs: 20\n"), "{logged}");
        let again = config::parse(&logged, "logged", &[]).unwrap();
        assert_eq!(again.config, resolved.config);
    }
}
