//! Dropout of language models in training, that of AWD-LSTM (Merity, Keskar and Socher 2018). Where masks are applied
//! belongs to the backends.

use anyhow::ensure;

use crate::random::{absorb, mix, named_seed};

/// Dropout rates of a language model in training; all 0 by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DropoutRates {
    /// Words that are removed from the inputs of a step, in all places and directions.
    pub embedding: f64,
    /// Inputs of the lowest layer, the same in all time steps of a row.
    pub input: f64,
    /// Inputs of the layers above it, the same in all time steps of a row.
    pub hidden: f64,
    /// Recurrent weights, the same for all rows and time steps (DropConnect, Wan et al. 2013).
    pub weight: f64,
    /// Hidden states before the projection, different for each token.
    pub output: f64,
}

impl DropoutRates {
    /// Checks that all rates are in [0, 1).
    ///
    /// # Errors
    /// Returns an error if one of them is not.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { embedding, input, hidden, weight, output } = *self;
        for rate in [embedding, input, hidden, weight, output] {
            ensure!((0.0..1.0).contains(&rate), "the dropout rate must be in [0, 1), not {rate}");
        }
        Ok(())
    }
}

/// Dropout masks of one step, pure functions of the seed, the step and a position.
///
/// A mask has the factors of some values: 0 with the probability of its rate, and otherwise 1/(1 − rate). Rates are
/// rounded to multiples of 1/65536.
#[derive(Clone, Copy, Debug)]
pub struct DropoutMasks {
    embedding: Mask,
    input: Mask,
    hidden: Mask,
    weight: Mask,
    output: Mask,
}

impl DropoutMasks {
    /// Returns the masks of a step of training with this seed.
    pub fn new(seed: u64, step: u64, rates: &DropoutRates) -> Self {
        let mask = |name, rate| Mask::new(absorb(named_seed(seed, name), [step]), rate);
        Self {
            embedding: mask("embedding dropout", rates.embedding),
            input: mask("input dropout", rates.input),
            hidden: mask("hidden dropout", rates.hidden),
            weight: mask("weight dropout", rates.weight),
            output: mask("dropout", rates.output),
        }
    }

    /// Returns true if words may be removed from the inputs.
    pub fn drops_words(&self) -> bool {
        self.embedding.is_on()
    }

    /// Returns true if inputs of this layer may be dropped.
    pub fn drops_inputs(&self, layer: usize) -> bool {
        self.of_inputs(layer).is_on()
    }

    /// Returns true if recurrent weights may be dropped.
    pub fn drops_weights(&self) -> bool {
        self.weight.is_on()
    }

    /// Returns true if hidden states may be dropped before the projection.
    pub fn drops_outputs(&self) -> bool {
        self.output.is_on()
    }

    /// Returns the factor of the vector of a word as an input.
    pub fn word(&self, word: u32) -> f32 {
        let mut factor = [1.0];
        self.embedding.fill([u64::from(word)], &mut factor);
        factor[0]
    }

    /// Computes the factors of the inputs of a layer in a row of the batch, `[inputs]`.
    pub fn inputs(&self, direction: usize, layer: usize, row: usize, mask: &mut [f32]) {
        let position = [direction, layer, row].map(|number| number as u64);
        self.of_inputs(layer).fill(position, mask);
    }

    /// Computes the factors of a row of the recurrent weights of a layer, `[H]`, one of 4H.
    pub fn weights(&self, direction: usize, layer: usize, row: usize, mask: &mut [f32]) {
        self.weight.fill([direction, layer, row].map(|number| number as u64), mask);
    }

    /// Computes the factors of the hidden state of the top layer at a row of the batch and a step of the row, `[H]`.
    pub fn outputs(&self, direction: usize, row: usize, step: usize, mask: &mut [f32]) {
        self.output.fill([direction, row, step].map(|number| number as u64), mask);
    }

    /// Returns the factor of the hidden states that [`DropoutMasks::outputs`] keeps.
    pub fn output_factor(&self) -> f32 {
        self.output.kept()
    }

    fn of_inputs(&self, layer: usize) -> &Mask {
        if layer == 0 { &self.input } else { &self.hidden }
    }
}

/// Number of bits of a random number that decide about a value.
const BITS: u32 = 16;

/// Masks of one rate.
#[derive(Clone, Copy, Debug)]
struct Mask {
    seed: u64,
    /// A value is dropped if its 16 random bits are below this number.
    threshold: u64,
}

impl Mask {
    fn new(seed: u64, rate: f64) -> Self {
        let most = f64::from((1_u32 << BITS) - 1);
        Self { seed, threshold: (rate * f64::from(1_u32 << BITS)).round().clamp(0.0, most) as u64 }
    }

    fn is_on(&self) -> bool {
        self.threshold > 0
    }

    /// Returns 1/(1 − rate).
    fn kept(&self) -> f32 {
        (1_u64 << BITS) as f32 / ((1 << BITS) - self.threshold) as f32
    }

    /// Writes 0 or 1/(1 − rate) for each value of a position.
    fn fill(&self, position: impl IntoIterator<Item = u64>, mask: &mut [f32]) {
        const MASK: u64 = (1 << BITS) - 1;
        let kept = self.kept();
        let seed = absorb(self.seed, position);
        for (group, values) in (0..).zip(mask.chunks_mut((u64::BITS / BITS) as usize)) {
            let mut random = mix(seed ^ group);
            for value in values {
                *value = if random & MASK < self.threshold { 0.0 } else { kept };
                random >>= BITS;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: DropoutRates =
        DropoutRates { embedding: 0.1, input: 0.2, hidden: 0.4, weight: 0.5, output: 0.3 };

    /// Returns a mask of many values.
    fn filled(fill: impl Fn(&mut [f32])) -> Vec<f32> {
        let mut mask = vec![0.0; 10_001];
        fill(&mut mask);
        mask
    }

    #[test]
    fn masks_keep_the_mean_and_drop_at_their_rates() {
        let masks = DropoutMasks::new(1, 2, &RATES);
        let words: Vec<f32> = (0..10_001).map(|word| masks.word(word)).collect();
        for (mask, rate) in [
            (words, RATES.embedding),
            (filled(|mask| masks.inputs(0, 0, 3, mask)), RATES.input),
            (filled(|mask| masks.inputs(0, 1, 3, mask)), RATES.hidden),
            (filled(|mask| masks.weights(0, 1, 3, mask)), RATES.weight),
            (filled(|mask| masks.outputs(0, 3, 4, mask)), RATES.output),
        ] {
            let count = mask.len() as f64;
            let mean = f64::from(mask.iter().sum::<f32>()) / count;
            assert!((mean - 1.0).abs() < 0.03, "{rate}: {mean}");
            let dropped = mask.iter().filter(|value| **value == 0.0).count() as f64 / count;
            assert!((dropped - rate).abs() < 0.02, "{rate}: {dropped}");
        }
    }

    #[test]
    fn masks_are_functions_of_seed_step_and_position() {
        let masks = DropoutMasks::new(1, 2, &RATES);
        let outputs = |masks: &DropoutMasks, direction, row, step| {
            filled(|mask| masks.outputs(direction, row, step, mask))
        };
        let first = outputs(&masks, 0, 3, 4);
        assert_eq!(first, outputs(&DropoutMasks::new(1, 2, &RATES), 0, 3, 4));
        let others = [
            outputs(&masks, 1, 3, 4),
            outputs(&masks, 0, 4, 4),
            outputs(&masks, 0, 3, 5),
            outputs(&DropoutMasks::new(1, 3, &RATES), 0, 3, 4),
            outputs(&DropoutMasks::new(2, 2, &RATES), 0, 3, 4),
        ];
        assert!(others.iter().all(|other| *other != first));
        let weights = |layer, row| filled(|mask| masks.weights(0, layer, row, mask));
        assert_ne!(weights(0, 3), weights(1, 3));
        assert_ne!(weights(0, 3), weights(0, 4));
    }

    #[test]
    fn rates_of_zero_are_off() {
        let masks = DropoutMasks::new(1, 2, &DropoutRates::default());
        let is_on = [
            masks.drops_words(),
            masks.drops_weights(),
            masks.drops_outputs(),
            masks.drops_inputs(0),
        ];
        assert!(!is_on.contains(&true) && !masks.drops_inputs(1));
        let masks = DropoutMasks::new(1, 2, &DropoutRates { hidden: 0.1, ..Default::default() });
        assert!(!masks.drops_inputs(0) && masks.drops_inputs(1));
    }

    #[test]
    fn rates_are_below_one() {
        assert!(RATES.check().is_ok());
        assert!(DropoutRates { weight: 1.0, ..RATES }.check().is_err());
        assert!(DropoutRates { embedding: -0.1, ..RATES }.check().is_err());
    }
}
