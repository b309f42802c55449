//! The reliability diagram of a run, from the predictions for its validation examples.

use std::sync::Arc;

use anyhow::ensure;

use super::open_model::OpenModel;
use crate::backend::Inference;
use crate::config::Labelling;
use crate::data::{self, SplitName};
use crate::distributed::SingleProcess;
use crate::evaluation::{CalibrationBin, Evaluation, Predictions};
use crate::output::note;
use crate::plot::reliability::{self, Reliability, ReliabilityBin, ReliabilityPlot};
use crate::plot::{Picture, Theme};
use crate::prediction::native_inference;
use crate::run::directory::RunDirectory;
use crate::run::saved_model::SavedModel;

/// Draws the reliability diagram of the best checkpoint of a run; if it is calibrated, before and after that.
///
/// # Errors
/// Returns an error if the checkpoint or the validation examples cannot be read.
pub fn draw(run: &RunDirectory, name: &str, theme: Theme) -> anyhow::Result<Picture> {
    let saved = SavedModel::open(run.path(), &[])?;
    let network = |checkpoint| -> anyhow::Result<Box<dyn Inference>> {
        Ok(Box::new(native_inference(checkpoint)?))
    };
    let networks = saved.members.iter().map(network).collect::<anyhow::Result<_>>()?;
    let model = OpenModel { collective: Arc::new(SingleProcess), saved, networks };
    let (config, labels) = (model.saved.config(), model.saved.labels());
    let examples = data::load_split(config, SplitName::Validation, labels)?;
    examples.findings.iter().for_each(note);
    ensure!(!examples.is_empty(), "the data of \"{name}\" has no validation examples");
    let (predictions, _) = model.predict_own(&examples)?;
    let models = match &model.saved.calibration {
        None => vec![reliability("validation", &predictions, labels)],
        Some(calibration) => {
            let calibrated = predictions.clone().calibrated(calibration);
            vec![
                reliability("uncalibrated", &predictions, labels),
                reliability("calibrated", &calibrated, labels),
            ]
        }
    };
    let (confidence, accuracy) = match config.data.labelling() {
        Labelling::One => ("probability of the most probable class", "accuracy"),
        Labelling::Several => ("probability of a label", "share of texts with the label"),
    };
    let plot = ReliabilityPlot { run: name, confidence, accuracy, models: &models };
    reliability::draw(&plot, theme)
}

/// Returns the reliability of predictions.
fn reliability(name: &str, predictions: &Predictions, labels: &[String]) -> Reliability {
    let evaluation = Evaluation::of(predictions, labels);
    let bin = |bin: &CalibrationBin| ReliabilityBin {
        range: [bin.from, bin.to],
        confidence: bin.confidence,
        accuracy: bin.accuracy,
        count: bin.examples,
    };
    Reliability {
        name: name.to_owned(),
        error: evaluation.expected_calibration_error,
        bins: evaluation.calibration.iter().map(bin).collect(),
    }
}
