//! The averages of the weights, and which of both the model has.

use tch::{Kind, Tensor};

use crate::tensors::{shapes, to_named_tensors, to_tensors};
use lstmtext::backend::Averaging;
use lstmtext::config::AverageConfig;
use lstmtext::model::NamedTensor;

/// Averages of the trainable weights of a model.
#[derive(Debug)]
pub struct Average {
    averaging: Averaging,
    /// Trainable weights of the model, and their names.
    weights: Vec<(String, Tensor)>,
    /// Deviation of the average of each weight, as [`Averaging`] defines it.
    deviations: Vec<Tensor>,
    /// Weights before averaging, while the model has the averages.
    raw: Option<Vec<Tensor>>,
}

impl Average {
    /// Creates the configured averages of these weights. Returns `None` if weights are not averaged.
    pub fn new(config: &AverageConfig, weights: Vec<(String, Tensor)>) -> Option<Self> {
        let averaging = Averaging::new(config)?;
        let zeros = |(_, weight): &(String, Tensor)| {
            Tensor::zeros(weight.size(), (Kind::Float, weight.device()))
        };
        Some(Self {
            averaging,
            deviations: weights.iter().map(zeros).collect(),
            weights,
            raw: None,
        })
    }

    /// Includes all steps from now on.
    pub fn start(&mut self) {
        self.averaging.start();
    }

    /// Copies what a step is about to update: the selected `rows` of weights that have them, and other
    /// weights as a whole. Returns nothing if averages do not include the step.
    pub fn before_update(&self, rows: &[Option<&Tensor>]) -> Vec<Tensor> {
        if !self.averaging.has_started() {
            return Vec::new();
        }
        let weights = self.weights.iter().enumerate();
        weights
            .map(|(index, (_, weight))| match rows.get(index).copied().flatten() {
                Some(rows) => weight.detach().index_select(0, rows),
                None => weight.detach().copy(),
            })
            .collect()
    }

    /// Updates the averages after a step. `former` is what [`Average::before_update`] has returned for the
    /// same rows. Does not wait for the device.
    pub fn update(&mut self, former: &[Tensor], rows: &[Option<&Tensor>]) {
        let _no_grad = tch::no_grad_guard();
        let factor = f64::from(self.averaging.change_factor());
        let all = self.weights.iter().zip(&mut self.deviations).zip(former);
        for (index, (((_, weight), deviation), former)) in all.enumerate() {
            match rows.get(index).copied().flatten() {
                Some(rows) => {
                    let change = weight.index_select(0, rows) - former;
                    let updated = deviation.index_select(0, rows) - change * factor;
                    let _ = deviation.index_copy_(0, rows, &updated);
                }
                None => {
                    let change = (weight - former).g_mul_scalar_(factor);
                    let _ = deviation.g_sub_(&change);
                }
            }
        }
        if let Some(factor) = self.averaging.advance() {
            for deviation in &mut self.deviations {
                let _ = deviation.g_mul_scalar_(f64::from(factor));
            }
        }
    }

    /// Puts the averages in the place of the weights.
    pub fn swap_in(&mut self) {
        if self.raw.is_some() {
            return;
        }
        let _no_grad = tch::no_grad_guard();
        let scale = f64::from(self.averaging.scale());
        let weights = self.weights.iter_mut().zip(&self.deviations);
        let raw = weights.map(|((_, weight), deviation)| {
            let raw = weight.copy();
            weight.copy_(&(&raw + deviation * scale));
            raw
        });
        self.raw = Some(raw.collect());
    }

    /// Puts the weights before averaging back in their place.
    pub fn swap_out(&mut self) {
        let _no_grad = tch::no_grad_guard();
        for ((_, weight), raw) in self.weights.iter_mut().zip(self.raw.take().unwrap_or_default()) {
            weight.copy_(&raw);
        }
    }

    /// Returns the trainable weights before averaging.
    pub fn raw_weights(&self) -> Vec<NamedTensor> {
        match &self.raw {
            Some(raw) => to_named_tensors(self.named(raw)),
            None => to_named_tensors(self.named(self.weights.iter().map(|(_, weight)| weight))),
        }
    }

    /// Returns the state that a resumed run needs besides the weights before averaging.
    pub fn state(&self) -> Vec<NamedTensor> {
        self.averaging.state(to_named_tensors(self.named(&self.deviations)))
    }

    /// Continues from the state of an earlier run; an empty one changes nothing.
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the state belongs to another model.
    pub fn load(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        let loaded = self.averaging.load(&shapes(&self.weights), state)?;
        for (deviation, (_, loaded)) in self.deviations.iter_mut().zip(to_tensors(loaded)) {
            deviation.copy_(&loaded);
        }
        Ok(())
    }

    /// Returns tensors under the names of the weights.
    fn named<'a>(&self, tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<(String, Tensor)> {
        let names = self.weights.iter().map(|(name, _)| name.clone());
        names.zip(tensors.into_iter().map(Tensor::shallow_clone)).collect()
    }
}
