//! Scales of the two branches of a model, the LSTMs and the n-grams, in its logits.

use serde::{Deserialize, Serialize};

use super::named_tensors::NamedTensor;

/// Factors of the logits of the two branches. They are powers of two, which change no digit of a weight: the
/// inverse scales restore its bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchScales {
    /// Factor of the logits that the LSTMs contribute, from 1/64 to 4.
    pub lstm: f64,
    /// Factor of the logits of the n-grams and of the bias of the head, from 1/4 to 8.
    pub ngrams: f64,
}

impl Default for BranchScales {
    fn default() -> Self {
        Self { lstm: 1.0, ngrams: 1.0 }
    }
}

impl BranchScales {
    /// Returns true if a validation can choose these scales.
    pub fn is_possible(self) -> bool {
        let is_power = |scale: f64| scale > 0.0 && scale.log2().fract() == 0.0;
        let Self { lstm, ngrams } = self;
        (1.0 / 64.0..=4.0).contains(&lstm)
            && (0.25..=8.0).contains(&ngrams)
            && is_power(lstm)
            && is_power(ngrams)
    }

    /// Returns the possible scales of which one or both are a step larger or smaller.
    pub fn neighbors(self) -> impl Iterator<Item = Self> {
        const STEPS: [f64; 3] = [0.5, 1.0, 2.0];
        let all = STEPS.into_iter().flat_map(move |lstm| {
            STEPS.map(|ngrams| Self { lstm: lstm * self.lstm, ngrams: ngrams * self.ngrams })
        });
        all.filter(move |scales| *scales != self && scales.is_possible())
    }

    /// Returns the scales that undo these.
    pub fn inverse(self) -> Self {
        Self { lstm: self.lstm.recip(), ngrams: self.ngrams.recip() }
    }

    /// Multiplies the weights that contribute to the logits.
    pub fn apply(self, weights: &mut [NamedTensor]) {
        for tensor in weights {
            if let Some(factor) = self.factor(&tensor.name).filter(|factor| *factor != 1.0) {
                tensor.values.iter_mut().for_each(|value| *value *= factor as f32);
            }
        }
    }

    /// Returns the factor of the weight with this name; `None` if it never has one.
    pub fn factor(self, name: &str) -> Option<f64> {
        match name {
            "head.weight" => Some(self.lstm),
            "head.bias" | "ngrams.weight" => Some(self.ngrams),
            _ if name.ends_with(".ngrams.weight") => Some(self.ngrams),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_scaled_by_branch_and_restored_to_the_bit() {
        let tensor = |name: &str| NamedTensor {
            name: name.to_owned(),
            shape: vec![1, 3],
            values: vec![0.1, -3.7e-9, 12345.67],
        };
        let names =
            ["lstm.weight_ih_l0", "head.weight", "head.bias", "a.ngrams.weight", "ngrams.value"];
        let weights: Vec<NamedTensor> = names.map(tensor).into();
        let scales = BranchScales { lstm: 1.0 / 64.0, ngrams: 8.0 };
        let mut scaled = weights.clone();
        scales.apply(&mut scaled);
        let factors: Vec<f32> =
            scaled.iter().zip(&weights).map(|(a, b)| a.values[2] / b.values[2]).collect();
        assert_eq!(factors, [1.0, 1.0 / 64.0, 8.0, 8.0, 1.0]);
        scales.inverse().apply(&mut scaled);
        assert_eq!(scaled, weights);
    }

    #[test]
    fn neighbors_are_a_step_away_and_possible() {
        let neighbors = |lstm, ngrams| BranchScales { lstm, ngrams }.neighbors().count();
        assert_eq!(neighbors(1.0, 1.0), 8);
        assert_eq!(neighbors(4.0, 8.0), 3);
        assert_eq!(neighbors(1.0 / 64.0, 1.0), 5);
        for (lstm, ngrams) in [(0.0, 1.0), (0.3, 1.0), (8.0, 1.0), (1.0, f64::NAN), (1.0, 16.0)] {
            assert!(!BranchScales { lstm, ngrams }.is_possible(), "{lstm} {ngrams}");
        }
    }
}
