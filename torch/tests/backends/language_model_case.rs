//! Small language models, and batches for them.

use lstmtext::backend::language_model::DropoutRates;
use lstmtext::backend::{
    LanguageModelBatch, LanguageModelLearner, LanguageModelSettings, LanguageModelStats,
};
use lstmtext::config::{self, Config};
use lstmtext::distributed::Group;
use lstmtext::model::{LanguageModelSpec, NamedTensor};

/// Vocabulary size of most cases.
const VOCABULARY: usize = 50;

/// Every number of layers and directions.
pub const KINDS: [&str; 3] = [
    "bidirectional: false, layers: 1",
    "bidirectional: false, layers: 2",
    "bidirectional: true, layers: 1",
];

/// Dropout everywhere.
pub const ALL: DropoutRates =
    DropoutRates { embedding: 0.2, input: 0.2, hidden: 0.3, weight: 0.3, output: 0.3 };

/// A language model and its settings.
pub struct LanguageModelCase {
    pub config: Config,
    pub settings: LanguageModelSettings,
}

impl LanguageModelCase {
    /// Creates a case with odd sizes, these fields of the LSTM, and these of the configuration.
    pub fn new(lstm: &str, fields: &str) -> Self {
        let yaml = format!(
            "data: {{train: x}}\n{fields}model: {{embedding: {{size: 5}}, lstm: {{units: 7, {lstm}}}}}\n"
        );
        let config = config::parse_recorded(&yaml, "test", &[]).unwrap().config;
        let settings = LanguageModelSettings {
            rows: 3,
            negatives: 13,
            // Some ids have no count, as the special ones.
            counts: (0..VOCABULARY as u64).map(|id| if id < 4 { 0 } else { 200 / id }).collect(),
            dropout: DropoutRates::default(),
            gradient_clip: None,
            shards: 2,
            seed: 5,
            precision: config.precision,
        };
        Self { config, settings }
    }

    pub fn spec(&self) -> LanguageModelSpec<'_> {
        let vocabulary_size = self.settings.counts.len();
        LanguageModelSpec { input: &self.config.inputs[0], vocabulary_size }
    }

    /// Returns initial weights with nonzero biases.
    pub fn weights(&self) -> Vec<NamedTensor> {
        let mut weights = self.spec().initial_weights(1);
        let is_bias =
            |tensor: &&mut NamedTensor| tensor.name.contains("bias") && !tensor.name.contains("hh");
        for tensor in weights.iter_mut().filter(is_bias) {
            for (index, value) in tensor.values.iter_mut().enumerate() {
                *value += 0.3 * (index as f32 * 1.7).sin();
            }
        }
        weights
    }

    /// Returns batches of consecutive tokens: few different ones, so that words repeat and negatives are targets.
    pub fn batches(&self, count: usize, steps: usize) -> Vec<LanguageModelBatch> {
        let (rows, directions) = (self.settings.rows, self.config.inputs[0].lstm.directions());
        let id = |direction: usize, row: usize, token: usize| {
            1 + ((direction * 5 + row * 7 + token * token * 3 + token / 3) % 11) as u32
        };
        let batch = |batch: usize| {
            let ids = |direction| {
                let tokens = |row| (0..=steps).map(move |step| (row, batch * steps + step));
                let tokens = (0..rows).flat_map(tokens);
                tokens.map(|(row, token)| id(direction, row, token)).collect()
            };
            LanguageModelBatch { ids: (0..directions).map(ids).collect(), rows }
        };
        (0..count).map(batch).collect()
    }
}

/// Trains on some batches, from the step with this number on.
pub fn train(
    learner: &mut dyn LanguageModelLearner,
    batches: &[LanguageModelBatch],
    first: u64,
) -> Vec<LanguageModelStats> {
    let steps = (first..).zip(batches);
    steps.map(|(step, batch)| learner.step(batch, step, 0.003, Group::ALONE).unwrap()).collect()
}
