//! A language model in double precision without any optimization.

use crate::backend::language_model::{DropoutMasks, DropoutRates, NegativeSampler};
use crate::backend::{LanguageModelBatch, LanguageModelSettings};
use crate::model::{LanguageModelSpec, NamedTensor};

/// Difference of a weight in central differences.
const STEP: f64 = 1e-4;

pub struct Naive {
    weights: Vec<Vec<f64>>,
    layers: usize,
    size: usize,
    units: usize,
    settings: LanguageModelSettings,
    negatives: NegativeSampler,
    /// Hidden and cell state, [directions][rows][layers][2][H].
    states: Vec<Vec<Vec<[Vec<f64>; 2]>>>,
}

impl Naive {
    pub fn new(
        spec: &LanguageModelSpec,
        settings: &LanguageModelSettings,
        weights: &[NamedTensor],
    ) -> Self {
        let double = |tensor: &NamedTensor| tensor.values.iter().map(|v| f64::from(*v)).collect();
        let (layers, units) = (spec.layers(), spec.input.lstm.units);
        let zero = [vec![0.0; units], vec![0.0; units]];
        let rows = vec![vec![zero; layers]; settings.rows];
        Self {
            weights: weights.iter().map(double).collect(),
            layers,
            size: spec.input.embedding.size,
            units,
            settings: settings.clone(),
            negatives: NegativeSampler::new(&settings.counts, settings.negatives, settings.seed)
                .unwrap(),
            states: vec![rows; spec.input.lstm.directions()],
        }
    }

    /// Index of the first weight of a direction.
    fn first(&self, direction: usize) -> usize {
        1 + direction * (4 * self.layers + 3)
    }

    /// Advances the states of a row by a word, with dropout.
    fn advance(
        &self,
        [direction, row]: [usize; 2],
        word: u32,
        states: &mut [[Vec<f64>; 2]],
        masks: &DropoutMasks,
    ) {
        let mut inputs = self.weights[0][word as usize * self.size..][..self.size].to_vec();
        inputs.iter_mut().for_each(|value| *value *= f64::from(masks.word(word)));
        for (layer, [hidden, cell]) in states.iter_mut().enumerate() {
            let first = self.first(direction) + 4 * layer;
            let [ih, hh, bias] = [0, 1, 2].map(|n| &self.weights[first + n]);
            let mut mask = vec![0.0; inputs.len()];
            masks.inputs(direction, layer, row, &mut mask);
            multiply(&mut inputs, &mask);
            let mut hh = hh.clone();
            let mut mask = vec![0.0; self.units];
            for (row, weights) in hh.chunks_exact_mut(self.units).enumerate() {
                masks.weights(direction, layer, row, &mut mask);
                multiply(weights, &mask);
            }
            let dot = |weights: &[f64], row: usize, values: &[f64]| -> f64 {
                let row = &weights[row * values.len()..][..values.len()];
                row.iter().zip(values).map(|(a, b)| a * b).sum()
            };
            let before = hidden.clone();
            let z = |gate: usize, unit: usize| {
                let row = gate * self.units + unit;
                dot(ih, row, &inputs) + dot(&hh, row, &before) + bias[row]
            };
            let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
            for unit in 0..self.units {
                cell[unit] =
                    sigmoid(z(1, unit)) * cell[unit] + sigmoid(z(0, unit)) * z(2, unit).tanh();
                hidden[unit] = sigmoid(z(3, unit)) * cell[unit].tanh();
            }
            inputs.clone_from(hidden);
        }
    }

    /// Returns the logit of a word after a hidden state.
    fn logit(&self, direction: usize, hidden: &[f64], word: u32) -> f64 {
        let first = self.first(direction) + 4 * self.layers;
        let [projection, projection_bias, output_bias] =
            [0, 1, 2].map(|n| &self.weights[first + n]);
        let mut logit = 0.0;
        for index in 0..self.size {
            let row = &projection[index * self.units..][..self.units];
            let query: f64 = row.iter().zip(hidden).map(|(a, b)| a * b).sum();
            let vector = self.weights[0][word as usize * self.size + index];
            logit += (query + projection_bias[index]) * vector;
        }
        logit / (self.size as f64).sqrt() + output_bias[word as usize]
    }

    /// Calls `visit` with row, step, the hidden state of the top layer and the target of every token. Returns the
    /// final states.
    fn run(
        &self,
        direction: usize,
        batch: &LanguageModelBatch,
        masks: &DropoutMasks,
        mut visit: impl FnMut(usize, usize, &[f64], u32),
    ) -> Vec<Vec<[Vec<f64>; 2]>> {
        let mut states = self.states[direction].clone();
        for (row, ids) in batch.ids[direction].chunks(batch.steps() + 1).enumerate() {
            for step in 0..batch.steps() {
                self.advance([direction, row], ids[step], &mut states[row], masks);
                visit(row, step, &states[row][self.layers - 1][0], ids[step + 1]);
            }
        }
        states
    }

    fn masks(&self, step_number: u64) -> DropoutMasks {
        DropoutMasks::new(self.settings.seed, step_number, &self.settings.dropout)
    }

    /// Returns masks that drop nothing.
    fn no_masks() -> DropoutMasks {
        DropoutMasks::new(0, 0, &DropoutRates::default())
    }

    /// Returns the mean loss of each direction.
    pub fn losses(&self, batch: &LanguageModelBatch, step_number: u64) -> Vec<f64> {
        let drawn = self.negatives.distinct(step_number);
        let masks = self.masks(step_number);
        let loss = |direction: usize| {
            let mut sum = 0.0;
            self.run(direction, batch, &masks, |row, step, hidden, target| {
                let mut hidden = hidden.to_vec();
                let mut mask = vec![0.0; self.units];
                masks.outputs(direction, row, step, &mut mask);
                multiply(&mut hidden, &mask);
                let logit = |word: u32| {
                    let inclusion = f64::from(self.negatives.log_inclusion(word));
                    self.logit(direction, &hidden, word) - inclusion
                };
                let own = logit(target);
                let others = drawn.iter().filter(|word| **word != target);
                let others: f64 = others.map(|word| (logit(*word) - own).exp()).sum();
                sum += (1.0 + others).ln();
            });
            sum / batch.tokens() as f64
        };
        (0..self.states.len()).map(loss).collect()
    }

    /// Returns the gradient of the sum of the losses by central differences, for some values of each weight; `None`
    /// for the others.
    pub fn gradients(
        &mut self,
        batch: &LanguageModelBatch,
        step_number: u64,
    ) -> Vec<Vec<Option<f64>>> {
        /// One of so many values is differentiated. It divides no dimension of a weight.
        const STRIDE: usize = 6;
        let mut gradients = Vec::new();
        for index in 0..self.weights.len() {
            let mut gradient = vec![None; self.weights[index].len()];
            let first = (index + step_number as usize) % STRIDE;
            for (place, gradient) in gradient.iter_mut().enumerate().skip(first).step_by(STRIDE) {
                let value = self.weights[index][place];
                let mut at = |difference: f64| -> f64 {
                    self.weights[index][place] = value + difference;
                    self.losses(batch, step_number).iter().sum()
                };
                *gradient = Some((at(STEP) - at(-STEP)) / (2.0 * STEP));
                self.weights[index][place] = value;
            }
            gradients.push(gradient);
        }
        gradients
    }

    /// Continues with the states after a batch of training.
    pub fn carry(&mut self, batch: &LanguageModelBatch, step_number: u64) {
        self.carry_with(batch, &self.masks(step_number));
    }

    /// Continues with the states after a batch that is scored.
    pub fn carry_scored(&mut self, batch: &LanguageModelBatch) {
        self.carry_with(batch, &Self::no_masks());
    }

    fn carry_with(&mut self, batch: &LanguageModelBatch, masks: &DropoutMasks) {
        let states = |direction| self.run(direction, batch, masks, |_, _, _, _| ());
        self.states = (0..self.states.len()).map(states).collect();
    }

    /// Returns the negative log-probabilities of each row.
    pub fn scores(&self, batch: &LanguageModelBatch) -> Vec<Vec<f64>> {
        let score = |direction: usize| {
            let mut scores = vec![0.0; batch.rows];
            let words = 0..self.settings.counts.len() as u32;
            self.run(direction, batch, &Self::no_masks(), |row, _, hidden, target| {
                let sum: f64 =
                    words.clone().map(|word| self.logit(direction, hidden, word).exp()).sum();
                scores[row] += sum.ln() - self.logit(direction, hidden, target);
            });
            scores
        };
        (0..self.states.len()).map(score).collect()
    }
}

fn multiply(values: &mut [f64], mask: &[f32]) {
    values.iter_mut().zip(mask).for_each(|(value, factor)| *value *= f64::from(*factor));
}
