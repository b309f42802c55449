//! Progress and measurements of the training of a language model.

use std::fmt;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::plausible::{MAX_COUNT, is_plausible_duration, is_plausible_step};
use super::progress::{advance, epoch_number};
use super::records::Record;

/// Perplexity of each direction, and the mean of their logarithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perplexity(pub Vec<f64>);

/// Each direction with its name, such as `forward 120.24  backward 119.11`.
impl fmt::Display for Perplexity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (index, (name, value)) in self.named().enumerate() {
            let space = if index == 0 { "" } else { "  " };
            write!(f, "{space}{name} {value:.2}")?;
        }
        Ok(())
    }
}

impl Perplexity {
    /// Computes the perplexities from the mean negative log-probabilities of the words in nats.
    pub fn of(losses: impl IntoIterator<Item = f64>) -> Self {
        Self(losses.into_iter().map(f64::exp).collect())
    }

    /// Mean over the directions of the mean negative log-probability of a word in nats.
    pub fn loss(&self) -> f64 {
        self.0.iter().map(|perplexity| perplexity.ln()).sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Returns the perplexity of each direction with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        ["forward", "backward"].into_iter().zip(self.0.iter().copied())
    }

    fn is_plausible(&self) -> bool {
        let Self(directions) = self;
        (1..=2).contains(&directions.len())
            && directions
                .iter()
                .all(|perplexity| perplexity.is_finite() && *perplexity >= 1.0 - 1e-6)
    }
}

/// Line of `metrics.jsonl`, written at each validation of a language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageModelRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Number of steps since the run started.
    pub step: u64,
    /// Number of tokens trained on since the run started.
    pub tokens: u64,
    /// Mean training loss of the steps since the last validation, in nats per token: that of the sampled softmax, with
    /// dropout.
    pub train_loss: f64,
    /// Perplexity of the held-out texts; `None` if no texts were held out.
    pub perplexity: Option<Perplexity>,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

impl Record for LanguageModelRecord {
    fn is_plausible(&self) -> bool {
        is_plausible_step(self.step)
            && (1..=self.step).contains(&(self.epoch as u64))
            && self.tokens <= MAX_COUNT
            && self.train_loss.is_finite()
            && self.learning_rate.is_finite()
            && self.perplexity.as_ref().is_none_or(Perplexity::is_plausible)
    }

    fn step(&self) -> u64 {
        self.step
    }
}

/// Best validation of a language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestPerplexity {
    /// Epoch of the validation, from 1.
    pub epoch: usize,
    /// Number of steps before it.
    pub step: u64,
    /// Perplexity of the held-out texts.
    pub perplexity: Perplexity,
}

/// Progress of the training of a language model between two steps: everything besides weights and optimizer state that
/// a resumed run needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LanguageModelProgress {
    /// Index of the current epoch, from 0.
    pub epoch: usize,
    /// Number of batches of this epoch that are done.
    pub batch: usize,
    /// Number of steps since the run started.
    pub step: u64,
    /// Number of tokens trained on since the run started.
    pub tokens: u64,
    /// Seconds of training since the run started, without validation and writing.
    pub seconds: f64,
    /// Value of `seconds` at the last validation.
    pub seconds_at_validation: f64,
    /// Sum of the training losses of the steps since the last validation.
    pub loss_sum: f64,
    /// Number of these steps.
    pub loss_steps: u64,
    /// Best validation so far; `None` if no texts were held out.
    pub best: Option<BestPerplexity>,
    /// Number of validations since the perplexity improved.
    pub waited: usize,
    /// Fingerprint of the encoded texts. `batch` is valid only for these.
    pub texts: u64,
    /// Number of rows and number of steps of a batch, for which `batch` is valid.
    pub batch_shape: (usize, usize),
    /// Program and vector instructions that computed the run, on which rounding depends.
    pub arithmetic: Option<String>,
}

impl LanguageModelProgress {
    /// Checks that a run can have these numbers.
    ///
    /// # Errors
    /// Returns an error that names an impossible one.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { epoch, batch, step, tokens, seconds, .. } = self;
        let is_best = |best: &BestPerplexity| best.perplexity.is_plausible() && best.step <= *step;
        for (name, is_possible) in [
            ("step", *step <= MAX_COUNT),
            // An epoch has at least one step.
            ("epoch", *epoch as u64 <= *step),
            ("batch", *batch as u64 <= step.saturating_sub(*epoch as u64)),
            ("tokens", *tokens <= MAX_COUNT),
            ("seconds", is_plausible_duration(*seconds)),
            ("seconds_at_validation", (0.0..=*seconds).contains(&self.seconds_at_validation)),
            ("loss_sum", self.loss_sum.is_finite()),
            ("loss_steps", self.loss_steps <= *step),
            ("best", self.best.as_ref().is_none_or(is_best)),
            ("waited", self.waited as u64 <= *step),
        ] {
            ensure!(is_possible, "{name} has an impossible value");
        }
        Ok(())
    }

    /// Advances by one step of an epoch of `batches` batches. Returns true at the end of the epoch.
    pub fn advance(&mut self, batches: usize) -> bool {
        advance(&mut self.epoch, &mut self.batch, &mut self.step, batches)
    }

    /// Epoch of the last step, from 1.
    pub fn epoch_number(&self) -> usize {
        epoch_number(self.epoch, self.batch)
    }

    /// Records a validation. Returns true if it is the best so far; without held-out texts, the latest one is.
    pub fn validated(&mut self, record: &LanguageModelRecord) -> bool {
        let is_best = match (&record.perplexity, &self.best) {
            (Some(perplexity), Some(best)) => perplexity.loss() < best.perplexity.loss(),
            _ => true,
        };
        if is_best {
            self.best = record.perplexity.as_ref().map(|perplexity| BestPerplexity {
                epoch: record.epoch,
                step: record.step,
                perplexity: perplexity.clone(),
            });
        }
        self.waited = if is_best { 0 } else { self.waited + 1 };
        (self.loss_sum, self.loss_steps) = (0.0, 0);
        self.seconds_at_validation = self.seconds;
        is_best
    }
}

/// Result of a finished training of a language model, in `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageModelSummary {
    /// Number of trainable parameters.
    pub parameters: usize,
    /// Number of epochs.
    pub epochs: usize,
    /// Number of tokens trained on.
    pub tokens: u64,
    /// Seconds of training, without validation and writing.
    pub seconds: f64,
    /// Number of tokens trained on per second, of one direction.
    pub tokens_per_second: f64,
    /// Best validation, whose weights are in `best/`; null if no texts were held out.
    pub best: Option<BestPerplexity>,
    /// Number of predicted tokens of the held-out texts in each direction.
    pub held_out_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, perplexity: Option<f64>) -> LanguageModelRecord {
        LanguageModelRecord {
            epoch: 1,
            step,
            tokens: 9,
            train_loss: 4.5,
            perplexity: perplexity.map(|perplexity| Perplexity(vec![perplexity, 100.0])),
            learning_rate: 0.1,
        }
    }

    #[test]
    fn the_lowest_perplexity_is_the_best() {
        let mut progress = LanguageModelProgress { step: 9, ..Default::default() };
        let values = [90.0, 95.0, 80.0, 80.0];
        let best: Vec<bool> = (1..)
            .zip(values)
            .map(|(step, value)| progress.validated(&record(step, Some(value))))
            .collect();
        assert_eq!(best, [true, false, true, false]);
        assert_eq!((progress.waited, progress.best.as_ref().unwrap().step), (1, 3));
        progress.check().unwrap();
        let json = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<LanguageModelProgress>(&json).unwrap(), progress);
    }

    #[test]
    fn without_held_out_texts_the_latest_is_the_best() {
        let mut progress = LanguageModelProgress { step: 9, ..Default::default() };
        assert!(progress.validated(&record(1, None)) && progress.validated(&record(2, None)));
        assert_eq!(progress.best, None);
    }

    #[test]
    fn perplexities_are_averaged_by_their_logarithms() {
        let perplexity = Perplexity::of([2.0, 4.0]);
        assert!((perplexity.loss() - 3.0).abs() < 1e-12);
        assert!((perplexity.0[0] - 2_f64.exp()).abs() < 1e-12);
    }

    #[test]
    fn impossible_numbers_are_rejected() {
        for (name, damage) in [
            ("epoch", LanguageModelProgress { epoch: 1, ..Default::default() }),
            ("seconds", LanguageModelProgress { seconds: f64::NAN, ..Default::default() }),
            ("waited", LanguageModelProgress { waited: 1, ..Default::default() }),
        ] {
            let error = damage.check().unwrap_err().to_string();
            assert_eq!(error, format!("{name} has an impossible value"));
        }
    }
}
