//! The arithmetic and the state of weight averaging, which both backends share.
//!
//! In each step, the average follows its weight with a decay d: average ← d · average + (1 − d) · weight.
//! Most rows of an embedding rest in most steps. So that nothing has to be computed for them, a backend
//! keeps, for each weight, the deviation of its average, divided by a scale that all weights share:
//!
//! average = weight + scale · deviation
//!
//! If a step changes the weight by Δ, average − weight becomes d · (average − weight − Δ), hence
//!
//! deviation ← deviation − Δ / scale, scale ← d · scale
//!
//! The deviation of a weight that rests stays as it is. Averages therefore have the same bits whether or
//! not a step passes over weights that rest, and whenever averages are computed.

use anyhow::{bail, ensure};

use crate::config::{AverageConfig, AverageMethod};
use crate::model::NamedTensor;
use crate::model::named_tensors::indices;

/// Scale below which it is raised again by its reciprocal. A power of two, so that deviations change
/// exactly; small enough that this is rare, and large enough that no deviation overflows.
const MIN_SCALE: f32 = 1.0 / (1_u64 << 32) as f32;

/// Maximum number of steps that are counted: larger ones are not exact in single precision.
const MAX_STEPS: u32 = 1 << 24;

/// Prefix of the names of the state tensors.
const PREFIX: &str = "average.";
const SCALE: &str = "average.scale";
const STEPS: &str = "average.steps";

/// Decay and scale of the averages of all weights.
#[derive(Clone, Debug)]
pub struct Averaging {
    method: AverageMethod,
    decay: f64,
    has_started: bool,
    /// Number of steps that the averages include.
    steps: u32,
    scale: f32,
}

impl Averaging {
    /// Creates the configured averaging, which has not started. Returns `None` if weights are not averaged.
    pub fn new(config: &AverageConfig) -> Option<Self> {
        let AverageConfig { method, decay, .. } = *config;
        let new = Self { method, decay, has_started: false, steps: 0, scale: 1.0 };
        (method != AverageMethod::None).then_some(new)
    }

    /// Includes all steps from now on.
    pub fn start(&mut self) {
        self.has_started = true;
    }

    /// Returns true if averages include the next step.
    pub fn has_started(&self) -> bool {
        self.has_started
    }

    /// Factor of deviations in averages.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Factor of the change of a weight by which its deviation decreases in the current step.
    pub fn change_factor(&self) -> f32 {
        1.0 / self.scale
    }

    /// Completes a step in which the deviations have followed the changes of their weights. Returns the
    /// factor by which all deviations are to be multiplied now, if there is one.
    #[must_use = "the deviations must be rescaled"]
    pub fn advance(&mut self) -> Option<f32> {
        if !self.has_started {
            return None;
        }
        self.steps = (self.steps + 1).min(MAX_STEPS);
        let steps = f64::from(self.steps);
        let decay = match self.method {
            AverageMethod::Swa => (steps - 1.0) / steps,
            AverageMethod::None | AverageMethod::Ema => {
                self.decay.min((1.0 + steps) / (10.0 + steps))
            }
        };
        let scale = (f64::from(self.scale) * decay) as f32;
        let (scale, factor) = match scale {
            // The averages are the weights.
            scale if scale < f32::MIN_POSITIVE => (1.0, Some(0.0)),
            scale if scale < MIN_SCALE => (scale / MIN_SCALE, Some(MIN_SCALE)),
            scale => (scale, None),
        };
        self.scale = scale;
        factor
    }

    /// Returns the state under names such as `average.embedding.weight`, from the deviations under the
    /// names of their weights. Empty before averages include a step.
    pub fn state(&self, deviations: impl IntoIterator<Item = NamedTensor>) -> Vec<NamedTensor> {
        if self.steps == 0 {
            return Vec::new();
        }
        let number = |name: &str, value| NamedTensor {
            name: name.to_owned(),
            shape: Vec::new(),
            values: vec![value],
        };
        let renamed = deviations.into_iter().map(|tensor| {
            let name = format!("{PREFIX}{}", tensor.name);
            NamedTensor { name, ..tensor }
        });
        let format = [number(SCALE, self.scale), number(STEPS, self.steps as f32)];
        renamed.chain(format).collect()
    }

    /// Continues from the state of an earlier run. Returns the deviation of each weight, in the order of
    /// `weights`, names and shapes.
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the state belongs to another model.
    pub fn load(
        &mut self,
        weights: &[(String, Vec<usize>)],
        state: Vec<NamedTensor>,
    ) -> anyhow::Result<Vec<NamedTensor>> {
        let deviation =
            |(name, shape): &(String, Vec<usize>)| (format!("{PREFIX}{name}"), shape.clone());
        let format = [SCALE, STEPS].map(|name| (name.to_owned(), Vec::new()));
        let expected: Vec<_> = weights.iter().map(deviation).chain(format).collect();
        let order = indices(&expected, &state)?;
        let mut tensors: Vec<Option<NamedTensor>> = vec![None; expected.len()];
        for (index, tensor) in order.into_iter().zip(state) {
            tensors[index] = Some(tensor);
        }
        let present = tensors.into_iter().zip(&expected).map(|(tensor, (name, _))| match tensor {
            Some(tensor) => Ok(tensor),
            None => bail!("the state of weight averaging has no tensor {name}"),
        });
        let mut tensors = present.collect::<anyhow::Result<Vec<_>>>()?;
        let format = tensors.split_off(weights.len());
        let (scale, steps) = (format[0].values[0], format[1].values[0]);
        let is_possible = scale > 0.0 && (1.0..=MAX_STEPS as f32).contains(&steps);
        ensure!(
            is_possible && scale <= 1.0,
            "the state of weight averaging has the impossible scale {scale} after {steps} steps"
        );
        (self.has_started, self.steps, self.scale) = (true, steps as u32, scale);
        Ok(tensors)
    }
}

/// Returns true if the tensor of an optimizer state is part of the state of weight averaging.
pub fn is_average_state(tensor: &NamedTensor) -> bool {
    tensor.name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn averaging(fields: &str) -> Averaging {
        let yaml = format!("data: {{train: x}}\ntrain: {{average: {{{fields}}}}}\n");
        let config = config::parse_plain(&yaml).config;
        let mut averaging = Averaging::new(&config.train.average).unwrap();
        averaging.start();
        averaging
    }

    /// A weight that changes in some steps, and its average.
    struct Averaged {
        averaging: Averaging,
        weight: f32,
        deviation: f32,
    }

    impl Averaged {
        fn new(averaging: Averaging) -> Self {
            Self { averaging, weight: 0.5, deviation: 0.0 }
        }

        /// Trains one step, counted from 1. A weight that rests is passed over if `is_lazy`.
        fn step(&mut self, step: u32, is_lazy: bool) {
            let rests = step % 700 > 40;
            let change = if rests { 0.0 } else { 0.1 * (step as f32).sin() };
            let former = self.weight;
            self.weight += change;
            if !(rests && is_lazy) {
                self.deviation -= self.averaging.change_factor() * (self.weight - former);
            }
            if let Some(factor) = self.averaging.advance() {
                self.deviation *= factor;
            }
        }

        fn average(&self) -> f32 {
            self.weight + self.averaging.scale() * self.deviation
        }
    }

    #[test]
    fn averages_follow_their_definition_and_rest_exactly() {
        for (fields, decay) in [
            ("method: ema", |n: f64| ((1.0 + n) / (10.0 + n)).min(0.998)),
            ("method: ema, decay: 0.3", |n: f64| ((1.0 + n) / (10.0 + n)).min(0.3)),
            ("method: ema, decay: 0.99999", |n: f64| ((1.0 + n) / (10.0 + n)).min(0.99999)),
            ("method: ema, decay: 0", |_| 0.0),
            ("method: swa", |n: f64| (n - 1.0) / n),
        ] as [(&str, fn(f64) -> f64); 5]
        {
            let new = || Averaged::new(averaging(fields));
            let (mut dense, mut lazy, mut expected) = (new(), new(), 0.5);
            for step in 1..20_000 {
                dense.step(step, false);
                lazy.step(step, true);
                let decay = decay(f64::from(step));
                expected = decay * expected + (1.0 - decay) * f64::from(dense.weight);
                let average = dense.average();
                let error = (f64::from(average) - expected).abs();
                assert!(error < 2e-6, "{fields}, step {step}: {average} instead of {expected}");
                assert_eq!(average.to_bits(), lazy.average().to_bits(), "{fields}, step {step}");
            }
        }
    }

    fn deviation(value: f32) -> NamedTensor {
        NamedTensor { name: "w".into(), shape: vec![1], values: vec![value] }
    }

    #[test]
    fn a_restored_average_continues_exactly() {
        for fields in ["method: ema, decay: 0.9", "method: swa"] {
            let mut whole = Averaged::new(averaging(fields));
            (1..=500).for_each(|step| whole.step(step, true));
            let mut state = whole.averaging.state([deviation(whole.deviation)]);
            state.reverse();
            assert!(state.iter().all(is_average_state));
            let mut resumed = averaging(fields);
            let loaded = resumed.load(&[("w".into(), vec![1])], state).unwrap();
            let deviation = loaded[0].values[0];
            let mut resumed = Averaged { averaging: resumed, deviation, weight: whole.weight };
            for step in 501..1_500 {
                whole.step(step, true);
                resumed.step(step, true);
            }
            assert_eq!(whole.average().to_bits(), resumed.average().to_bits(), "{fields}");
        }
        let mut new = Averaging::new(&averaging_config()).unwrap();
        assert_eq!((new.advance(), new.state([deviation(0.0)])), (None, Vec::new()));
    }

    fn averaging_config() -> AverageConfig {
        let yaml = "data: {train: x}\ntrain: {average: {method: swa}}\n";
        config::parse_plain(yaml).config.train.average
    }

    #[test]
    fn a_state_that_does_not_fit_is_rejected() {
        let mut saved = averaging("method: ema");
        let _ = saved.advance();
        let state = |change: fn(&mut Vec<NamedTensor>)| {
            let mut state = saved.state([deviation(0.25)]);
            change(&mut state);
            state
        };
        for (state, fault) in [
            (state(|state| drop(state.remove(0))), "no tensor average.w"),
            (state(|state| state[0].shape = vec![2]), "average.w has shape [2]"),
            (state(|state| drop(state.pop())), "no tensor average.steps"),
            (state(|state| state[1].values[0] = 0.0), "impossible scale 0"),
            (state(|state| state[2].values[0] = 1e9), "after 1000000000 steps"),
        ] {
            let mut averaging = averaging("method: ema");
            let loaded = averaging.load(&[("w".into(), vec![1])], state);
            let error = loaded.unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }
}
