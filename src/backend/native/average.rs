//! The averages of the weights, and which of both the network has.

use rayon::prelude::*;

use super::weight::Weight;
use crate::backend::averaging::Averaging;
use crate::config::AverageConfig;
use crate::model::NamedTensor;

/// Number of values that a thread averages at a time.
const CHUNK: usize = 1 << 14;

/// Averages of the trainable weights of a network.
pub struct Average {
    averaging: Averaging,
    /// Deviation of the average of each weight, as [`Averaging`] defines it; empty for tensors that are not
    /// trainable.
    deviations: Vec<Vec<f32>>,
    /// While the network has the averages, the weights before averaging; otherwise a buffer.
    unused: Vec<Vec<f32>>,
    is_in_use: bool,
}

impl Average {
    /// Creates the configured averages of these weights. Returns `None` if weights are not averaged.
    pub fn new(config: &AverageConfig, weights: &[Weight]) -> Option<Self> {
        let zeros = |weight: &Weight| match weight.trainable {
            true => vec![0.0; weight.tensor.values.len()],
            false => Vec::new(),
        };
        Some(Self {
            averaging: Averaging::new(config)?,
            deviations: weights.iter().map(zeros).collect(),
            unused: vec![Vec::new(); weights.len()],
            is_in_use: false,
        })
    }

    /// Includes all steps from now on.
    pub fn start(&mut self) {
        self.averaging.start();
    }

    /// Factor of the changes of weights in the current step, see [`Averaging::change_factor`].
    pub fn change_factor(&self) -> f32 {
        self.averaging.change_factor()
    }

    /// Returns the deviations of a parameter for a step; empty if averages do not include it.
    pub fn deviations(&mut self, parameter: usize) -> &mut [f32] {
        match self.averaging.has_started() {
            true => &mut self.deviations[parameter],
            false => &mut [],
        }
    }

    /// Completes a step that has updated the deviations.
    pub fn advance(&mut self) {
        if let Some(factor) = self.averaging.advance() {
            let chunks = self.deviations.par_iter_mut().flat_map(|all| all.par_chunks_mut(CHUNK));
            chunks.for_each(|chunk| chunk.iter_mut().for_each(|deviation| *deviation *= factor));
        }
    }

    /// Puts the averages in the place of the weights. Returns false if they are there already.
    pub fn swap_in(&mut self, weights: &mut [Weight]) -> bool {
        if self.is_in_use {
            return false;
        }
        let scale = self.averaging.scale();
        let all = weights.iter_mut().zip(&self.deviations).zip(&mut self.unused);
        for ((weight, deviations), average) in all.filter(|((weight, _), _)| weight.trainable) {
            let values = &mut weight.tensor.values;
            average.resize(values.len(), 0.0);
            let chunks = average.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK));
            chunks.zip(deviations.par_chunks(CHUNK)).for_each(
                |((average, weights), deviations)| {
                    for ((average, weight), deviation) in
                        average.iter_mut().zip(weights).zip(deviations)
                    {
                        *average = weight + scale * deviation;
                    }
                },
            );
            std::mem::swap(values, average);
        }
        self.is_in_use = true;
        true
    }

    /// Puts the weights before averaging back in their place. Returns false if they are there already.
    pub fn swap_out(&mut self, weights: &mut [Weight]) -> bool {
        if !self.is_in_use {
            return false;
        }
        let trainable = weights.iter_mut().zip(&mut self.unused);
        for (weight, raw) in trainable.filter(|(weight, _)| weight.trainable) {
            std::mem::swap(&mut weight.tensor.values, raw);
        }
        self.is_in_use = false;
        true
    }

    /// Returns the trainable weights before averaging. `weights` are those of the network.
    pub fn raw_weights(&self, weights: &[Weight]) -> Vec<NamedTensor> {
        let raw = |(weight, unused): (&Weight, &Vec<f32>)| match self.is_in_use {
            true => weight.tensor.with_values(unused.clone()),
            false => weight.tensor.clone(),
        };
        let trainable = weights.iter().zip(&self.unused).filter(|(weight, _)| weight.trainable);
        trainable.map(raw).collect()
    }

    /// Returns the state that a resumed run needs besides the weights before averaging.
    pub fn state(&self, weights: &[Weight]) -> Vec<NamedTensor> {
        let trainable = weights.iter().zip(&self.deviations).filter(|(weight, _)| weight.trainable);
        let named = trainable.map(|(weight, values)| weight.tensor.with_values(values.clone()));
        self.averaging.state(named)
    }

    /// Continues from the state of an earlier run; an empty one changes nothing.
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the state belongs to another model.
    pub fn load(&mut self, weights: &[Weight], state: Vec<NamedTensor>) -> anyhow::Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        let trainable = || weights.iter().enumerate().filter(|(_, weight)| weight.trainable);
        let layout: Vec<_> = trainable()
            .map(|(_, weight)| (weight.tensor.name.clone(), weight.tensor.shape.clone()))
            .collect();
        let loaded = self.averaging.load(&layout, state)?;
        for ((index, _), deviations) in trainable().zip(loaded) {
            self.deviations[index] = deviations.values;
        }
        Ok(())
    }
}
