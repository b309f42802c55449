//! Limits of the size and the latency of models.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::journal::RungResult;
use crate::config::{Config, Input};
use crate::output::format::format_bytes;

/// Files of a checkpoint that only training needs, and the list of files, whose size depends on theirs.
const FOR_TRAINING: [&str; 4] =
    ["checkpoint.json", "optimizer.safetensors", "progress.json", "raw.safetensors"];
/// Bytes of a value in single precision.
const BYTES: u64 = 4;

/// Limits of the models that a search may choose.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Maximum size of the files that predictions need.
    pub bytes: Option<u64>,
    /// Maximum time in which a model classifies one text.
    pub latency: Option<Duration>,
    /// Number of different words of each input in the training examples; empty if it is not known.
    pub words: Vec<usize>,
}

impl Limits {
    /// Returns false if a model of this configuration is too large, whatever its n-grams are.
    pub fn can_hold(&self, config: &Config) -> bool {
        let inputs = config.inputs.iter().enumerate();
        let least = inputs.map(|(index, input)| {
            let words = self.words.get(index).copied().unwrap_or(0).min(input.text.vocabulary_size);
            least_values(input, words)
        });
        let least: u64 = least.sum();
        self.bytes.is_none_or(|bytes| BYTES * least <= bytes)
    }

    /// Returns which limit a trial violates.
    pub fn violation(&self, reached: &RungResult) -> Option<String> {
        if let Some(bytes) = self.bytes.filter(|bytes| reached.bytes > *bytes) {
            let (size, limit) = (format_bytes(reached.bytes), format_bytes(bytes));
            return Some(format!("the model takes {size}, more than --max-size {limit}"));
        }
        let limit = self.latency?;
        let latency = reached.latency.filter(|latency| *latency > limit.as_secs_f64())?;
        let microseconds = |seconds: f64| format!("{:.0} µs", (1e6 * seconds).ceil());
        Some(format!(
            "a text takes {}, more than --max-latency {}",
            microseconds(latency),
            microseconds(limit.as_secs_f64())
        ))
    }
}

/// Number of values of the embedding and the LSTMs of an input.
fn least_values(input: &Input, words: usize) -> u64 {
    if !input.has_lstm() {
        return 0;
    }
    let (size, units) = (input.embedding.size as u64, input.lstm.units as u64);
    let directions = input.lstm.directions() as u64;
    let cells = (0..input.lstm.layers).map(|layer| {
        let inputs = if layer == 0 { size } else { directions * units };
        directions * 4 * units * (inputs + units + 1)
    });
    words as u64 * size + cells.sum::<u64>()
}

/// Size of the files of a checkpoint that predictions need.
pub fn prediction_bytes(checkpoint: &Path) -> anyhow::Result<u64> {
    let unreadable = || format!("cannot read \"{}\"", checkpoint.display());
    let mut bytes = 0;
    for entry in checkpoint.read_dir().with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name();
        if !FOR_TRAINING.iter().any(|other| name == *other) {
            bytes += entry.metadata().with_context(unreadable)?.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::objective::metrics::Score;

    #[test]
    fn the_least_size_is_that_of_the_words_and_the_lstm() {
        let yaml =
            "data: {train: x}\nmodel: {embedding: {size: 10}, lstm: {units: 3, layers: 2}}\n";
        let config = config::parse(yaml, "test", &[]).unwrap().config;
        // PyTorch has two biases for each gate, whose sum this program stores.
        let values = 7 * 10 + 2 * 12 * (10 + 3 + 1) + 2 * 12 * (6 + 3 + 1);
        let limits = |bytes| Limits { bytes: Some(bytes), words: vec![7], ..Limits::default() };
        assert!(limits(4 * values).can_hold(&config));
        assert!(!limits(4 * values - 1).can_hold(&config));
        assert!(Limits::default().can_hold(&config));
    }

    #[test]
    fn a_violated_limit_is_named() {
        let reached = RungResult {
            rung: 0,
            epochs: 1,
            best_epoch: 1,
            score: Score::new(0.5, 0.5),
            is_finished: false,
            seconds: 1.0,
            bytes: 5_000,
            latency: Some(0.002),
        };
        let violation = |bytes, latency| {
            let latency = Some(Duration::from_millis(latency));
            Limits { bytes: Some(bytes), latency, words: Vec::new() }.violation(&reached)
        };
        assert_eq!(violation(5_000, 2), None);
        assert!(violation(4_999, 2).unwrap().contains("--max-size"));
        assert!(violation(5_000, 1).unwrap().contains("2000 µs, more than --max-latency 1000 µs"));
    }
}
