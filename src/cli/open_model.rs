//! A saved model with the networks that compute it.

use std::sync::Arc;

use anyhow::{Context, ensure};

use crate::backend::Inference;
use crate::config::{Config, DataConfig, Input, Inputs, Labelling};
use crate::data::Examples;
use crate::data::batch_plan::BatchLimit;
use crate::data::check::texts;
use crate::distributed::Collective;
use crate::evaluation::Predictions;
use crate::output::note;
use crate::run::saved_model::SavedModel;

/// A saved model and the network of each of its members.
pub struct OpenModel {
    /// The processes that predict together.
    pub collective: Arc<dyn Collective>,
    /// The model.
    pub saved: SavedModel,
    /// Its networks.
    pub networks: Vec<Box<dyn Inference>>,
}

/// Labeled examples with the configuration by which they were read.
pub struct ReadExamples<'a> {
    /// The examples.
    pub examples: Examples,
    /// Their data section.
    pub data: &'a DataConfig,
    /// The inputs for which they were tokenized.
    pub inputs: &'a Inputs,
}

impl ReadExamples<'_> {
    /// Returns the examples as a model with these inputs reads them.
    fn tokenized_for(&self, config: &Config) -> anyhow::Result<Examples> {
        let same = |(a, b): (&Input, &Input)| a.columns == b.columns && a.text == b.text;
        let inputs = &config.inputs;
        let is_same =
            inputs.len() == self.inputs.len() && inputs.iter().zip(&**self.inputs).all(same);
        match is_same {
            true => Ok(self.examples.clone()),
            false => self.examples.retokenize(config),
        }
    }
}

/// Predictions, and notes on the examples.
pub struct NotedPredictions {
    /// Predictions of each member.
    pub members: Vec<Predictions>,
    /// Notes on texts of which a member knows nothing, each once.
    pub notes: Vec<String>,
}

impl OpenModel {
    /// Keeps the calibration of the model, and notes which ones of an ensemble are not used, or removes it.
    pub fn with_calibration(mut self, is_used: bool) -> Self {
        if !is_used {
            self.saved = self.saved.uncalibrated();
        } else if self.saved.calibration.is_none() {
            for path in self.saved.unused_calibrations() {
                note(format!(
                    "the calibration of \"{}\" is not used, because its probabilities are averaged with others",
                    path.display()
                ));
            }
        }
        self
    }

    /// Combines the predictions of all members, and calibrates them if the model is calibrated.
    pub fn combine(&self, members: Vec<Predictions>) -> Predictions {
        let predictions = Predictions::combine(members, &self.saved.combination);
        match &self.saved.calibration {
            Some(calibration) => predictions.calibrated(calibration),
            None => predictions,
        }
    }

    /// Predicts labeled examples that were read by the configuration of the model, without its calibration.
    /// Returns notes on the examples, too.
    ///
    /// # Errors
    /// Returns the errors of [`OpenModel::predict`].
    pub fn predict_own(&self, examples: &Examples) -> anyhow::Result<(Predictions, Vec<String>)> {
        let config = self.saved.config();
        let examples = examples.clone();
        let read = ReadExamples { examples, data: &config.data, inputs: &config.inputs };
        let NotedPredictions { members, notes } = self.predict(&read)?;
        Ok((Predictions::combine(members, &self.saved.combination), notes))
    }

    /// Predicts labeled examples with every member.
    ///
    /// # Errors
    /// Returns an error if a member reads different rows of the data, or if its weights overflow.
    pub fn predict(&self, read: &ReadExamples) -> anyhow::Result<NotedPredictions> {
        let (mut members, mut notes) = (Vec::new(), Vec::new());
        for (checkpoint, network) in self.saved.members.iter().zip(&self.networks) {
            let config = &checkpoint.resolved.config;
            let labelling = config.data.labelling();
            ensure!(
                read.data.labelling() == labelling,
                "{}: {}",
                checkpoint.unusable(),
                match labelling {
                    Labelling::One => "a text has one label, but data.multi_label is true",
                    Labelling::Several =>
                        "a text can have several labels; set data.multi_label: true",
                }
            );
            let config = Config { data: read.data.clone(), ..config.clone() };
            let examples = read.tokenized_for(&config)?;
            let (inputs, encoders) = (&config.inputs, &checkpoint.encoders);
            let data = examples.clone().encoded(encoders)?;
            for note in texts::findings("", &examples, inputs, encoders, &data.inputs)? {
                if !notes.contains(&note.message) {
                    notes.push(note.message);
                }
            }
            let limit = BatchLimit::for_evaluation(&config.train);
            let predictions =
                Predictions::of(&**network, labelling, &data, limit, &*self.collective)?;
            predictions.check_finite().with_context(|| checkpoint.unusable())?;
            members.push(predictions);
        }
        Ok(NotedPredictions { members, notes })
    }
}
