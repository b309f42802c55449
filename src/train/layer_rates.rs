//! Learning rates of single layers: layers that are frozen, gradual unfreezing, and rates that decrease
//! from the head downwards. The rate of the run itself belongs to the schedule.

use std::collections::HashMap;

use crate::config::{Config, Layer};
use crate::data::prepared::PreparedData;
use crate::model::{ModelSpec, Parameter, parameters};

/// Learning rates of the layers, relative to that of the run.
pub struct LayerRates<'a> {
    config: &'a Config,
    /// Names of the trainable tensors with their number of values and their layers.
    tensors: Vec<(String, usize, Layer)>,
}

impl<'a> LayerRates<'a> {
    /// Returns the configured rates; `None` if all layers are trained alike.
    ///
    /// # Errors
    /// Returns an error if the head is a sigmoid and there are more than two classes.
    pub fn new(data: &'a PreparedData) -> anyhow::Result<Option<Self>> {
        let config = &data.resolved.config;
        if config.trains_layers_alike() {
            return Ok(None);
        }
        let parameters = parameters(&ModelSpec::from(data))?.into_iter();
        let trainable = parameters.filter(|parameter| parameter.trainable);
        let tensor = |parameter: Parameter| {
            (parameter.name, parameter.shape.iter().product(), parameter.layer)
        };
        Ok(Some(Self { config, tensors: trainable.map(tensor).collect() }))
    }

    /// Returns the factor of the learning rate of each tensor in an epoch, counted from 0. It is 0 for
    /// tensors that are frozen then.
    pub fn factors(&self, epoch: usize) -> HashMap<String, f64> {
        let factor = |layer: Layer| match self.config.first_epoch(layer) {
            Some(first) if first <= epoch => self.config.rate_factor(layer),
            _ => 0.0,
        };
        self.tensors.iter().map(|(name, _, layer)| (name.clone(), factor(*layer))).collect()
    }

    /// Number of values that are never trained.
    pub fn frozen_values(&self) -> usize {
        let frozen = self.tensors.iter().filter(|(.., layer)| self.config.is_frozen(*layer));
        frozen.map(|(_, values, _)| values).sum()
    }
}

/// Describes the rates of the layers; `None` if all layers are trained alike.
pub fn describe(config: &Config) -> Option<String> {
    let shown = |layer: &Layer| {
        let name = config.layer_name(*layer);
        let Some(first) = config.first_epoch(*layer) else { return format!("{name} frozen") };
        let factor = match config.rate_factor(*layer) {
            1.0 => String::new(),
            factor => format!(" x {}", (factor * 1e4).round() / 1e4),
        };
        let start = if first == 0 { String::new() } else { format!(" from epoch {}", first + 1) };
        format!("{name}{factor}{start}")
    };
    let layers: Vec<String> = config.layers().iter().rev().map(shown).collect();
    (!config.trains_layers_alike()).then(|| layers.join(", "))
}
