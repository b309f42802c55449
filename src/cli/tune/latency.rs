//! Time that a model takes to classify one text.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use crate::backend::Backends;
use crate::cli::arguments::ComputeArgs;
use crate::config::Config;
use crate::data::{SplitName, load_split};
use crate::prediction::Classifier;

/// Number of texts that are timed.
const TEXTS: usize = 100;

/// Measures the latency of models on validation texts.
pub struct LatencyCheck<'a> {
    compute: &'a ComputeArgs,
    backends: &'a dyn Backends,
    /// Texts of each text column; empty before the first measurement.
    columns: Vec<Vec<String>>,
}

impl<'a> LatencyCheck<'a> {
    /// Creates a check that has read nothing yet.
    pub fn new(compute: &'a ComputeArgs, backends: &'a dyn Backends) -> Self {
        Self { compute, backends, columns: Vec::new() }
    }

    /// Returns the median time in seconds in which a checkpoint classifies one text.
    ///
    /// # Errors
    /// Returns an error if the model cannot be used, or if the validation examples cannot be read.
    pub fn measure(&mut self, checkpoint: &Path) -> anyhow::Result<f64> {
        let model = self.compute.open(self.backends, checkpoint, &[], true)?;
        if self.columns.is_empty() {
            // All trials have the same validation texts.
            self.columns = texts(model.saved.config(), model.saved.labels())?;
        }
        let classifier = Classifier::new(model.saved, model.networks);
        let count = self.columns.first().map_or(0, Vec::len);
        let mut times = Vec::with_capacity(count);
        for text in 0..count {
            let columns: Vec<Vec<String>> =
                self.columns.iter().map(|column| vec![column[text].clone()]).collect();
            let start = Instant::now();
            classifier.predict_columns(&columns, 1, 1)?;
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().context("there are no validation texts to time")
    }
}

/// Reads some validation texts, column by column.
fn texts(config: &Config, labels: &[String]) -> anyhow::Result<Vec<Vec<String>>> {
    let examples = load_split(config, SplitName::Validation, labels)?;
    let step = (examples.len() / TEXTS).max(1);
    let indices: Vec<usize> = (0..examples.len()).step_by(step).take(TEXTS).collect();
    let rows = examples.texts(&indices, config)?;
    let count = rows.first().map_or(0, Vec::len);
    let column = |column: usize| rows.iter().map(|row| row[column].clone()).collect();
    Ok((0..count).map(column).collect())
}
