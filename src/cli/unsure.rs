//! Arguments of the reject option.

use clap::Args;

use crate::config::ConfigError;
use crate::prediction::{Classifier, RejectOption};

/// `--unsure` and `--min-probability`.
#[derive(Debug, Args)]
pub struct UnsureArgs {
    /// Label of predictions that are too uncertain; needs --min-probability
    #[arg(long, value_name = "LABEL", requires = "min_probability")]
    unsure: Option<String>,
    /// Probability that the most probable class of a text needs, so that --unsure does not replace its prediction
    #[arg(long, value_name = "P", requires = "unsure", value_parser = probability)]
    min_probability: Option<f64>,
}

impl UnsureArgs {
    /// Returns the classifier with the reject option, if there is one.
    ///
    /// # Errors
    /// Returns an error if the label is that of a class.
    pub fn apply(&self, classifier: Classifier) -> anyhow::Result<Classifier> {
        let (Some(label), Some(min_probability)) = (&self.unsure, self.min_probability) else {
            return Ok(classifier);
        };
        let reject = RejectOption { label: label.clone(), min_probability };
        let rejecting = classifier.with_reject_option(reject);
        rejecting.map_err(|error| ConfigError::new(format!("--unsure: {error}")).into())
    }
}

/// Parses a probability.
pub fn probability(text: &str) -> Result<f64, String> {
    let probability = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    probability.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}
