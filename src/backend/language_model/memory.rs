//! An estimate of the memory that the training of a language model takes on a CPU, before it is created.

use super::LanguageModelSettings;
use crate::model::LanguageModelSpec;
use crate::model::parameters::Role;
use crate::system::memory;

/// Bytes of a number.
const FLOAT: f64 = 4.0;
/// Number of values that the layers keep for each token and unit: four gates, hidden and cell state, and gradients of
/// states and inputs.
const VALUES_OF_UNIT: f64 = 9.0;

/// Checks that the memory for training is available. `steps` is the number of tokens of a row per step.
///
/// # Errors
/// Returns an error with the settings to lower if it is not.
pub fn check_memory(
    spec: &LanguageModelSpec,
    settings: &LanguageModelSettings,
    steps: usize,
) -> anyhow::Result<()> {
    let bytes = (FLOAT * floats(spec, settings, steps)) as u64;
    let advice = "lower text.vocabulary_size, model.embedding.size, model.lstm.units, \
                  pretrain.language_model.batch_size or sequence_length";
    memory::check(bytes, "training this language model", advice)
}

/// Number of values in memory at once.
fn floats(spec: &LanguageModelSpec, settings: &LanguageModelSettings, steps: usize) -> f64 {
    let (mut all, mut dense) = (0.0, 0.0);
    for parameter in spec.parameters() {
        let count = parameter.shape.iter().map(|length| *length as f64).product::<f64>();
        all += count;
        let is_dense = matches!(parameter.role, Role::InputWeight | Role::RecurrentWeight)
            || parameter.shape.len() > 1 && parameter.role == Role::HeadWeight;
        dense += if is_dense { count } else { 0.0 };
    }
    let directions = spec.input.lstm.directions() as f64;
    let (size, units) = (spec.input.embedding.size as f64, spec.input.lstm.units as f64);
    let shards = settings.shards as f64;
    let tokens = (settings.rows * steps) as f64;
    // At most one of them per token, and rarely more than a third.
    let words = tokens.min(spec.vocabulary_size as f64);
    // Weights, their layout of the kernel, and the two moments of Adam.
    let model = 3.0 * all + 2.0 * dense;
    let of_layers = directions * tokens * VALUES_OF_UNIT * units * spec.layers() as f64;
    // Each direction projects its words, once more for gradients, and has gradients of vectors.
    let of_words = directions * words * (8.0 * units + 3.0 * size);
    let of_negatives = directions * shards * settings.negatives as f64 * size;
    let gradients = (shards + 1.0) * dense + words * size;
    // Weights and state are copied while a checkpoint is written.
    model + of_layers + of_words + of_negatives + gradients + 3.0 * all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::language_model::DropoutRates;
    use crate::config::{Precision, parse_plain};

    #[test]
    fn the_estimate_grows_with_what_is_large() {
        let bytes = |units: usize, vocabulary_size: usize, rows: usize| {
            let yaml = format!(
                "data: {{train: x}}\nmodel: {{embedding: {{size: 100}}, lstm: {{units: {units}}}}}\n"
            );
            let config = parse_plain(&yaml).config;
            let spec = LanguageModelSpec { input: &config.inputs[0], vocabulary_size };
            let settings = LanguageModelSettings {
                rows,
                negatives: 1_000,
                counts: Vec::new(),
                dropout: DropoutRates::default(),
                gradient_clip: None,
                shards: 2,
                seed: 1,
                precision: Precision::Fp32,
            };
            FLOAT * floats(&spec, &settings, 64)
        };
        let usual = bytes(256, 30_000, 64);
        assert!((1e8..6e8).contains(&usual), "{usual}");
        // Weights, state, gradients and copies of the recurrent layers.
        assert!(bytes(4_096, 30_000, 64) > 10.0 * usual);
        assert!(bytes(256, 10_000_000, 64) > 6.0 * 4.0 * 100.0 * 1e7);
        assert!(bytes(256, 30_000, 64_000) > 100.0 * usual);
    }
}
