//! What TensorBoard is shown of a run: its curves, its settings (HParams), and at each validation
//! precision-recall curves, the confusion matrix and sample predictions; histograms and the
//! embedding projector's files on demand.

mod classes;
mod histogram;
mod hyperparameters;
mod precision_recall;
mod projector;
mod samples;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tensorboard_proto::summary::Summary;

use crate::config::TensorboardConfig;
use crate::data::prepared::PreparedData;
use crate::evaluation::Predictions;
use crate::events::summaries::{self, RunStatus};
use crate::events::{CONFIG_TAG, EventWriter, seconds};
use crate::model::named_tensors::NamedTensor;

use classes::{Rows, with_curves};
use histogram::buckets;
use hyperparameters::hyperparameters;
use samples::Samples;

/// The event file of a run, and what goes into it.
pub struct SummaryWriter<'a> {
    experiment: &'a PreparedData,
    config: &'a TensorboardConfig,
    folder: PathBuf,
    events: EventWriter,
    /// The classes that have a precision-recall curve.
    curves: Vec<usize>,
    matrix: Rows,
    samples: Samples<'a>,
}

impl<'a> SummaryWriter<'a> {
    /// Makes an event file in the run's `folder`, with the settings of the run in it.
    ///
    /// # Errors
    /// Where the file cannot be made or written.
    pub fn new(experiment: &'a PreparedData, folder: &Path) -> anyhow::Result<Self> {
        let config = &experiment.resolved.config.train.tensorboard;
        let labels = &experiment.validation.labels;
        let now = SystemTime::now();
        let mut board = Self {
            config,
            folder: folder.to_owned(),
            events: EventWriter::create(folder, now)?,
            curves: with_curves(experiment.labels.len(), labels),
            matrix: Rows::new(&experiment.labels, labels),
            samples: Samples::new(experiment, config.predictions),
            experiment,
        };
        let settings = hyperparameters(&experiment.resolved.fields);
        board.add(summaries::session_start(settings, seconds(now)), 0)?;
        let yaml = uncommented(&experiment.resolved.to_yaml());
        let about = "The resolved configuration.";
        board.add(summaries::text(CONFIG_TAG, about, &format!("```\n{yaml}```\n")), 0)?;
        board.events.flush()?;
        Ok(board)
    }

    /// Adds a point to each of these curves.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn scalars(&mut self, points: &[(&str, f64)], step: u64) -> anyhow::Result<()> {
        let now = SystemTime::now();
        points.iter().try_for_each(|(tag, value)| self.events.scalar(tag, *value, step, now))
    }

    /// Adds what is configured of the predictions on the validation examples.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn validation(&mut self, predictions: &Predictions, step: u64) -> anyhow::Result<()> {
        if self.config.pr_curves {
            for class in self.curves.clone() {
                let label = &self.experiment.labels[class];
                let decisions = precision_recall::curve(predictions, class);
                let about = "Validation examples; thresholds on the probability of the class.";
                let tag = format!("precision_recall/{label}");
                self.add(summaries::precision_recall(&tag, about, &decisions), step)?;
            }
        }
        if self.config.confusion_matrix {
            let picture = self.matrix.picture(predictions)?;
            let about = "Validation examples; shares are those of the true class.";
            self.add(
                summaries::image("confusion_matrix", about, picture.size, picture.bytes),
                step,
            )?;
        }
        if !self.samples.is_empty() {
            let table = self.samples.table(predictions);
            let about = "Validation examples as the model reads them; wrong predictions are bold.";
            self.add(summaries::text("predictions", about, &table), step)?;
        }
        Ok(())
    }

    /// Whether histograms are due after a step.
    pub fn wants_histograms(&self, step: u64) -> bool {
        self.config.histograms.is_some_and(|interval| step.is_multiple_of(interval))
    }

    /// Adds histograms of all gradients and of the weights that have one.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn histograms(
        &mut self,
        weights: &[NamedTensor],
        gradients: &[NamedTensor],
        step: u64,
    ) -> anyhow::Result<()> {
        let trained = |weight: &&NamedTensor| gradients.iter().any(|own| own.name == weight.name);
        let weights = weights.iter().filter(trained).map(|array| ("weights", array));
        for (kind, array) in weights.chain(gradients.iter().map(|array| ("gradients", array))) {
            let buckets = buckets(&array.values);
            if !buckets.is_empty() {
                let tag = format!("{kind}/{}", array.name);
                self.add(summaries::histogram(&tag, "", &buckets), step)?;
            }
        }
        Ok(())
    }

    /// Whether the embedding projector is to have the words' vectors in the end.
    pub fn wants_vectors(&self) -> bool {
        self.config.projector.is_some()
    }

    /// Writes the words' vectors for the embedding projector, where it is to have them; `weights`
    /// gives all weights of the model.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub fn vectors(&self, weights: impl FnOnce() -> Vec<NamedTensor>) -> anyhow::Result<()> {
        match self.config.projector {
            Some(most) => projector::write(&self.folder, self.experiment, &weights(), most),
            None => Ok(()),
        }
    }

    /// Says how the run ended, after so many steps.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn end(&mut self, status: RunStatus, step: u64) -> anyhow::Result<()> {
        self.add(summaries::session_end(status, seconds(SystemTime::now())), step)?;
        self.events.flush()
    }

    /// Hands everything written so far to readers.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.events.flush()
    }

    /// Hands everything written so far to the disk.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        self.events.sync()
    }

    fn add(&mut self, summary: Summary, step: u64) -> anyhow::Result<()> {
        self.events.summary(summary, step, SystemTime::now())
    }
}

/// The lines of a resolved configuration that are fields.
fn uncommented(yaml: &str) -> String {
    let fields = yaml.lines().filter(|line| !line.is_empty() && !line.trim().starts_with('#'));
    fields.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_configuration_is_shown_without_its_meanings() {
        let yaml = "data: {train: \"#1.csv\"}\nname: a # b\n";
        let resolved = config::parse(yaml, "test", &[]).unwrap();
        let shown = uncommented(&resolved.to_yaml());
        assert!(!shown.contains("# ") && shown.contains("\ntrain:\n  epochs: 20\n"), "{shown}");
        let again = config::parse(&shown, "shown", &[]).unwrap();
        assert_eq!(again.config, resolved.config);
    }
}
